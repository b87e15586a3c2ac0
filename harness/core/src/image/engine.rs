//! `[engine.…]`: the image's container engine, and what it has to offer to cases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EngineSpec {
    Docker(EngineFacts),
    BalenaEngine(EngineFacts),
    Podman(EngineFacts),
}

impl EngineSpec {
    pub fn facts(&self) -> &EngineFacts {
        match self {
            EngineSpec::Docker(f) | EngineSpec::BalenaEngine(f) | EngineSpec::Podman(f) => f,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table, which may be empty")]
pub struct EngineFacts {
    /// A docker-archive in the image's file system, for boards without a network.
    pub offline_image: Option<OfflineImage>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `path` and `tag`")]
pub struct OfflineImage {
    /// Path on the target.
    pub path: String,
    pub tag: String,
}
