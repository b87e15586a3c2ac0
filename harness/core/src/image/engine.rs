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
    /// Seconds in which the engine answers a case that asks for it, on a fast host; 12 if left out.
    #[schemars(range(min = 1, max = 60))]
    pub ready_s: Option<u64>,
    /// What the engine must say of itself: `overlay2`.
    pub storage_driver: Option<String>,
    /// The version of the control groups it uses.
    pub cgroup: Option<CgroupVersion>,
    /// The program that starts containers: `runc`, `crun`.
    pub runtime: Option<String>,
}

impl EngineFacts {
    /// Whether the manifest says how the engine is set up.
    pub fn tells_setup(&self) -> bool {
        self.storage_driver.is_some() || self.cgroup.is_some() || self.runtime.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `path` and `tag`")]
pub struct OfflineImage {
    /// Path on the target.
    pub path: String,
    pub tag: String,
}
