//! Local serial ports, by serialport: exclusive, any baud rate, unplugged and plugged again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::error::DriverError;

/// `[console.tty]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tty {
    /// The port, by a stable name: `/dev/serial/by-path/…`.
    pub port: std::path::PathBuf,
    /// Instead of the board's own rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
}

impl Tty {
    pub fn label(&self, _baud: u32) -> String {
        "Tty".into()
    }

    pub async fn open(&self, _baud: u32) -> Result<Line, DriverError> {
        Err(DriverError::new("open: not written yet"))
    }
}
