//! Passwords in a lab file: usable, but not printed with the rest.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A password. `{:?}` does not show it; serialising does, since a keeper is handed its devices
/// that way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
