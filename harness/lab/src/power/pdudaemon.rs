//! Ports that a PDUDaemon switches, by its TCP or HTTP listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.pdudaemon]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pdudaemon {
    /// `host[:port]`.
    pub address: String,
    /// The PDU's name in the daemon's configuration.
    pub pdu: String,
    /// The port at the PDU.
    pub port: u32,
}

impl Switch for Pdudaemon {
    fn label(&self) -> String {
        "Pdudaemon".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
