//! Writing an image to a board's boot medium: muxes, block devices, loaders. `provision` puts the
//! pieces together; the owner calls it on a thread of its own.

pub mod block;
mod bmap;
pub mod device;
pub mod guard;
pub mod loader;
pub mod mux;
pub mod present;
mod provision;
mod source;
mod tool;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use device::Device;
pub use loader::Files;
pub use provision::{Inject, Options, Provisioned, Way, provision};
pub use tool::Env;

use crate::power::PowerSpec;

/// `[instance.NAME.storage]`: how its medium is reached from here. Without it the board counts as
/// flashed already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `device` and `mux`")]
pub struct StorageSpec {
    /// The medium as a block device of this host, by a stable name (`/dev/disk/by-path/…`), once
    /// the mux or loader has connected it. A regular file stands for a card in a virtual rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// The device's size in bytes, at least and at most, as a guard against the wrong one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The device is no card or stick, yet the board's: a SATA disk behind a mux, a loop device.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fixed: bool,
    /// Write the image anew before each boot that a case asks for, after the first, instead of booting
    /// what is there. It costs the time of a write each, and wears the medium. Behind a mux only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub renew: bool,
    /// What connects the medium to this host or to the board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mux: Option<mux::MuxSpec>,
    /// The serial number the board shows on USB, for the loader of its type: `{serial}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader_serial: Option<String>,
    /// The board's place on USB, as its loader's tool writes it: `{device}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader_device: Option<String>,
    /// How this board comes into its loader's mode without anybody's hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter: Option<Enter>,
}

/// What a rack does in place of a person who holds a button.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enter {
    /// Power alone: a strap is soldered, or the board has no other way to start.
    PowerOn,
    /// A contact across its button or strap, closed before power comes and until power is gone.
    Contact(Box<PowerSpec>),
}

impl StorageSpec {
    /// The contact that is closed for the loader.
    pub fn contact(&self) -> Option<&PowerSpec> {
        match &self.enter {
            Some(Enter::Contact(contact)) => Some(contact),
            Some(Enter::PowerOn) | None => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
