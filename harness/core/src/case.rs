//! Cases and suites: what a test is, before it runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cut::Cuts;
use crate::image::Flaw;
use crate::rig::Rig;
use crate::trouble::Outcome;

/// A capability of a board or a feature of an image that a case cannot do without.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A way to run commands: SSH or a login on the console.
    Shell,
    ConsoleShell,
    Ssh,
    Network,
    Engine,
    /// A container image in the image's own file system.
    OfflineImage,
    /// The manifest says how the engine is set up.
    EngineSetup,
    Systemd,
    Slots,
    /// The manifest says which device each slot is.
    SlotDevices,
    /// The manifest says how to ask how many tries a slot has left.
    TriesLeft,
    /// The manifest says which folders an update must leave alone.
    KeptFolders,
    Updater,
    /// A good bundle to install.
    Update,
    /// A bundle with a version older than the image's, and what is to become of it.
    OlderUpdate,
    /// A bundle with something wrong with it.
    BrokenUpdate(Flaw),
    /// The product's own way of downloading a bundle.
    Download,
    /// The manifest says which version must run.
    Version,
    /// A folder that keeps what is written to it over reboots.
    Persistent,
    /// Power that can be cut without asking the guest.
    PowerCut,
    /// An emulator, whose disks and clock the harness rules.
    Emulated,
}

impl Need {
    /// What must be added to which file so that a case with this need runs.
    pub fn hint(self) -> &'static str {
        match self {
            Need::Shell => "give [login] or [ssh] in image.toml",
            Need::ConsoleShell => "give [login] in image.toml",
            Need::Ssh => "give [ssh] in image.toml",
            Need::Network => "the board has no working network",
            Need::Engine => "no [engine.…] in image.toml",
            Need::OfflineImage => "no offline_image in the [engine.…] table of image.toml",
            Need::EngineSetup => {
                "no storage_driver, cgroup or runtime in the [engine.…] table of image.toml"
            }
            Need::Systemd => "the image does not run systemd ([os] init)",
            Need::Slots => "no [slots] in image.toml",
            Need::SlotDevices => "no device in [slots] of image.toml",
            Need::TriesLeft => "no tries_left in [slots] of image.toml",
            Need::KeptFolders => "no kept in [slots] of image.toml",
            Need::Updater => "no [updater.…] in image.toml",
            Need::Update => "no [updates] in image.toml",
            Need::OlderUpdate => "no older and downgrade in [updates] of image.toml",
            Need::BrokenUpdate(flaw) => flaw.hint(),
            Need::Download => "no fetch in [updates] of image.toml",
            Need::Version => "no [os] version in image.toml",
            Need::Persistent => "no [os] persistent in image.toml",
            Need::PowerCut => "the board's power cannot be cut",
            Need::Emulated => "only an emulated board can do this",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Need::Shell => "shell",
            Need::ConsoleShell => "console-shell",
            Need::Ssh => "ssh",
            Need::Network => "network",
            Need::Engine => "engine",
            Need::OfflineImage => "offline-image",
            Need::EngineSetup => "engine-setup",
            Need::Systemd => "systemd",
            Need::Slots => "slots",
            Need::SlotDevices => "slot-devices",
            Need::TriesLeft => "tries-left",
            Need::KeptFolders => "kept-folders",
            Need::Updater => "updater",
            Need::Update => "update",
            Need::OlderUpdate => "older-update",
            Need::BrokenUpdate(flaw) => flaw.name(),
            Need::Download => "download",
            Need::Version => "version",
            Need::Persistent => "persistent",
            Need::PowerCut => "power-cut",
            Need::Emulated => "emulated",
        };
        f.write_str(name)
    }
}

/// A case's body at work.
pub type Running<'r> = Pin<Box<dyn Future<Output = Outcome> + Send + 'r>>;

/// What a case does.
#[derive(Clone, Copy)]
pub enum Body {
    /// An async function over the rig; [`body!`](crate::body) wraps one.
    Code(for<'r> fn(&'r mut Rig) -> Running<'r>),
    /// What somebody's file says, and code that does it.
    Data(&'static dyn Act),
}

/// Data that can be acted out on a rig.
pub trait Act: Send + Sync {
    fn act<'r>(&'r self, rig: &'r mut Rig) -> Running<'r>;
}

impl Body {
    pub fn run(self, rig: &mut Rig) -> Running<'_> {
        match self {
            Body::Code(function) => function(rig),
            Body::Data(data) => data.act(rig),
        }
    }
}

/// Makes a [`Body`] of an `async fn(&mut Rig) -> Outcome`.
#[macro_export]
macro_rules! body {
    ($function:path) => {
        $crate::case::Body::Code(|rig| ::std::boxed::Box::pin($function(rig)))
    };
}

/// What a case starts from, and what it may leave behind.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The board as the case before left it: for cases that only look.
    #[default]
    Shared,
    /// A fork of the booted, pristine board, thrown away afterwards. Where a board cannot fork, it
    /// is rebooted instead, and the report says so.
    Fork,
    /// A boot of its own from power-on: for cases about booting.
    Reboot,
}

impl Isolation {
    /// Its word in plans, and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Shared => "shared",
            Isolation::Fork => "fork",
            Isolation::Reboot => "reboot",
        }
    }
}

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// `kebab-case`, unique in its suite; reports and `--case` know it by `suite/name`.
    pub name: &'static str,
    /// One sentence: what is promised.
    pub about: &'static str,
    pub needs: &'static [Need],
    pub isolation: Isolation,
    /// Where it cuts the power. Such a case is a sample: `--cuts` says how many are taken.
    pub cuts: Option<Cuts>,
    /// On a fast host with KVM; scaled by board and accelerator.
    pub deadline: Duration,
    /// About how long it takes on an emulated board, where its deadline says little about that.
    pub lasts: Option<Duration>,
    pub body: Body,
}

impl Case {
    /// A case that needs nothing; say with [`Case::about`] what it promises.
    pub const fn new(name: &'static str, deadline: Duration, body: Body) -> Case {
        let isolation = Isolation::Shared;
        Case { name, about: "", needs: &[], isolation, cuts: None, deadline, lasts: None, body }
    }

    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Case {
        self.about = about;
        self
    }

    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Case {
        self.needs = needs;
        self
    }

    #[must_use]
    pub const fn isolation(mut self, isolation: Isolation) -> Case {
        self.isolation = isolation;
        self
    }

    /// For a case whose deadline says little about how long it takes: one that waits for time to pass,
    /// which no emulator slows down, or that starts many containers, or hardly any. In the seconds of a
    /// fast host that emulates, in which the boot of an image with an engine takes 35.
    #[must_use]
    pub const fn lasts(mut self, about: Duration) -> Case {
        self.lasts = Some(about);
        self
    }

    /// By which cases are dealt out to lanes. Most last a sixth of their deadline under TCG.
    pub fn weight(&self) -> Duration {
        self.lasts.unwrap_or(self.deadline / 6)
    }

    #[must_use]
    pub const fn cuts(mut self, cuts: Cuts) -> Case {
        self.cuts = Some(cuts);
        self
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// Cases of one theme.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    pub cases: &'static [Case],
    /// For the suite as a whole, on a fast host; scaled like a case's.
    pub deadline: Duration,
}
