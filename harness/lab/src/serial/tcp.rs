//! Raw bytes over TCP: ser2net `raw`, an emulator's socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::error::DriverError;

/// `[console.tcp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// `host:port`
    pub address: String,
}

impl Tcp {
    pub fn label(&self) -> String {
        "Tcp".into()
    }

    pub async fn open(&self) -> Result<Line, DriverError> {
        Err(DriverError::new("open: not written yet"))
    }
}
