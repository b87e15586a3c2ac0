//! Serial lines: how the bytes of a board's UART reach this host. One file a transport; what they
//! share is `revive` (a line that went comes back) and `net` (connecting).

mod codec;
mod comport;
mod counters;
mod doctor;
mod holder;
mod net;
mod nvt;
mod revive;
pub mod rfc2217;
pub mod tcp;
pub mod telnet;
pub mod tty;
mod uart;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::error::DriverError;
pub use doctor::Finding;

/// Both directions of a line.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How the line has fared since it was opened. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Bytes the receiver lost (UART or tty buffer overruns), where the line can tell.
    pub overruns: u64,
    pub framing_errors: u64,
    pub parity_errors: u64,
    pub breaks: u64,
    /// How often the port vanished and came back.
    pub replugs: u64,
    /// Why nothing comes or goes now: unplugged, connection lost. `None` while the line is up.
    pub gone: Option<String>,
}

impl Health {
    /// Finishes the sentence "the console line …" where bytes were lost or damaged on the way;
    /// `None` while there is no sign of it. A break is none: a board without power sends one.
    pub fn damage(&self) -> Option<String> {
        let said = [
            (self.overruns, "bytes lost by an overrun"),
            (self.framing_errors, "framing errors (a wrong baud rate?)"),
            (self.parity_errors, "parity errors"),
        ];
        let said = said.iter().filter(|(count, _)| *count > 0);
        let said: Vec<_> = said.map(|(count, what)| format!("{count} {what}")).collect();
        (!said.is_empty()).then(|| format!("reported {}", said.join(", ")))
    }
}

/// An open line. Dropping it closes it and frees the port.
///
/// The stream never ends by itself: while the line is [gone](Health::gone), reads stay pending,
/// writes fail with the reason, and whoever reads makes it come back.
pub struct Line {
    pub stream: Box<dyn Stream>,
    pub health: watch::Receiver<Health>,
}

/// RTS/CTS or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    #[default]
    None,
    /// RTS/CTS.
    Hardware,
}

impl Flow {
    fn is_none(&self) -> bool {
        *self == Flow::None
    }
}

/// Where a board's console is: `[instance.NAME.console.KIND]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConsoleSpec {
    /// A local serial port.
    Tty(tty::Tty),
    /// Raw bytes over TCP.
    Tcp(tcp::Tcp),
    /// Telnet, without control of the port.
    Telnet(telnet::Telnet),
    /// Telnet with RFC 2217 control of the port (ser2net).
    Rfc2217(rfc2217::Rfc2217),
}

impl ConsoleSpec {
    /// For people: `/dev/serial/by-path/… at 115200`.
    pub fn label(&self, baud: u32) -> String {
        match self {
            ConsoleSpec::Tty(tty) => tty.label(baud),
            ConsoleSpec::Tcp(tcp) => tcp.label(),
            ConsoleSpec::Telnet(telnet) => telnet.label(),
            ConsoleSpec::Rfc2217(rfc2217) => rfc2217.label(baud),
        }
    }

    /// Opens the line for this process alone, at `baud` unless the lab file says otherwise.
    pub async fn open(&self, baud: u32) -> Result<Line, DriverError> {
        match self {
            ConsoleSpec::Tty(tty) => tty.open(baud).await,
            ConsoleSpec::Tcp(tcp) => tcp.open().await,
            ConsoleSpec::Telnet(telnet) => telnet.open().await,
            ConsoleSpec::Rfc2217(rfc2217) => rfc2217.open(baud).await,
        }
    }
}
