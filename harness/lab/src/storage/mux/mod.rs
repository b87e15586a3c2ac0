//! SD- and USB-muxes: who sees the medium, this host or the board. Their own tools do the work.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DriverError;

/// Who sees the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Host,
    Dut,
    Off,
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
    pub host: Vec<String>,
    pub dut: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<Vec<String>>,
}

/// A mux. Calls block, at most ten seconds.
pub trait Mux: Send {
    fn label(&self) -> String;
    fn switch(&mut self, side: Side) -> Result<(), DriverError>;
    /// `None` where it cannot be asked.
    fn get(&mut self) -> Result<Option<Side>, DriverError>;
}
