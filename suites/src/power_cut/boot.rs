//! Cuts while the board boots.

use hil_core::prelude::*;

use super::invariants::{self, Before};

pub(super) async fn during_boot(rig: &mut Rig) -> Outcome {
    let before = Before::of(rig).await?;
    rig.cut_while(|rig| Box::pin(rig.reboot())).await?;
    invariants::boots(rig).await?;
    if tries(rig) > 1 {
        invariants::slot_kept(rig, &before).await?;
    }
    invariants::sound_system(rig, &[&before.version]).await
}

/// As many cuts as a slot has tries may end in the other slot, whatever that has in it, and after
/// resets; but never in none.
pub(super) async fn cuts_in_a_row(rig: &mut Rig) -> Outcome {
    let before = Before::of(rig).await?;
    rig.cut_while(|rig| Box::pin(rig.reboot())).await?;
    let mut cuts = 1;
    while rig.cuts_left() > 0 {
        rig.cut_while(|rig| Box::pin(boot(rig))).await?;
        cuts += 1;
    }
    if cuts < tries(rig) {
        invariants::boots(rig).await?;
        invariants::slot_kept(rig, &before).await?;
        return invariants::sound_system(rig, &[&before.version]).await;
    }
    invariants::comes_back(rig).await?;
    let after = Before::of(rig).await?;
    let known = if after.slot == before.slot { &before } else { &after };
    if known == &after {
        let why = "the other slot runs, with whatever version was in it";
        invariants::unlooked(rig, "version-known", why);
    }
    invariants::sound_system(rig, &[&known.version]).await
}

async fn boot(rig: &mut Rig) -> Outcome {
    rig.power_on().await?;
    rig.reach(Stage::Ready).await
}

pub(super) fn tries(rig: &Rig) -> u32 {
    rig.image().slots.as_ref().map_or(u32::MAX, |slots| slots.tries)
}
