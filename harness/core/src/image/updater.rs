//! `[updater.…]`: how the image is updated; `[updates]`: with what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The updater; what it is asked with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdaterSpec {
    Rauc(Rauc),
    Custom(Custom),
}

/// RAUC is asked over its own command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table, which may be empty")]
pub struct Rauc {
    /// `at-commit` where system.conf has `activate-installed=false`.
    pub switch: Switch,
}

/// Any other updater, by its commands. They run in the target's shell; their exit status counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `install`, `slots` and `mark_good`")]
pub struct Custom {
    /// Installs `{bundle}` and ends with 0, or refuses it and ends with another status.
    pub install: String,
    /// Prints a line for each slot: its name, then words of `booted`, `next`, `good`, `bad`,
    /// `version=V`: `A booted next good version=1.0`.
    pub slots: String,
    /// Marks the running slot good.
    pub mark_good: String,
    #[serde(default)]
    pub switch: Switch,
    /// Makes the installed slot the next to boot, for `switch = "at-commit"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Regex of its progress; group 1 is the percentage: `^ *([0-9]+)%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// When an installed slot becomes the one that boots next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// With the end of the install.
    #[default]
    AtInstall,
    /// When it is asked for.
    AtCommit,
    /// In an orderly shutdown (OSTree's staged deployments).
    AtShutdown,
}

/// The bundles that cases install.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `good`, and maybe `folder`, `broken`, …")]
pub struct Updates {
    /// Where a bundle is put on the target: it takes room for two, and is kept over a reboot. `/tmp`
    /// if left out, which many systems empty at a boot: name another folder there.
    #[serde(default = "folder")]
    pub folder: String,
    /// Another version than the image's, healthy. What is cut short or damaged on the way to the
    /// target is made of it.
    pub good: Bundle,
    /// A version older than the image's, and what the product does about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Bundle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<Downgrade>,
    /// Bundles with something wrong with them, by what that is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<Flaw, Bundle>,
    /// How the product downloads a bundle: from `{url}` to `{path}`, going on with what is there
    /// already where it can: `wget -c -O {path} {url}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<String>,
}

fn folder() -> String {
    "/tmp".into()
}

/// A bundle: a file of the host, and where it is on the target if it is there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `file` and `version`, and maybe `at`")]
pub struct Bundle {
    /// Relative to the manifest.
    pub file: PathBuf,
    /// What the system in it says of itself.
    pub version: String,
    /// Its path on the target, where the image or an `[[inject]]` has put it. It spares the upload,
    /// and is the way for a board with nothing but a console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// What is to become of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Downgrade {
    Refused,
    Allowed,
}

/// What is wrong with a bundle.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// Its kernel panics before there is a user space.
    KernelPanics,
    /// Its first program ends.
    InitExits,
    /// It comes up, and its own health check says no.
    HealthFails,
    /// It hangs before it is ready; only a watchdog can end that.
    Hangs,
    /// Signed with a key that the image does not trust.
    WrongKey,
    /// Made for another product.
    WrongCompatible,
    /// Its system does not fit into the slot.
    TooLarge,
}

impl Flaw {
    pub fn name(self) -> &'static str {
        match self {
            Flaw::KernelPanics => "kernel-panics",
            Flaw::InitExits => "init-exits",
            Flaw::HealthFails => "health-fails",
            Flaw::Hangs => "hangs",
            Flaw::WrongKey => "wrong-key",
            Flaw::WrongCompatible => "wrong-compatible",
            Flaw::TooLarge => "too-large",
        }
    }

    /// What is to be added to image.toml for the cases that want such a bundle.
    pub fn hint(self) -> &'static str {
        match self {
            Flaw::KernelPanics => "no kernel-panics in [updates.broken] of image.toml",
            Flaw::InitExits => "no init-exits in [updates.broken] of image.toml",
            Flaw::HealthFails => "no health-fails in [updates.broken] of image.toml",
            Flaw::Hangs => "no hangs in [updates.broken] of image.toml",
            Flaw::WrongKey => "no wrong-key in [updates.broken] of image.toml",
            Flaw::WrongCompatible => "no wrong-compatible in [updates.broken] of image.toml",
            Flaw::TooLarge => "no too-large in [updates.broken] of image.toml",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
