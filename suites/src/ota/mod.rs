//! OTA: an update is installed and kept, refused, or rolled back; never anything in between.

mod download;
mod fallback;
mod install;
mod memory;
mod refuse;

use std::fmt::{self, Display, Formatter};

use hil_core::body;
use hil_core::image::{Bundle, Flaw, Switch};
use hil_core::prelude::*;

use crate::bundles;

const UPDATE: &[Need] = &[Need::Shell, Need::Slots, Need::Updater, Need::Update];

/// The needs of a case about a broken bundle.
macro_rules! broken {
    ($flaw:ident) => {
        &[Need::Shell, Need::Slots, Need::Updater, Need::BrokenUpdate(Flaw::$flaw)]
    };
}

/// A case, which leaves nothing as it was.
const fn case(name: &'static str, most: u64, body: Body) -> Case {
    Case::new(name, secs(most), body).isolation(Isolation::Fork)
}

pub(crate) const SUITE: Suite = Suite {
    name: "ota",
    about: "Updates are installed, refused or rolled back as they should be.",
    deadline: secs(1800),
    cases: &[
        case("install-and-switch", 120, body!(install::install_and_switch))
            .about("A good update is installed, tells its progress, runs after a reboot, and is kept.")
            .needs(UPDATE),
        case("parts-agree", 120, body!(install::parts_agree))
            .about("After an update version, slot, root, kernel and modules are all the new ones.")
            .needs(UPDATE),
        case("update-twice", 240, body!(install::update_twice))
            .about("An updated system takes the next update, back into the first slot.")
            .needs(UPDATE),
        case("data-survives", 120, body!(install::data_survives))
            .about("What an application wrote into kept folders is there after an update.")
            .needs(&[Need::Shell, Need::Slots, Need::Updater, Need::Update, Need::KeptFolders]),
        case("nothing-leaks-into-data", 120, body!(install::nothing_leaks))
            .about("An update leaves nothing of its own behind in kept folders.")
            .needs(&[Need::Shell, Need::Slots, Need::Updater, Need::Update, Need::KeptFolders]),
        case("reboots-burn-no-try", 120, body!(install::reboots_burn_no_try))
            .about("A healthy system that is rebooted again and again keeps all its tries.")
            .needs(&[Need::Shell, Need::Slots, Need::Updater, Need::TriesLeft]),
        case("corrupt-refused", 90, body!(refuse::corrupt))
            .about("A bundle with one wrong byte is not installed.")
            .lasts(secs(12))
            .needs(UPDATE),
        case("truncated-refused", 90, body!(refuse::truncated))
            .about("Half a bundle is not installed.")
            .lasts(secs(9))
            .needs(UPDATE),
        case("wrong-key-refused", 60, body!(refuse::wrong_key))
            .about("A bundle signed by a stranger is not installed; nothing of it is written.")
            .lasts(secs(5))
            .needs(broken!(WrongKey)),
        case("wrong-compatible-refused", 60, body!(refuse::wrong_compatible))
            .about("A bundle for another product is not installed; nothing of it is written.")
            .lasts(secs(6))
            .needs(broken!(WrongCompatible)),
        case("too-large-refused", 60, body!(refuse::too_large))
            .about("A system that does not fit into the slot is not installed.")
            .lasts(secs(7))
            .needs(broken!(TooLarge)),
        case("downgrade-policy", 90, body!(refuse::downgrade))
            .about("An older version is refused, or installed, as the manifest promises.")
            .lasts(secs(6))
            .needs(&[Need::Shell, Need::Slots, Need::Updater, Need::OlderUpdate]),
        case("no-space", 180, body!(refuse::no_space))
            .about("With full kept folders an update succeeds or is refused; with room, it succeeds.")
            .needs(&[Need::Shell, Need::Slots, Need::Updater, Need::Update, Need::KeptFolders]),
        case("interrupted-download", 120, body!(download::interrupted))
            .about("A download that breaks off is not installed; the next try gets all of it.")
            .lasts(secs(7))
            .needs(&[Need::Ssh, Need::Slots, Need::Updater, Need::Update, Need::Download]),
        case("kernel-panics", 180, body!(fallback::kernel_panics))
            .about("A kernel that panics is tried as often as promised, then the old system runs.")
            .needs(broken!(KernelPanics)),
        case("init-exits", 180, body!(fallback::init_exits))
            .about("A first program that ends is tried as often as promised; the old system runs.")
            .needs(broken!(InitExits)),
        case("health-fails", 180, body!(fallback::health_fails))
            .about("A system that calls itself ill is tried as often as promised; the old one runs.")
            .needs(broken!(HealthFails)),
        case("hangs", 300, body!(fallback::hangs))
            .about("A system that hangs is reset by a watchdog, as often as promised; the old one runs.")
            .needs(broken!(Hangs)),
        case("rollback-then-update", 240, body!(fallback::then_update))
            .about("After a rollback a good update is installed and runs.")
            .needs(&[
                Need::Shell,
                Need::Slots,
                Need::Updater,
                Need::Update,
                Need::BrokenUpdate(Flaw::InitExits),
            ]),
    ],
};

/// What runs: slot and version, by the OS's own word.
#[derive(Clone, Debug, PartialEq)]
struct Running {
    slot: String,
    version: String,
}

impl Display for Running {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "version {} in slot {}", self.version, self.slot)
    }
}

async fn running(rig: &mut Rig) -> Outcome<Running> {
    let os = rig.os();
    Ok(Running { slot: os.slot(rig).await?, version: os.version(rig).await? })
}

/// Installs a good bundle and reboots into it.
async fn update_to(rig: &mut Rig, bundle: &Bundle) -> Outcome<Running> {
    let before = running(rig).await?;
    let path = bundles::put(rig, bundle).await?;
    bundles::must_install(rig, &path).await?;
    discard(rig, bundle, &path).await?;
    rig.reboot().await.or_fail("the updated system did not come up")?;
    let after = running(rig).await?;
    check!(after.slot != before.slot, "after the update slot {} still runs", after.slot);
    let (got, wanted) = (&after.version, &bundle.version);
    check!(got == wanted, "version {got} runs after an update to {wanted}");
    Ok(after)
}

/// What was installed boots next: at once, but for an updater that switches in the shutdown.
async fn boots_next(rig: &mut Rig) -> Outcome {
    if rig.updater()?.switch() == Switch::AtShutdown {
        return Ok(());
    }
    let (booted, others) = bundles::slots(rig).await?;
    check!(!booted.next, "the update is installed, and slot {} still boots next", booted.name);
    check!(others.iter().any(|slot| slot.next), "no slot boots next: {others:?}");
    Ok(())
}

/// Removes an uploaded bundle; what the image itself has is left alone.
async fn discard(rig: &mut Rig, bundle: &Bundle, path: &str) -> Outcome {
    match bundle.at {
        Some(_) => Ok(()),
        None => rig.must(&format!("rm -f '{path}'")).await.map(drop),
    }
}
