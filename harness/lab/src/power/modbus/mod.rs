//! Relays that are Modbus coils, over TCP or a serial line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.modbus-tcp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusTcp {
    /// `host:port`; the port is 502 when left out.
    pub address: String,
    /// From 0.
    pub coil: u16,
    /// The unit's number.
    pub unit: u8,
}

impl Switch for ModbusTcp {
    fn label(&self) -> String {
        "ModbusTcp".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}

/// `[power.modbus-rtu]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusRtu {
    /// Its serial port, by a stable name.
    pub port: std::path::PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// From 0.
    pub coil: u16,
    /// The unit's number.
    pub unit: u8,
}

impl Switch for ModbusRtu {
    fn label(&self) -> String {
        "ModbusRtu".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
