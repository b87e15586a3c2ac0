//! Telnet (RFC 854, 856, 857, 858): bytes escaped, options refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::error::DriverError;

/// `[console.telnet]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telnet {
    /// `host:port`
    pub address: String,
}

impl Telnet {
    pub fn label(&self) -> String {
        "Telnet".into()
    }

    pub async fn open(&self) -> Result<Line, DriverError> {
        Err(DriverError::new("open: not written yet"))
    }
}
