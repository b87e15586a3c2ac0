//! Local serial ports, by serialport: exclusive, any baud rate, unplugged and plugged again.
//! Reading and writing is `uart`'s business, coming back `revive`'s.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::FlockOperation;
use rustix::termios::{ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serialport::{DataBits, FlowControl, Parity, SerialPort, StopBits};

use super::revive::{self, Port};
use super::uart::Uart;
use super::{Flow, Line, doctor, holder};
use crate::error::DriverError;

/// A device that opens more slowly than this hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a port that vanished is looked for. Its stable name comes and goes with its whole
/// folder, which an inotify watch would have to follow upwards; one look costs microseconds.
const LOOK: Duration = Duration::from_millis(100);

/// `[console.tty]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `port`")]
pub struct Tty {
    /// The port, by a stable name: `/dev/serial/by-path/…`.
    pub port: PathBuf,
    /// Bits a second, instead of the board's own rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 4_000_000))]
    pub baud: Option<u32>,
    #[serde(default, skip_serializing_if = "Flow::is_none")]
    pub flow: Flow,
    /// The line DTR once the port is open; on some adapters it holds the board in reset. The
    /// kernel raises it while opening, and nothing can keep it from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtr: Option<bool>,
    /// The line RTS once the port is open, likewise. Not together with `flow = "hardware"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rts: Option<bool>,
}

impl Tty {
    pub fn new(port: impl Into<PathBuf>) -> Tty {
        Tty { port: port.into(), baud: None, flow: Flow::None, dtr: None, rts: None }
    }

    pub fn label(&self, baud: u32) -> String {
        format!("{} at {}", self.port.display(), self.baud.unwrap_or(baud))
    }

    pub async fn open(&self, baud: u32) -> Result<Line, DriverError> {
        let tty = Tty { baud: Some(self.baud.unwrap_or(baud)), ..self.clone() };
        revive::open(tty).await
    }

    /// Opens and sets up the port. Blocks: USB adapters answer in milliseconds, hung ones never.
    fn set_up(&self, again: bool) -> Result<OwnedFd, DriverError> {
        if let Err(why) = doctor::reachable(&self.port) {
            let port = self.port.display();
            // Said ten times a second, the list of other ports would help nobody.
            return Err(match again && !self.port.exists() {
                true => DriverError::new(format!("open {port}: it is not there")),
                false => DriverError::new(format!("open {port}: {why}")),
            });
        }
        let said = |why: &dyn std::fmt::Display| {
            DriverError::new(format!("open {}: {why}", self.port.display()))
        };
        if !is_tty(&self.port) {
            return Err(said(&"it is no serial port"));
        }
        let pty = is_pty(&self.port);
        if !pty && let Some(holder) = holder::of(&self.port) {
            return Err(said(&format_args!("{holder} has it open, and would take its bytes")));
        }
        let fd = self.open_exclusively(pty).map_err(|error| match holder::of(&self.port) {
            _ if error.kind != serialport::ErrorKind::NoDevice => said(&error),
            Some(holder) => said(&format_args!("{holder} holds it")),
            None => said(&format_args!(
                "somebody holds it: {error}; `sudo fuser -v {}` tells who",
                self.port.display()
            )),
        })?;
        self.finish(&fd, again).map_err(|error| said(&error))?;
        Ok(fd)
    }

    /// One file that serialport has locked and set to raw 8N1.
    #[expect(unsafe_code, reason = "serialport gives its file away as a bare number only")]
    fn open_exclusively(&self, pty: bool) -> Result<OwnedFd, serialport::Error> {
        let flow = match self.flow {
            Flow::None => FlowControl::None,
            Flow::Hardware => FlowControl::Hardware,
        };
        let name = self.port.to_str().ok_or_else(|| {
            serialport::Error::new(serialport::ErrorKind::InvalidInput, "its name is not UTF-8")
        })?;
        let baud = self.baud.unwrap_or(115_200);
        let builder = serialport::new(name, baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(flow)
            .preserve_dtr_on_open()
            // A pty's TIOCEXCL outlives whoever set it, and locks everybody out but root.
            .exclusive(!pty);
        let mut port = builder.open_native()?;
        if let Some(dtr) = self.dtr {
            port.write_data_terminal_ready(dtr)?;
        }
        if let Some(rts) = self.rts {
            port.write_request_to_send(rts)?;
        }
        // Safety: `into_raw_fd` hands over the only owner of this open file.
        let fd = unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) };
        if pty {
            rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
                serialport::Error::new(serialport::ErrorKind::NoDevice, error.to_string())
            })?;
        }
        Ok(fd)
    }

    /// What serialport leaves open.
    fn finish(&self, fd: &OwnedFd, again: bool) -> io::Result<()> {
        let mut mode = rustix::termios::tcgetattr(fd)?;
        // Or closing the port would drop DTR, which resets some boards.
        mode.control_modes.remove(ControlModes::HUPCL);
        // A read without a byte must not look like an end.
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(fd, OptionalActions::Now, &mode)?;
        // The driver writes the rate that it came to into what is read back.
        let (wanted, got) = (self.baud.unwrap_or(115_200), mode.output_speed());
        if !is_near(wanted, got) {
            return Err(io::Error::other(format!(
                "it cannot do {wanted} baud; the nearest it has is {got}"
            )));
        }
        if !again {
            // Bytes of an earlier session, or of another baud rate. After a replug they are the
            // board's.
            rustix::termios::tcflush(fd, QueueSelector::IFlush)?;
        }
        Ok(())
    }
}

/// A UART follows a rate that is off by some 3 %.
pub(super) fn is_near(wanted: u32, got: u32) -> bool {
    wanted.abs_diff(got) <= wanted / 33
}

/// Whether the kernel calls it a tty; opening other devices to find out may do things to them.
fn is_tty(port: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(port) else { return false };
    if !meta.file_type().is_char_device() {
        return false;
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let class = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem"));
    // A pty has no place in sysfs; a container may have no sysfs.
    class.is_ok_and(|class| class.ends_with("tty"))
        || is_pty(port)
        || !Path::new("/sys/dev/char").exists()
}

/// The major numbers of Unix98 pty slaves (Documentation/admin-guide/devices.txt).
fn is_pty(port: &Path) -> bool {
    let device = std::fs::metadata(port).map(|meta| meta.rdev());
    device.is_ok_and(|device| (136..=143).contains(&rustix::fs::major(device)))
}

#[async_trait]
impl Port for Tty {
    type Io = Uart;

    async fn open(&self, again: bool) -> Result<Uart, DriverError> {
        let (tty, port) = (self.clone(), self.port.display());
        let opening = tokio::task::spawn_blocking(move || tty.set_up(again));
        let fd = match tokio::time::timeout(PATIENCE, opening).await {
            Ok(Ok(opened)) => opened?,
            Ok(Err(error)) => return Err(DriverError::new(format!("open {port}: {error}"))),
            Err(_) => {
                let s = PATIENCE.as_secs();
                return Err(DriverError::new(format!(
                    "open {port}: its driver did not answer within {s} s; unplug the adapter"
                )));
            }
        };
        Uart::new(fd).map_err(|error| DriverError::new(format!("open {port}: {error}")))
    }

    fn pause(&self, _nth: u32) -> Duration {
        LOOK
    }

    fn why(&self, error: Option<&io::Error>, _said: &str) -> String {
        let port = self.port.display();
        match error {
            _ if !self.port.exists() => format!("{port} was unplugged"),
            Some(error) => format!("{port} was hung up ({error})"),
            None => format!("{port} was hung up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_may_be_off_by_what_a_uart_forgives() {
        assert!(is_near(115_200, 115_385) && is_near(3_000_000, 3_000_000));
        assert!(!is_near(115_200, 9600) && !is_near(921_600, 961_600));
    }
}
