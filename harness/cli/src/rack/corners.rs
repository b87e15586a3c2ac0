//! Corners of the run's folder: each life of an emulator has one, so that no two share a socket.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::RunDir;

pub(super) struct Corners {
    run: RunDir,
    next: AtomicU32,
}

impl Corners {
    pub(super) fn new(run: RunDir) -> Corners {
        Corners { run, next: AtomicU32::new(0) }
    }

    pub(super) fn take(&self) -> Outcome<RunDir> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let base = self.run.file(&index.to_string());
        fs::create_dir(&base).map_err(|error| {
            Trouble::rack(format!("failed to create {}: {error}", base.display()))
        })?;
        Ok(RunDir::create_in(&base, self.run.run_id())?)
    }
}
