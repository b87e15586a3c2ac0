//! `[updater.…]`: how the image is updated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdaterSpec {
    Rauc(Rauc),
}

/// RAUC needs no settings: it is asked over its own command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty table")]
pub struct Rauc {}
