//! Any program as a switch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Switch;
use crate::error::DriverError;

/// `[power.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments that close the contact.
    pub on: Vec<String>,
    /// Program and arguments that open it.
    pub off: Vec<String>,
    /// Prints `on` or `off`.
    #[serde(default)]
    pub get: Option<Vec<String>>,
}

impl Switch for Command {
    fn label(&self) -> String {
        "Command".into()
    }

    fn set(&mut self, _on: bool) -> Result<(), DriverError> {
        Err(DriverError::new("switch: not written yet"))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
