//! Writing an image to a board's boot medium: muxes, block devices, loaders.

pub mod mux;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[instance.NAME.storage]`: how its medium is reached from here. Without it the board counts as
/// flashed already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `device` and `mux`")]
pub struct StorageSpec {
    /// The medium as a block device of this host, by a stable name (`/dev/disk/by-path/…`), once
    /// the mux or loader has connected it. A regular file stands for a card in a virtual rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// The device's size in bytes, at least and at most, as a guard against the wrong one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What connects the medium to this host or to the board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mux: Option<mux::MuxSpec>,
    /// The board's own serial number or USB path, for the loader of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader_serial: Option<String>,
}
