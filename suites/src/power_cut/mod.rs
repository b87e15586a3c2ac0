//! Power cuts, sampled: the power goes at a point that the case's seed chooses, and what must hold
//! after any power cut is checked. Where it goes is `hil_core::cut`'s; what must hold, `invariants`'.

mod boot;
mod data;
mod engine;
mod invariants;
mod update;

use hil_core::body;
use hil_core::prelude::*;

use crate::bench::on_bench;

const ALWAYS: &[Need] = &[Need::PowerCut, Need::Shell];
const DATA: &[Need] = &[Need::PowerCut, Need::Shell, Need::Persistent];

const UPDATE: &[Need] =
    &[Need::PowerCut, Need::Shell, Need::Slots, Need::Updater, Need::Update, Need::Version];

const ENGINE: &[Need] =
    &[Need::PowerCut, Need::Shell, Need::Version, Need::Engine, Need::OfflineImage];

/// The part of a boot in which services start, the engine among them.
const SERVICES: Cuts = Cuts {
    in_a_row: 1,
    after: &[Mark::Stage(Stage::Userspace)],
    ms: 1500,
    writes: 1024,
    flushes: 128,
};

/// An image goes from its archive into the engine's store.
const LOAD: Cuts = Cuts { in_a_row: 1, after: &[Mark::Begin], ms: 500, writes: 256, flushes: 64 };

/// An install, from its start to its end.
const INSTALL: Cuts = Cuts {
    in_a_row: 1,
    after: &[Mark::Begin, Mark::Progress(40), Mark::Progress(90)],
    ms: 300,
    writes: 512,
    flushes: 32,
};

/// The end of an install: what is written is made the next to boot.
const SWITCH: Cuts =
    Cuts { in_a_row: 1, after: &[Mark::Progress(99)], ms: 100, writes: 32, flushes: 16 };

/// Nothing happens any more that could be counted.
const INSTALLED: Cuts = Cuts { in_a_row: 1, after: &[Mark::Begin], ms: 200, writes: 0, flushes: 0 };

/// A boot, from the bootloader's choice until the board is ready.
const BOOT: Cuts = Cuts {
    in_a_row: 1,
    after: &[
        Mark::Stage(Stage::Bootloader),
        Mark::Stage(Stage::Kernel),
        Mark::Stage(Stage::Userspace),
    ],
    ms: 400,
    writes: 64,
    flushes: 16,
};

/// Reboots, from the order to shut down, or from power-on, until the board is ready: the bootloader
/// counts its tries between firmware and bootloader.
const BOOTS: Cuts = Cuts {
    in_a_row: 4,
    after: &[
        Mark::Begin,
        Mark::Stage(Stage::Firmware),
        Mark::Stage(Stage::Bootloader),
        Mark::Stage(Stage::Kernel),
        Mark::Stage(Stage::Userspace),
    ],
    ..BOOT
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
            .cuts(BOOT),
        Case::new("cuts-in-a-row", secs(90), body!(boot::cuts_in_a_row))
            .about("However often it is cut while booting, the board boots once it is let.")
            .needs(ALWAYS)
            .isolation(Isolation::Fork)
            .cuts(BOOTS),
        Case::new("synced-data-survives", secs(60), body!(data::synced_data_survives))
            .about("What was synced is there after a cut; what was not is old, new or absent.")
            .needs(DATA)
            .isolation(Isolation::Fork)
            .cuts(ROWS),
        Case::new("during-install", secs(150), body!(update::during_install))
            .about(
                "Cut during an install, the old system runs, or the new one, and can be updated.",
            )
            .needs(UPDATE)
            .isolation(Isolation::Fork)
            .cuts(INSTALL),
        Case::new("at-the-switch", secs(150), body!(update::during_install))
            .about("Cut where the new slot becomes the next, one of the two boots, whole.")
            .needs(UPDATE)
            .isolation(Isolation::Fork)
            .cuts(SWITCH),
        Case::new("after-install", secs(120), body!(update::after_install))
            .about("An update that was called done is what runs after a cut, as it was written.")
            .needs(UPDATE)
            .isolation(Isolation::Fork)
            .cuts(INSTALLED),
        Case::new("first-boot-of-new-slot", secs(180), body!(update::first_boot_of_new_slot))
            .about("A cut in the first boot of a new slot costs a try and no more.")
            .needs(UPDATE)
            .isolation(Isolation::Fork)
            .cuts(BOOT),
        Case::new("during-engine-start", secs(180), on_bench!(engine::during_engine_start))
            .about("Cut while services start, the engine, its store and its containers come back.")
            .needs(ENGINE)
            .isolation(Isolation::Fork)
            .cuts(SERVICES),
        Case::new("during-image-load", secs(180), on_bench!(engine::during_image_load))
            .about("Cut while an image is loaded, it is whole, or absent and can be loaded.")
            .needs(ENGINE)
            .isolation(Isolation::Fork)
            .cuts(LOAD),
        Case::new("container-data-survives", secs(180), on_bench!(engine::container_data_survives))
            .about(
                "What a container synced into a volume is there after a cut, nothing is garbage.",
            )
            .needs(ENGINE)
            .isolation(Isolation::Fork)
            .cuts(ROWS),
    ],
};
