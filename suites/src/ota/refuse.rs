//! Bundles that must not be installed, and full file systems: the old system stays as it is.

use hil_core::image::{Bundle, Downgrade, Flaw};
use hil_core::prelude::*;
use hil_core::product::Installed;

use super::install::kept;
use super::{Running, discard, running, update_to};
use crate::bundles;

pub(super) async fn corrupt(rig: &mut Rig) -> Outcome {
    // Half-way: in the payload, whatever the format has at its ends. Octal 377 and 0 differ from
    // any byte in one of the two.
    let flip = "s=$(wc -c < \"$f\"); o=$((s / 2)); was=$(dd if=\"$f\" bs=1 skip=$o count=1 2>/dev/null \
                | od -An -tu1); [ $was -eq 255 ] && new='\\000' || new='\\377'; \
                printf $new | dd of=\"$f\" bs=1 seek=$o conv=notrunc 2>/dev/null";
    derived(rig, flip).await
}

pub(super) async fn truncated(rig: &mut Rig) -> Outcome {
    derived(rig, "s=$(wc -c < \"$f\"); dd of=\"$f\" bs=1 seek=$((s / 2)) count=0 2>/dev/null").await
}

/// Refuses a copy of the good bundle, `$f`, that `change` has changed on the target.
async fn derived(rig: &mut Rig, change: &str) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let path = bundles::put(rig, &bundle).await?;
    let copy = format!("{}/hil-derived", bundles::updates(rig)?.folder);
    let copied = if bundle.at.is_some() { "cp" } else { "mv" };
    rig.must(&format!("{copied} '{path}' '{copy}' && f='{copy}' && {change} && sync")).await?;
    let outcome = refused(rig, &copy, Untouched::Running).await;
    rig.must(&format!("rm -f '{copy}'")).await?;
    outcome
}

pub(super) async fn wrong_key(rig: &mut Rig) -> Outcome {
    let bundle = bundles::broken(rig, Flaw::WrongKey)?;
    refused_bundle(rig, &bundle, Untouched::All).await
}

pub(super) async fn wrong_compatible(rig: &mut Rig) -> Outcome {
    let bundle = bundles::broken(rig, Flaw::WrongCompatible)?;
    refused_bundle(rig, &bundle, Untouched::All).await
}

pub(super) async fn too_large(rig: &mut Rig) -> Outcome {
    let bundle = bundles::broken(rig, Flaw::TooLarge)?;
    refused_bundle(rig, &bundle, Untouched::Running).await
}

pub(super) async fn downgrade(rig: &mut Rig) -> Outcome {
    let updates = bundles::updates(rig)?;
    let older = updates.older.or_fail("the manifest names no older version")?;
    match updates.downgrade {
        Some(Downgrade::Refused) => refused_bundle(rig, &older, Untouched::All).await,
        Some(Downgrade::Allowed) => update_to(rig, &older).await.map(drop),
        None => Err(Trouble::Skip(Need::OlderUpdate.hint().into())),
    }
}

/// Which slots must be the same after a refusal, as far as samples of them tell.
#[derive(Clone, Copy, PartialEq)]
enum Untouched {
    /// What is wrong shows only while the other slot is written.
    Running,
    /// What is wrong is known before anything is written.
    All,
}

async fn refused_bundle(rig: &mut Rig, bundle: &Bundle, untouched: Untouched) -> Outcome {
    let path = bundles::put(rig, bundle).await?;
    let outcome = refused(rig, &path, untouched).await;
    discard(rig, bundle, &path).await?;
    outcome
}

async fn refused(rig: &mut Rig, path: &str, untouched: Untouched) -> Outcome {
    let before = running(rig).await?;
    let marks = fingerprints(rig, &before, untouched).await?;
    match bundles::install(rig, path).await? {
        Installed::Done => return Err(Trouble::product("the bundle was installed")),
        Installed::Refused(why) => rig.journal().note(format!("refused: {why}")),
    }
    stays(rig, &before).await?;
    let now = fingerprints(rig, &before, untouched).await?;
    for ((slot, before), (_, after)) in marks.iter().zip(&now) {
        check!(before == after, "the bundle was refused, and slot {slot} has been written to");
    }
    Ok(())
}

/// The old system runs, boots next and is not called bad.
async fn stays(rig: &mut Rig, before: &Running) -> Outcome {
    let now = running(rig).await?;
    check!(now == *before, "{before} ran before the refusal, {now} runs after it");
    let (booted, _) = bundles::slots(rig).await?;
    check!(booted.next, "the bundle was refused, and slot {} no longer boots next", booted.name);
    check!(booted.good != Some(false), "the bundle was refused, and slot {} is bad", booted.name);
    Ok(())
}

/// Digests of slots, where the manifest names their devices and the root is read-only: each slot's
/// first and last MiB, and sixteen in between.
async fn fingerprints(
    rig: &mut Rig,
    running: &Running,
    which: Untouched,
) -> Outcome<Vec<(String, String)>> {
    let Some(slots) = rig.image().slots.clone() else { return Ok(Vec::new()) };
    let not_compared = |rig: &Rig, why: &str| {
        rig.journal().note(format!("the slots' content was not compared: {why}"));
        Ok(Vec::new())
    };
    let Some(device) = slots.device else {
        return not_compared(rig, "the manifest has no slots.device");
    };
    let root = rig.must("grep ' / ' /proc/mounts | tail -n 1").await?;
    let options = root.split(' ').nth(3).unwrap_or_default();
    if !options.split(',').any(|option| option == "ro") {
        return not_compared(rig, "the running system writes to its own");
    }
    let mut digests = Vec::new();
    for slot in slots.names {
        if which == Untouched::Running && slot != running.slot {
            continue;
        }
        let device = device.replace("{slot}", &slot);
        let digest = rig
            .must(&format!(
                "d='{device}'; s=$(cat /sys/class/block/$(basename $(readlink -f $d))/size); \
                 m=$((s / 2048)); i=0; {{ while [ $i -le 16 ]; do \
                 dd if=$d bs=1048576 count=1 skip=$(((m - 1) * i / 16)) 2>/dev/null; i=$((i + 1)); \
                 done; }} | md5sum"
            ))
            .await?;
        digests.push((slot, digest));
    }
    Ok(digests)
}

pub(super) async fn no_space(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let before = running(rig).await?;
    let path = bundles::put(rig, &bundle).await?;
    let folders = kept(rig);
    for folder in &folders {
        // To the last block: `dd` ends when there is no room left, which is what is wanted.
        let fill = format!("dd if=/dev/zero of='{folder}/hil-full' bs=4096 2>/dev/null; sync");
        rig.run_in(&fill, secs(60)).await?;
        let left = rig.run(&format!("echo x > '{folder}/hil-more' && sync")).await?;
        check!(!left.ok(), "{folder} could not be filled");
    }
    let ended = bundles::install(rig, &path).await?;
    for folder in &folders {
        rig.must(&format!("rm -f '{folder}/hil-full' '{folder}/hil-more'")).await?;
    }
    rig.journal().note(format!("with full {}: {ended}", folders.join(" and ")));
    if matches!(ended, Installed::Refused(_)) {
        stays(rig, &before).await?;
        bundles::must_install(rig, &path).await.or_fail("with room again")?;
    } else {
        rig.updater()?.commit(rig).await?;
    }
    discard(rig, &bundle, &path).await?;
    rig.reboot().await.or_fail("the updated system did not come up")?;
    let after = running(rig).await?;
    check!(after.slot != before.slot, "after the update slot {} still runs", after.slot);
    check!(after.version == bundle.version, "version {} runs after it", after.version);
    Ok(())
}
