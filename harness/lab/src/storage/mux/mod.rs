//! SD- and USB-muxes: who sees the medium, this host or the board. Their own tools do the work;
//! what they are asked and what they answer stands in `tools`.

mod tools;

use std::fmt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use hil_core::deadline::{Deadline, secs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tool::Env;
use crate::error::DriverError;

/// No call of a mux takes longer than this; one that would is given up with an error.
pub const PATIENCE: Duration = secs(10);

/// Who sees the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Host,
    Dut,
    Off,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Host => "the host",
            Side::Dut => "the board",
            Side::Off => "neither side",
        })
    }
}

/// Which mux: `[instance.NAME.storage.mux.KIND]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MuxSpec {
    /// Linux Automation's USB-SD-Mux, by the tool `usbsdmux`.
    Usbsdmux(Usbsdmux),
    /// SDWire, by `sd-mux-ctrl`.
    Sdwire(Sdwire),
    /// Any program.
    Command(Command),
}

/// `[storage.mux.usbsdmux]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usbsdmux {
    /// `/dev/usb-sd-mux/id-…`.
    pub control: PathBuf,
    /// The tool, where it is not on the PATH; relative to the lab file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<PathBuf>,
}

/// `[storage.mux.sdwire]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sdwire {
    /// The mux's serial number: `sd-mux-ctrl --list`.
    pub serial: String,
}

/// `[storage.mux.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments that connect the medium to this host.
    pub host: Vec<String>,
    /// Program and arguments that connect it to the board.
    pub dut: Vec<String>,
    /// Prints `host`, `dut` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<Vec<String>>,
}

/// A mux. Calls block, at most [`PATIENCE`].
pub trait Mux: Send {
    /// What it is, for people: `USB-SD-Mux /dev/usb-sd-mux/id-…`.
    fn label(&self) -> String;
    fn switch(&mut self, side: Side) -> Result<(), DriverError>;
    /// `None` where it cannot be asked.
    fn get(&mut self) -> Result<Option<Side>, DriverError>;
    /// Whether it can take the medium from both sides.
    fn has_off(&self) -> bool {
        false
    }
}

/// Makes the driver. Nothing is touched before its first call; `env` is what its tool is started
/// with, beside hil's own environment.
pub fn open(spec: &MuxSpec, env: &Env) -> Box<dyn Mux> {
    Box::new(tools::ByTool::new(spec.clone(), env.to_vec()))
}

/// Switches, and asks back where that can be: the error of a mux that does not switch is told here
/// and not by a board that fails to boot. Whether the mux could be asked.
pub fn turn(mux: &mut dyn Mux, side: Side) -> Result<bool, DriverError> {
    mux.switch(side)?;
    let settled = Deadline::within(secs(2));
    loop {
        match mux.get()? {
            None => return Ok(false),
            Some(now) if now == side => return Ok(true),
            Some(now) if settled.passed() => {
                return Err(DriverError::new(format!(
                    "switch {} to {side}: it took the command, yet says that it is still switched \
                     to {now}: check its cable and whether it is jammed",
                    mux.label()
                )));
            }
            Some(_) => sleep(Duration::from_millis(100)),
        }
    }
}
