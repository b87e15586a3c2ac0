//! A line of a GPIO chip, by the kernel's character device.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.gpio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpio {
    /// `/dev/gpiochip0`.
    pub chip: std::path::PathBuf,
    /// Offset of the line in its chip.
    pub line: u32,
}

impl Switch for Gpio {
    fn label(&self) -> String {
        "Gpio".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
