//! Cuts round an update: while it is written, at its switch, after it was acknowledged, and in the
//! first boot of what it installed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hil_core::image::Switch;
use hil_core::prelude::*;

use super::boot::tries;
use super::invariants::{self, Before};
use crate::bundles;

/// An update that is ready to be installed.
struct Update {
    before: Before,
    version: String,
    /// The bundle on the target.
    path: String,
}

/// Puts the good bundle on the target, and has it on the medium before anything is cut.
async fn prepare(rig: &mut Rig) -> Outcome<Update> {
    let before = Before::of(rig).await?;
    let good = bundles::updates(rig)?.good;
    let path = bundles::put(rig, &good).await?;
    rig.must("sync").await?;
    Ok(Update { before, version: good.version, path })
}

/// Whether it is during the copying or at the switch is the plan's affair.
pub(super) async fn during_install(rig: &mut Rig) -> Outcome {
    let update = prepare(rig).await?;
    let acknowledged = Arc::new(AtomicBool::new(false));
    let (path, told) = (update.path.clone(), acknowledged.clone());
    rig.cut_while(move |rig| {
        Box::pin(async move {
            bundles::must_install(rig, &path).await?;
            told.store(true, Ordering::SeqCst);
            Ok(())
        })
    })
    .await?;
    invariants::boots(rig).await?;
    let Update { before, version, .. } = &update;
    if acknowledged.load(Ordering::SeqCst) && switches_at_once(rig)? {
        invariants::acknowledged_update_runs(rig, version).await?;
    }
    invariants::sound_system(rig, &[&before.version, version]).await?;
    second_update(rig, &update).await
}

/// The cut comes when the updater has said that it is done.
pub(super) async fn after_install(rig: &mut Rig) -> Outcome {
    if !switches_at_once(rig)? {
        let why = "what is installed boots after an orderly shutdown only, and a power cut is none";
        return Err(Trouble::Skip(why.into()));
    }
    let update = prepare(rig).await?;
    bundles::must_install(rig, &update.path).await?;
    let written = slot_digest(rig, &update.before).await?;
    rig.cut_while(|rig| Box::pin(async move { rig.run_in("sleep 5", secs(10)).await.map(drop) }))
        .await?;
    invariants::boots(rig).await?;
    invariants::acknowledged_update_runs(rig, &update.version).await?;
    let kept = slot_digest(rig, &update.before).await?;
    invariants::slot_intact(written, kept)?;
    invariants::sound_system(rig, &[&update.version]).await
}

pub(super) async fn first_boot_of_new_slot(rig: &mut Rig) -> Outcome {
    let update = prepare(rig).await?;
    bundles::must_install(rig, &update.path).await?;
    rig.cut_while(|rig| Box::pin(rig.reboot())).await?;
    invariants::boots(rig).await?;
    let Update { before, version, .. } = &update;
    if tries(rig) > 1 {
        invariants::acknowledged_update_runs(rig, version).await?;
    }
    invariants::sound_system(rig, &[&before.version, version]).await?;
    second_update(rig, &update).await
}

async fn second_update(rig: &mut Rig, update: &Update) -> Outcome {
    let outcome = async {
        let before = Before::of(rig).await?;
        bundles::must_install(rig, &update.path).await?;
        rig.reboot().await.or_fail("the board did not come back")?;
        let after = Before::of(rig).await?;
        check!(after.slot != before.slot, "slot {:?} still runs", after.slot);
        check!(after.version == update.version, "{} runs, not {}", after.version, update.version);
        Ok(())
    };
    invariants::invariant("second-update-succeeds", outcome.await)
}

/// Whether the updater is done with the switch when it says that it is done.
fn switches_at_once(rig: &Rig) -> Outcome<bool> {
    Ok(rig.updater()?.switch() != Switch::AtShutdown)
}

/// The digest of the slot that did not run before the update: what was installed into it. `None`
/// where the manifest does not say which device it is, or where a running system writes to it.
async fn slot_digest(rig: &mut Rig, before: &Before) -> Outcome<Option<String>> {
    let Some(slots) = rig.image().slots.clone() else { return Ok(None) };
    let other = slots.names.iter().find(|name| Some(*name) != before.slot.as_ref());
    let (Some(device), Some(other)) = (slots.device, other) else {
        invariants::unlooked(
            rig,
            "slot-intact",
            "the manifest does not say which device a slot is",
        );
        return Ok(None);
    };
    let read_only = rig.run("grep -qE '^[^ ]+ / [^ ]+ ([^ ]*,)?ro[, ]' /proc/mounts").await?.ok();
    if !read_only {
        invariants::unlooked(rig, "slot-intact", "the running system writes to its slot");
        return Ok(None);
    }
    let command = format!("sha256sum <{}", device.replace("{slot}", other));
    let digest = rig.run_in(&command, secs(30)).await?;
    check!(digest.ok(), "`{command}` failed: {}", digest.said());
    Ok(Some(digest.text()))
}
