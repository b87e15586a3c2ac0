//! Telnet with control of the serial port behind it (RFC 2217).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::error::DriverError;

/// `[console.rfc2217]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rfc2217 {
    /// `host:port`
    pub address: String,
    /// Instead of the board's own rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
}

impl Rfc2217 {
    pub fn label(&self, _baud: u32) -> String {
        "Rfc2217".into()
    }

    pub async fn open(&self, _baud: u32) -> Result<Line, DriverError> {
        Err(DriverError::new("open: not written yet"))
    }
}
