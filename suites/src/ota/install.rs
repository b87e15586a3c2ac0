//! Updates that succeed: what runs afterwards, what was kept, and what it took.

use hil_core::prelude::*;
use hil_core::product::{Installed, Installing};
use regex::bytes::Regex;

use super::memory::Watch;
use super::{Running, boots_next, discard, running, update_to};
use crate::bundles;

pub(super) async fn install_and_switch(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let before = running(rig).await?;
    let path = bundles::put(rig, &bundle).await?;
    let written = written(rig).await?;
    let clock = rig.journal().clock();
    let memory = Watch::begin(rig).await?;

    let start = clock.now();
    let installed = install(rig, &path).await;
    let took = clock.now() - start;
    let peak = memory.end(rig).await;
    let (install, ended) = installed?;
    rig.fact("update.install", took.as_secs_f64(), "s");
    if let Some(peak) = peak? {
        rig.fact("update.peak-memory", peak, "bytes");
    }
    check!(ended == Installed::Done, "the update was not installed: {ended}");
    told_its_progress(rig, install.from)?;
    rig.updater()?.commit(rig).await?;
    if let (Some(before), Some(after)) = (written, self::written(rig).await?) {
        rig.fact("update.written", (after - before) as f64, "bytes");
    }

    still_runs(rig, &before).await?;
    discard(rig, &bundle, &path).await?;
    rig.reboot().await.or_fail("the updated system did not come up")?;
    let ready = rig.boot_times().get(&Stage::Ready).copied().unwrap_or_default();
    rig.fact("update.reboot", ready.as_secs_f64(), "s");
    is_kept(rig, &before, &bundle.version).await
}

/// Installs to whichever end, and tells where its progress stands.
async fn install(rig: &mut Rig, path: &str) -> Outcome<(Installing, Installed)> {
    let updater = rig.updater()?;
    let install = updater.start(rig, path).await?;
    let ended = updater.wait(rig, &install).await?;
    Ok((install, ended))
}

/// Until the reboot nothing changes but what boots next.
async fn still_runs(rig: &mut Rig, before: &Running) -> Outcome {
    let now = running(rig).await?;
    check!(now == *before, "{before} ran before the install, {now} runs after it");
    boots_next(rig).await
}

async fn is_kept(rig: &mut Rig, before: &Running, version: &str) -> Outcome {
    let now = running(rig).await?;
    check!(now.slot != before.slot, "after the update slot {} still runs", now.slot);
    check!(now.version == version, "version {} runs after an update to {version}", now.version);
    rig.updater()?.mark_good(rig).await?;
    let (booted, _) = bundles::slots(rig).await?;
    check!(booted.name == now.slot, "slot {} runs, and {} is called booted", now.slot, booted.name);
    check!(booted.next, "the new slot {} does not boot next", booted.name);
    check!(booted.good != Some(false), "the new slot {} is marked bad", booted.name);
    full_tries(rig, booted.tries_left)
}

fn full_tries(rig: &Rig, left: Option<u32>) -> Outcome {
    let promised = rig.image().slots.as_ref().map(|slots| slots.tries);
    if let (Some(left), Some(promised)) = (left, promised) {
        check!(left == promised, "a healthy system has {left} tries left, not {promised}");
    }
    Ok(())
}

/// Where the updater tells its progress, all of it was seen on the console.
fn told_its_progress(rig: &Rig, from: u64) -> Outcome {
    let updater = rig.updater()?;
    let Some(pattern) = updater.progress() else { return Ok(()) };
    let pattern = Regex::new(pattern).map_err(Trouble::rack)?;
    let said = rig.console().read(from, 1 << 20)?;
    let percent = |found: regex::bytes::Captures<'_>| {
        String::from_utf8_lossy(found.get(1)?.as_bytes()).parse::<u32>().ok()
    };
    let told: Vec<u32> = pattern.captures_iter(&said).filter_map(percent).collect();
    let last = told.last().or_fail("it told no progress on the console")?;
    check!(*last == 100, "its progress on the console ended at {last} %");
    Ok(())
}

/// Bytes written to the disk of the slots since the boot, nothing of it pending, where the manifest
/// names their devices.
async fn written(rig: &mut Rig) -> Outcome<Option<u64>> {
    let slots = rig.image().slots.clone();
    let Some(device) = slots.as_ref().and_then(|slots| slots.device.as_ref()) else {
        return Ok(None);
    };
    let device =
        device.replace("{slot}", &slots.as_ref().map_or(String::new(), |s| s.first.clone()));
    // A partition's folder stands in its disk's; the seventh figure counts sectors of 512 bytes.
    let ask = format!(
        "sync; d=$(readlink -f '{device}') && \
         set -- $(cat $(readlink -f /sys/class/block/${{d##*/}}/..)/stat) && echo $7"
    );
    let output = rig.run(&ask).await?;
    Ok(output.text().parse().ok().map(|sectors: u64| sectors * 512))
}

pub(super) async fn parts_agree(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let now = update_to(rig, &bundle).await?;
    let (booted, _) = bundles::slots(rig).await?;
    check!(booted.name == now.slot, "slot {} runs, and {} is called booted", now.slot, booted.name);
    let known = booted.version.unwrap_or_else(|| now.version.clone());
    check!(
        known == now.version,
        "version {} runs, and the updater has installed {known}",
        now.version
    );
    root_is_the_slot(rig, &now.slot).await?;
    modules_are_the_kernels(rig).await
}

/// The root file system is on the slot's own device.
async fn root_is_the_slot(rig: &mut Rig, slot: &str) -> Outcome {
    let device = rig.image().slots.as_ref().and_then(|slots| slots.device.clone());
    let Some(device) = device else {
        rig.journal()
            .note("ota/parts-agree: the manifest has no slots.device; where / is was not seen");
        return Ok(());
    };
    let device = device.replace("{slot}", slot);
    let root = rig.must("stat -c %d /").await?;
    let wanted = rig.must(&format!("stat -L -c '%t %T' '{device}'")).await?;
    // `%d` is major * 256 + minor for the small numbers that disks have.
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let wanted = wanted
        .split_once(' ')
        .and_then(|(major, minor)| Some(number(major)? * 256 + number(minor)?));
    let wanted = wanted.or_fail(format!("{device} is no block device"))?;
    check!(root == wanted.to_string(), "slot {slot} runs, but / is not on {device}");
    Ok(())
}

/// The kernel that runs finds its own modules, all of them, and is the one that /boot holds.
async fn modules_are_the_kernels(rig: &mut Rig) -> Outcome {
    let release = rig.must("uname -r").await?;
    let listed = rig.run(&format!("test -s /lib/modules/{release}/modules.dep")).await?;
    check!(listed.ok(), "kernel {release} runs, and there is no /lib/modules/{release}");
    let lost = rig
        .must(&format!(
            "cd /lib/modules/{release} && cut -d: -f1 modules.dep | while read -r m; do \
             test -s \"$m\" || echo \"$m\"; done"
        ))
        .await?;
    check!(lost.is_empty(), "modules of the running kernel are missing: {lost}");
    // A kernel file that is not compressed says which it is; one that is says nothing here.
    let others = rig
        .must(&format!(
            "for f in /boot/vmlinu* /boot/*Image*; do grep -aoE '{RELEASE}' \"$f\" 2>/dev/null \
             | head -n 1; done | grep -vF '{release} ' || :"
        ))
        .await?;
    check!(others.is_empty(), "kernel {release} runs, and /boot holds {others}");
    let files =
        rig.run("for f in /boot/vmlinu* /boot/*Image*; do test -s $f && exit; done; exit 1");
    if !files.await?.ok() {
        rig.journal().note("ota/parts-agree: /boot holds no kernel, so that none was compared");
    }
    Ok(())
}

/// A release and who built it, as in `Linux version 6.1.0-50-arm64 (builder@host)`.
const RELEASE: &str = r"[0-9]+\.[0-9]+\.[0-9][^ ]* \([^ )]+@[^ )]+\)";

pub(super) async fn update_twice(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let first = running(rig).await?;
    update_to(rig, &bundle).await.or_fail("the first update")?;
    let second = update_to(rig, &bundle).await.or_fail("the second update")?;
    let two = rig.image().slots.as_ref().is_some_and(|slots| slots.names.len() == 2);
    check!(!two || second.slot == first.slot, "two updates on, slot {} runs", second.slot);
    Ok(())
}

pub(super) async fn data_survives(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let folders = kept(rig);
    let text = format!("hil {:x}", rig.seed());
    for folder in &folders {
        rig.must(&format!("echo '{text}' > '{folder}/hil-kept' && sync")).await?;
    }
    update_to(rig, &bundle).await?;
    for folder in &folders {
        let found = rig.run(&format!("cat '{folder}/hil-kept'")).await?;
        check!(found.ok(), "a file in {folder} did not survive the update");
        check!(found.text() == text, "a file in {folder} holds `{}` after it", found.text());
    }
    Ok(())
}

pub(super) async fn nothing_leaks(rig: &mut Rig) -> Outcome {
    let bundle = bundles::updates(rig)?.good;
    let size = bundles::size(rig, &bundle)?;
    // Logs and status files grow; a tenth of a bundle is no log of one update.
    let room = (size / 10).max(1 << 20) / 1024;
    let before = used(rig).await?;
    update_to(rig, &bundle).await?;
    for ((folder, before), (_, after)) in before.into_iter().zip(used(rig).await?) {
        let grown = after.saturating_sub(before);
        rig.fact(&format!("update.left-in{folder}"), grown as f64 * 1024.0, "bytes");
        check!(grown <= room, "the update left {grown} KiB in {folder}");
    }
    Ok(())
}

/// KiB used in each kept folder.
async fn used(rig: &mut Rig) -> Outcome<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for folder in kept(rig) {
        let printed = rig.must(&format!("du -skx '{folder}'")).await?;
        let figure = printed.split_whitespace().next().and_then(|figure| figure.parse().ok());
        all.push((folder, figure.or_fail(format!("`du` printed `{printed}`"))?));
    }
    Ok(all)
}

pub(super) fn kept(rig: &Rig) -> Vec<String> {
    rig.image().slots.as_ref().map(|slots| slots.kept.clone()).unwrap_or_default()
}

pub(super) async fn reboots_burn_no_try(rig: &mut Rig) -> Outcome {
    let slot = running(rig).await?.slot;
    for round in 1..=2 {
        rig.reboot().await.or_fail(format!("reboot {round}"))?;
        let (booted, _) = bundles::slots(rig).await?;
        check!(booted.name == slot, "slot {} runs after reboot {round}, not {slot}", booted.name);
        full_tries(rig, booted.tries_left)?;
    }
    Ok(())
}
