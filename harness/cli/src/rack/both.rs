//! The rack of a run: emulators and the lab's boards behind one door.

use async_trait::async_trait;
use hil_core::board::Board;
use hil_core::event::Journal;
use hil_core::trouble::{Outcome, Trouble};
use hil_run::rack::{Lease, Leased, Rack};

use super::QemuRack;
use super::lab::LabRack;

/// Each kind is there only if a board of the run needs it.
pub(crate) struct BothRacks {
    pub(crate) emulators: Option<QemuRack>,
    pub(crate) lab: Option<LabRack>,
}

impl BothRacks {
    fn of(&self, board: &Board) -> Outcome<&dyn Rack> {
        let rack: Option<&dyn Rack> = match board.is_emulated() {
            true => self.emulators.as_ref().map(|rack| rack as &dyn Rack),
            false => self.lab.as_ref().map(|rack| rack as &dyn Rack),
        };
        rack.ok_or_else(|| Trouble::rack(format!("no rack has a board `{}`", board.name)))
    }
}

#[async_trait]
impl Rack for BothRacks {
    async fn lease(&self, lease: &Lease) -> Outcome<Leased> {
        self.of(&lease.board)?.lease(lease).await
    }

    async fn release(&self, board: &Board, journal: &Journal) {
        if let Ok(rack) = self.of(board) {
            rack.release(board, journal).await;
        }
    }
}
