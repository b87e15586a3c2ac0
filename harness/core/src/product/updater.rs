//! What a case asks the updater.
//!
//! Shaped so that others fit as they are. RAUC, SWUpdate and balena's hostapp-update write the slot
//! that is not booted and switch at the end of the install. Mender does too, and a commit after the
//! reboot makes it final: that is its mark-good. OSTree has deployments for slots, and one that is
//! staged becomes the next to boot at an orderly shutdown only. Who counts tries, in which
//! variables, is the bootloader's: the manifest's `[slots]` says how to ask it.

use std::fmt::{self, Display, Formatter};

use async_trait::async_trait;

use crate::image::Switch;
use crate::rig::Rig;
use crate::trouble::Outcome;

/// One slot, as far as the updater and the bootloader say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// As in `[slots] names`.
    pub name: String,
    /// It is what runs.
    pub booted: bool,
    /// The bootloader takes it at the next boot.
    pub next: bool,
    /// Marked good or bad; `None` where the updater does not say.
    pub good: Option<bool>,
    /// How often it is tried before the other one is taken; `None` where the manifest does not say
    /// how to ask (`[slots] tries_left`).
    pub tries_left: Option<u32>,
    /// The version in it; `None` where the updater does not know, as in a slot that no install
    /// has written yet.
    pub version: Option<String>,
}

/// An install at work on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installing {
    /// Where its log and its end are written, on the target.
    pub log: String,
    /// Where the console's stream stood when it was started: its progress comes after this.
    pub from: u64,
}

/// How an install ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    Done,
    /// The updater would not, or could not. The last lines of what it said.
    Refused(String),
}

impl Display for Installed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Installed::Done => f.write_str("installed"),
            Installed::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// The updater.
#[async_trait]
pub trait Updater: Send + Sync {
    fn name(&self) -> &'static str;

    /// When an installed slot becomes the one that boots next.
    fn switch(&self) -> Switch;

    /// A regex for its progress on the console; group 1 is the percentage. `None` where it tells
    /// none.
    fn progress(&self) -> Option<&str>;

    /// Whether the updater itself works, and which slot it believes booted.
    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String>;

    /// Every slot, in the order of `[slots] names`.
    async fn slots(&self, rig: &mut Rig) -> Outcome<Vec<SlotState>>;

    /// Starts installing the bundle at `path` on the target, in the background: it outlives the
    /// shell that started it, and what it says goes to the console as it says it.
    async fn start(&self, rig: &mut Rig, path: &str) -> Outcome<Installing>;

    /// Waits until an install has ended, on the target that was not rebooted meanwhile. That the
    /// updater refuses is an answer and no trouble.
    async fn wait(&self, rig: &mut Rig, install: &Installing) -> Outcome<Installed>;

    /// Makes the installed slot the next to boot, where [`Switch::AtCommit`] asks for it; nothing
    /// elsewhere.
    async fn commit(&self, rig: &mut Rig) -> Outcome;

    /// Marks the running slot good, so that it is kept and healthy reboots burn no try.
    async fn mark_good(&self, rig: &mut Rig) -> Outcome;
}
