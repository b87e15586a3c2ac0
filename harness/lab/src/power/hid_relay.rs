//! USB HID relays (16c0:05df), by hidraw feature reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.hid-relay]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HidRelay {
    /// `/dev/hidraw…`, or the five-letter serial of the relay.
    pub device: String,
    /// From 1.
    pub channel: u8,
}

impl Switch for HidRelay {
    fn label(&self) -> String {
        "HidRelay".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
