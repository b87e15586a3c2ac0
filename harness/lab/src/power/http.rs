//! Network sockets with an HTTP interface: Tasmota and Shelly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.tasmota]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tasmota {
    /// `http://host[:port]`.
    pub url: String,
    /// From 1.
    pub channel: u8,
}

impl Switch for Tasmota {
    fn label(&self) -> String {
        "Tasmota".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}

/// `[power.shelly]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shelly {
    /// `http://host[:port]`.
    pub url: String,
    /// From 0.
    pub channel: u8,
}

impl Switch for Shelly {
    fn label(&self) -> String {
        "Shelly".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
