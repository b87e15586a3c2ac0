//! Power cuts, sampled: the power goes at a point that the case's seed chooses, and what must hold
//! after any power cut is checked. Where it goes is `hil_core::cut`'s; what must hold, `invariants`'.

mod boot;
mod data;
mod invariants;

use hil_core::body;
use hil_core::prelude::*;

const ALWAYS: &[Need] = &[Need::PowerCut, Need::Shell];
const DATA: &[Need] = &[Need::PowerCut, Need::Shell, Need::Persistent];

/// A reboot, from the order to shut down until the board is ready.
const REBOOT: Cuts = Cuts {
    in_a_row: 1,
    after: &[
        Mark::Begin,
        Mark::Stage(Stage::Bootloader),
        Mark::Stage(Stage::Kernel),
        Mark::Stage(Stage::Userspace),
    ],
    ms: 400,
    writes: 64,
    flushes: 16,
};

/// A service that writes a few rows a second.
const ROWS: Cuts = Cuts { in_a_row: 1, after: &[Mark::Begin], ms: 300, writes: 128, flushes: 32 };

pub(crate) const SUITE: Suite = Suite {
    name: "power-cut",
    about: "Whenever the power goes, the board comes back whole, and keeps what it acknowledged.",
    deadline: secs(900),
    cases: &[
        Case::new("during-boot", secs(60), body!(boot::during_boot))
            .about("Cut while it reboots, the board comes back in the same slot, sound.")
            .needs(ALWAYS)
            .isolation(Isolation::Fork)
            .cuts(REBOOT),
        Case::new("cuts-in-a-row", secs(90), body!(boot::cuts_in_a_row))
            .about("However often it is cut while booting, the board boots once it is let.")
            .needs(ALWAYS)
            .isolation(Isolation::Fork)
            .cuts(Cuts { in_a_row: 4, ..REBOOT }),
        Case::new("synced-data-survives", secs(60), body!(data::synced_data_survives))
            .about("What was synced is there after a cut; what was not is old, new or absent.")
            .needs(DATA)
            .isolation(Isolation::Fork)
            .cuts(ROWS),
    ],
};
