//! Serial relays of the LCUS type: four-byte frames at 9600 baud.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.lcus]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lcus {
    /// Its serial port, by a stable name.
    pub port: std::path::PathBuf,
    /// From 1.
    pub channel: u8,
}

impl Switch for Lcus {
    fn label(&self) -> String {
        "Lcus".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
