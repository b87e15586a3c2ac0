//! What the runner asks of a rack: a rig's parts, for one board and one prepared image.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hil_core::board::Board;
use hil_core::event::Journal;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::rig::Parts;
use hil_core::trouble::Outcome;

use crate::prepare::Prepared;

/// One session's wish.
#[derive(Clone)]
pub struct Lease {
    pub board: Arc<Board>,
    pub image: Arc<Prepared>,
    /// Whether cases are to start from forks of the booted board, where it can be forked.
    pub forks: bool,
    /// Where captures and attachments of the board go.
    pub dir: PathBuf,
    pub journal: Journal,
    pub masker: Masker,
}

/// What a lease yields: the parts, and the console apart from them, because the runner goes on
/// watching it while a case holds the rig.
pub struct Leased {
    pub parts: Parts,
    pub console: Arc<dyn Console>,
    /// What ran instead of what was hoped for: "KVM is broken here; using TCG".
    pub notes: Vec<String>,
    pub medium: String,
}

/// Somewhere that boards are to be had: this host's emulators, or a lab.
#[async_trait]
pub trait Rack: Send + Sync {
    /// Takes a board for this caller alone and provisions it; its power is still off.
    async fn lease(&self, lease: &Lease) -> Outcome<Leased>;

    /// The run needs this board no more: it is made safe, and free for others.
    async fn release(&self, _board: &Board, _journal: &Journal) {}
}
