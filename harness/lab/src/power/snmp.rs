//! Outlets of SNMP PDUs: APC's and any other by its OID.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.snmp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snmp {
    /// `host[:port]`.
    pub address: String,
    /// From 1.
    pub outlet: u32,
}

impl Switch for Snmp {
    fn label(&self) -> String {
        "Snmp".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
