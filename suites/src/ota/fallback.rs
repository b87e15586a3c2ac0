//! Updates that are installed and do not live: the old system is back after the promised tries.

use hil_core::image::{Bundle, Flaw};
use hil_core::prelude::*;

use super::{discard, running, update_to};
use crate::bundles;

pub(super) async fn kernel_panics(rig: &mut Rig) -> Outcome {
    falls_back(rig, Flaw::KernelPanics).await
}

pub(super) async fn init_exits(rig: &mut Rig) -> Outcome {
    falls_back(rig, Flaw::InitExits).await
}

pub(super) async fn health_fails(rig: &mut Rig) -> Outcome {
    falls_back(rig, Flaw::HealthFails).await
}

pub(super) async fn hangs(rig: &mut Rig) -> Outcome {
    let watchdog = rig.run("ls /dev/watchdog /dev/watchdog0").await?;
    if watchdog.text().is_empty() {
        let why = "no /dev/watchdog on this board: nothing could end a hang";
        return Err(Trouble::Skip(why.into()));
    }
    falls_back(rig, Flaw::Hangs).await
}

pub(super) async fn then_update(rig: &mut Rig) -> Outcome {
    let bundle = bundles::broken(rig, Flaw::InitExits)?;
    roll_back(rig, &bundle).await?;
    let good = bundles::updates(rig)?.good;
    update_to(rig, &good).await.or_fail("the update after a rollback").map(drop)
}

async fn falls_back(rig: &mut Rig, flaw: Flaw) -> Outcome {
    let bundle = bundles::broken(rig, flaw)?;
    let boots = roll_back(rig, &bundle).await?;
    // The boots that were tried, and the one that came back.
    let tried = boots.saturating_sub(1);
    let tries = rig.image().slots.as_ref().map_or(0, |slots| slots.tries);
    check!(tried == tries, "it was tried {tried} times; the manifest promises {tries}");
    says_so(rig).await
}

/// Installs what does not live and reboots; the old system must be back. How many boots it took.
async fn roll_back(rig: &mut Rig, bundle: &Bundle) -> Outcome<u32> {
    let before = running(rig).await?;
    let path = bundles::put(rig, bundle).await?;
    bundles::must_install(rig, &path).await?;
    discard(rig, bundle, &path).await?;
    let tries = rig.image().slots.as_ref().map_or(0, |slots| slots.tries);
    // Enough to see a miscount for what it is.
    let boots = rig.reboot_through(2 * tries + 2).await.or_fail("no fallback")?;
    rig.journal().note(format!("boots: {}", boots.lines.join(", ")));
    let after = running(rig).await?;
    check!(after.slot == before.slot, "slot {} runs instead of {}", after.slot, before.slot);
    check!(after == before, "{before} ran before the update, {after} runs after the fallback");
    rig.fact("update.fallback", boots.took.as_secs_f64(), "s");
    Ok(u32::try_from(boots.lines.len()).unwrap_or(u32::MAX))
}

/// The system that is back knows that the other one is not to be booted.
async fn says_so(rig: &mut Rig) -> Outcome {
    let (booted, others) = bundles::slots(rig).await?;
    check!(booted.next, "slot {} is back, and another one boots next", booted.name);
    for slot in others {
        let bad = slot.good == Some(false) || slot.tries_left == Some(0);
        check!(bad, "slot {} failed, and is not called bad: {slot:?}", slot.name);
    }
    Ok(())
}
