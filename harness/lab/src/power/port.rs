//! A serial port that several boards' switches share: opened for one command at a time, alone.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use hil_core::deadline::Deadline;
use serialport::{ClearBuffer, Parity, SerialPort, TTYPort};

/// How often a port that somebody else holds is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// How ENOTTY is worded.
const NO_TTY: [&str; 2] = ["typewriter", "ioctl"];

/// A port that is ours until it is dropped.
pub(super) struct Port {
    tty: TTYPort,
    path: PathBuf,
}

impl Port {
    /// Opens the port, raw, 8 bits, one stop bit, and waits for whoever holds it. serialport sets
    /// TIOCEXCL and takes a lock with flock: either keeps others out, the second root as well.
    pub(super) fn open(
        path: &Path,
        baud: u32,
        parity: Parity,
        deadline: &Deadline,
    ) -> Result<Port, String> {
        let name = path.to_string_lossy();
        let builder = serialport::new(name.as_ref(), baud).parity(parity).timeout(deadline.left());
        loop {
            match TTYPort::open(&builder) {
                Ok(tty) => {
                    let port = Port { tty, path: path.to_path_buf() };
                    // What the device said to somebody else is no answer to us. The other
                    // direction may still hold the last command of whoever had the port.
                    port.tty.clear(ClearBuffer::Input).map_err(|error| port.gone(&error))?;
                    return Ok(port);
                }
                Err(error) => match error.kind() {
                    serialport::ErrorKind::NoDevice if !deadline.passed() => sleep(AGAIN),
                    serialport::ErrorKind::NoDevice => return Err(held(path, deadline)),
                    kind => return Err(unopened(path, kind, &error.description)),
                },
            }
        }
    }

    /// Sends everything, and returns when it has left this host.
    pub(super) fn send(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), String> {
        let step = deadline.left().max(Duration::from_millis(1));
        self.tty.set_timeout(step).map_err(|error| self.gone(&error))?;
        self.tty.write_all(bytes).map_err(|error| self.gone(&error))?;
        // Not tcdrain: it would wait for ever for an adapter that hangs.
        while self.tty.bytes_to_write().map_err(|error| self.gone(&error))? > 0 {
            if deadline.passed() {
                // Closing would wait for these bytes half a minute more.
                let _ = self.tty.clear(ClearBuffer::Output);
                return Err(format!(
                    "{} does not take the bytes: unplug the adapter and plug it in again",
                    self.path.display()
                ));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Adds what comes within `span` to `into`; false where nothing came.
    pub(super) fn receive(&mut self, into: &mut Vec<u8>, span: Duration) -> Result<bool, String> {
        self.tty
            .set_timeout(span.max(Duration::from_millis(1)))
            .map_err(|error| self.gone(&error))?;
        let mut buffer = [0; 256];
        match self.tty.read(&mut buffer) {
            Ok(0) => Err(self.gone(&"end of file")),
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(self.gone(&error)),
        }
    }

    fn gone(&self, error: &dyn std::fmt::Display) -> String {
        if self.path.exists() {
            format!("{} failed: {error}", self.path.display())
        } else {
            format!("{} vanished ({error}): it was unplugged, or reset itself", self.path.display())
        }
    }
}

fn held(path: &Path, deadline: &Deadline) -> String {
    let by = holder(path).unwrap_or_else(|| "another program".into());
    format!("{} was held by {by} for all of {deadline}: close it", path.display())
}

fn unopened(path: &Path, kind: serialport::ErrorKind, text: &str) -> String {
    let shown = path.display();
    match kind {
        serialport::ErrorKind::Io(ErrorKind::NotFound) => {
            format!("there is no {shown}; {}", present())
        }
        serialport::ErrorKind::Io(ErrorKind::PermissionDenied) => {
            let group = group_of(path).unwrap_or_else(|| "dialout".into());
            format!(
                "no permission for {shown}: `sudo usermod -aG {group} $USER`, then log in again"
            )
        }
        serialport::ErrorKind::Unknown if NO_TTY.iter().any(|it| text.contains(it)) => {
            format!("{shown} is not a serial port")
        }
        _ => format!("{shown} could not be opened: {text}"),
    }
}

/// The serial ports that are there, by their stable names where they have one.
fn present() -> String {
    let list = |dir: &str, keep: &dyn Fn(&str) -> bool| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| keep(name))
            .map(|name| format!("{dir}/{name}"))
            .collect();
        names.sort();
        names
    };
    let mut found = list("/dev/serial/by-path", &|_| true);
    if found.is_empty() {
        found = list("/dev", &|name| name.starts_with("ttyUSB") || name.starts_with("ttyACM"));
    }
    if found.is_empty() {
        "no USB serial port is plugged in".into()
    } else {
        format!("there is {}", found.join(", "))
    }
}

/// Who has the file open, as far as this user may see.
fn holder(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().parse::<u32>();
        let Ok(pid) = pid else { continue };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        if open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == real)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

fn group_of(path: &Path) -> Option<String> {
    let gid = fs::metadata(path).ok()?.gid().to_string();
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(gid.as_str())).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_port_shut_is_told_with_its_remedy() {
        let denied = serialport::ErrorKind::Io(ErrorKind::PermissionDenied);
        // A file of root's group on every host.
        let why = unopened(Path::new("/proc/1/stat"), denied, "Permission denied");
        assert!(why.contains("`sudo usermod -aG root $USER`, then log in again"), "{why}");
        let why = unopened(Path::new("/dev/absent"), denied, "Permission denied");
        assert!(why.contains("usermod -aG dialout"), "{why}");
        let missing = serialport::ErrorKind::Io(ErrorKind::NotFound);
        let why = unopened(Path::new("/dev/absent"), missing, "No such file");
        assert!(why.starts_with("there is no /dev/absent; "), "{why}");
    }

    #[test]
    fn whoever_holds_a_port_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let who = holder(file.path()).unwrap();
        assert!(who.ends_with(&format!("(process {})", std::process::id())), "{who}");
    }
}
