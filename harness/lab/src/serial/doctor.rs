//! What keeps this user from a port, and what helps: for errors, and for `hil doctor`.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hil_core::located::nearest;
use rustix::fs::{Access, AtFlags, CWD};

use super::ConsoleSpec;

/// Something that will keep a console from opening, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A whole sentence without its full stop.
    pub what: String,
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

impl ConsoleSpec {
    /// What `hil doctor` should say of this console. Opens nothing and connects to nothing; a
    /// console over the network is not looked at.
    pub fn doctor_findings(&self) -> Vec<Finding> {
        match self {
            ConsoleSpec::Tty(tty) => reachable(&tty.port).err().into_iter().collect(),
            ConsoleSpec::Tcp(_) | ConsoleSpec::Telnet(_) | ConsoleSpec::Rfc2217(_) => Vec::new(),
        }
    }
}

/// Whether this user may open a port that is there.
pub(crate) fn reachable(port: &Path) -> Result<(), Finding> {
    let meta = match std::fs::metadata(port) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(absent(port)),
        Err(error) => {
            let what = format!("{} cannot be looked at ({error})", port.display());
            return Err(Finding { what, fix: "see who owns its folder".into() });
        }
    };
    let access =
        rustix::fs::accessat(CWD, port, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    match access {
        Ok(()) => Ok(()),
        Err(_) => Err(denied(port, &meta, &Groups::of_this_process())),
    }
}

/// A port that is not there: the ones that are.
fn absent(port: &Path) -> Finding {
    let there = ports();
    let names: Vec<String> = there.iter().map(|path| path.display().to_string()).collect();
    let name = port.display().to_string();
    let fix = match nearest(&name, names.iter().map(String::as_str)) {
        _ if names.is_empty() => "no serial port is here: is the adapter plugged in?".into(),
        Some(near) => format!("did you mean {near}? There are: {}", names.join(", ")),
        None => format!("there are: {}", names.join(", ")),
    };
    Finding { what: format!("there is no port {name}"), fix }
}

/// The ports of this host, by their most stable names.
fn ports() -> Vec<PathBuf> {
    let list = |folder: &str, keep: &dyn Fn(&str) -> bool| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let kept = entries.filter(|entry| entry.file_name().to_str().is_some_and(keep));
        let mut paths: Vec<PathBuf> = kept.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let by_path = list("/dev/serial/by-path", &|_| true);
    if !by_path.is_empty() {
        return by_path;
    }
    let usb = |name: &str| name.starts_with("ttyUSB") || name.starts_with("ttyACM");
    list("/dev", &usb)
}

/// Who this user is, as the kernel and /etc/group say.
struct Groups {
    /// Groups of this process.
    ids: Vec<u32>,
    /// `name:x:gid:members` lines.
    file: String,
    user: String,
}

impl Groups {
    fn of_this_process() -> Groups {
        let ids = rustix::process::getgroups().unwrap_or_default();
        let user = std::env::var("USER").unwrap_or_default();
        let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
        Groups { ids: ids.iter().map(|id| id.as_raw()).collect(), file, user }
    }

    /// A group's name and members.
    fn named(&self, id: u32) -> Option<(&str, &str)> {
        self.file.lines().find_map(|line| {
            let mut parts = line.split(':');
            let (name, _, gid) = (parts.next()?, parts.next()?, parts.next()?);
            (gid.parse() == Ok(id)).then_some((name, parts.next().unwrap_or("")))
        })
    }
}

/// A port that is there and closed to this user: the group that helps, or the rules.
fn denied(port: &Path, meta: &std::fs::Metadata, groups: &Groups) -> Finding {
    let what = format!("this user may not open {}", port.display());
    let rules = "copy harness/lab/udev/99-hil.rules to /etc/udev/rules.d/, run `sudo udevadm \
                 control --reload && sudo udevadm trigger`, and plug it in again";
    let open_to_group = meta.mode() & 0o060 == 0o060;
    let fix = match groups.named(meta.gid()) {
        // A program of root's group may do far more than speak to a port.
        Some((name, members)) if open_to_group && name != "root" => {
            let member = members.split(',').any(|member| member == groups.user);
            match member && !groups.ids.contains(&meta.gid()) {
                true => format!(
                    "you are in its group `{name}` only since this session began: log out and \
                     in again, or use `newgrp {name}`"
                ),
                false => format!(
                    "add yourself to its group: `sudo usermod -aG {name} $USER`, then log out \
                     and in again"
                ),
            }
        }
        _ => rules.to_string(),
    };
    Finding { what, fix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn groups(user: &str) -> Groups {
        let own = rustix::process::getegid().as_raw();
        let file = format!("daemon:x:99999:\ndialout:x:{own}:alice,bob\n");
        Groups { ids: vec![1000], file, user: user.into() }
    }

    fn told(mode: u32, user: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let meta = std::fs::metadata(file.path()).unwrap();
        denied(file.path(), &meta, &groups(user)).to_string()
    }

    #[test]
    fn the_missing_group_is_named() {
        assert!(told(0o660, "carol").contains("`sudo usermod -aG dialout $USER`"));
        assert!(told(0o660, "alice").contains("log out and in again"));
        let no_group = told(0o600, "carol");
        assert!(no_group.contains("99-hil.rules") && !no_group.contains("usermod"), "{no_group}");
    }

    #[test]
    fn a_port_that_is_not_there_is_told_with_what_helps() {
        let spec = ConsoleSpec::Tty(super::super::tty::Tty::new("/dev/serial/by-path/none"));
        let findings = spec.doctor_findings();
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(finding.what, "there is no port /dev/serial/by-path/none");
        assert!(finding.fix.contains("is") || finding.fix.contains("are"), "{}", finding.fix);
        let spec = ConsoleSpec::Tcp(super::super::tcp::Tcp { address: "x:1".into() });
        assert_eq!(spec.doctor_findings(), []);
    }
}
