//! Per-port power switching of USB hubs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.usb-hub]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsbHub {
    /// The hub's USB path: `1-1.4`.
    pub hub: String,
    /// From 1.
    pub port: u8,
}

impl Switch for UsbHub {
    fn label(&self) -> String {
        "UsbHub".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
