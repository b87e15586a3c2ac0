//! Whether a board's medium is where its lab file says, and comes and goes with its mux. Blocks;
//! writes nothing to it.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hil_core::board::Flash;
use hil_core::deadline::{Deadline, secs};
use hil_lab::DriverError;
use hil_lab::storage::guard::Kernel;
use hil_lab::storage::mux::{self, Mux, MuxSpec, Side};
use hil_lab::storage::present::{self, Presence};
use hil_lab::storage::{Env, StorageSpec, Way};

/// How long a medium may take to come or to go, as for flashing.
const MOVES: Duration = secs(20);

/// Four turns of a mux with their questions, and three waits, end before this.
pub(super) const LONGEST: Duration = secs(180);

/// A note on what was seen; the board must be without power.
pub(super) fn check(
    spec: &StorageSpec,
    flash: Option<&Flash>,
    env: &Env,
) -> Result<Option<String>, DriverError> {
    match Way::of(Some(spec), flash)? {
        Way::Flashed => Ok(None),
        Way::Loader(_) => Ok(Some("flashed by its loader, which is not tried".into())),
        Way::Medium(device, None) => {
            Ok(Some(format!("{}: {} bytes", device.display(), guard(spec)?)))
        }
        Way::Medium(device, Some(wiring)) => {
            let behind = Behind { spec, wiring, device };
            let mut mux = mux::open(wiring, env);
            behind.check(&mut *mux).map(Some).map_err(|why| behind.park(&mut *mux, why))
        }
    }
}

/// Its size, if it may be written.
fn guard(spec: &StorageSpec) -> Result<u64, DriverError> {
    Ok(Kernel::default().guard(spec)?.size)
}

/// A medium behind a mux.
struct Behind<'b> {
    spec: &'b StorageSpec,
    wiring: &'b MuxSpec,
    device: &'b Path,
}

impl Behind<'_> {
    fn check(&self, mux: &mut dyn Mux) -> Result<String, DriverError> {
        mux::turn(mux, Side::Dut)?;
        let (label, device) = (mux.label(), self.device.display());
        let goes = self.is_gone()?;
        if !goes && !self.may_stay() {
            return Err(DriverError::new(format!(
                "switch {label} to the board: it took the command, yet {device} is still there \
                 {} s later: it is jammed, or this is another disk: check `device`",
                MOVES.as_secs()
            )));
        }
        mux::turn(mux, Side::Host)?;
        match self.wait(Presence::is_there)? {
            Presence::There(_) => {}
            Presence::Nowhere => return Err(self.absent(&label, "did not appear")),
            Presence::Empty => return Err(self.absent(&label, "held no medium")),
        }
        let size = guard(self.spec)?;
        mux::turn(mux, Side::Dut)?;
        if goes && !self.is_gone()? {
            return Err(DriverError::new(format!(
                "switch {label} back to the board: it took the command, yet {device} is still \
                 there {} s later",
                MOVES.as_secs()
            )));
        }
        Ok(match goes {
            true => format!("{device}: {size} bytes, comes and goes with {label}"),
            false => format!("{device}: {size} bytes; {label} cannot be seen to switch"),
        })
    }

    fn is_gone(&self) -> Result<bool, DriverError> {
        // A file that a program of the lab's stands for a card with is not looked for in vain.
        if self.may_stay() {
            return Ok(!present::look(self.device)?.is_there());
        }
        Ok(!self.wait(|now| !now.is_there())?.is_there())
    }

    fn may_stay(&self) -> bool {
        matches!(self.wiring, MuxSpec::Command(_)) && self.device.is_file()
    }

    fn wait(&self, wanted: impl Fn(Presence) -> bool) -> Result<Presence, DriverError> {
        present::wait(self.device, wanted, Deadline::within(MOVES), &AtomicBool::new(false))
    }

    fn absent(&self, label: &str, what: &str) -> DriverError {
        DriverError::new(format!(
            "find {} behind {label}, which took the command to switch it to the host: it {what} \
             within {} s: check the card, the mux and its USB cable, and `device` in the lab file",
            self.device.display(),
            MOVES.as_secs()
        ))
    }

    /// The medium belongs to the board, whatever was found.
    fn park(&self, mux: &mut dyn Mux, why: DriverError) -> DriverError {
        match mux::turn(mux, Side::Dut) {
            Ok(_) => why,
            // It is why the check ended, most likely, and said already.
            Err(then) if then == why => why,
            Err(then) => DriverError::new(format!("{why}; and then failed to {then}")),
        }
    }
}
