//! Bundles on the target: how one gets there, and what becomes of it. For every suite that updates.

use std::sync::Arc;
use std::time::Duration;

use hil_core::image::{Bundle, Flaw, Updates};
use hil_core::prelude::*;
use hil_core::product::{Installed, SlotState, Updater};

/// A bundle goes up within this on a fast host.
const UPLOAD: Duration = secs(60);

/// More than this is not typed into a console, at 11 KiB/s on the usual line.
const CONSOLE_MOST: u64 = 1 << 20;

/// The manifest's `[updates]`.
pub(crate) fn updates(rig: &Rig) -> Outcome<Updates> {
    rig.image().updates.clone().ok_or_else(|| Trouble::Skip(Need::Update.hint().into()))
}

/// The bundle with this wrong with it.
pub(crate) fn broken(rig: &Rig, flaw: Flaw) -> Outcome<Bundle> {
    let bundle = updates(rig)?.broken.remove(&flaw);
    bundle.ok_or_else(|| Trouble::Skip(flaw.hint().into()))
}

/// Brings a bundle onto the target, unless the image has it; its path there.
pub(crate) async fn put(rig: &mut Rig, bundle: &Bundle) -> Outcome<String> {
    if let Some(at) = &bundle.at {
        rig.must(&format!("test -s '{at}'"))
            .await
            .or_fail("the bundle is not where the manifest says")?;
        return Ok(at.clone());
    }
    let local = rig.image().path(&bundle.file);
    let name = local.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let remote = format!("{}/hil-{name}", updates(rig)?.folder);
    let size = size(rig, bundle)?;
    let deadline = rig.within(UPLOAD);
    let shell = rig.shell().ok_or_else(|| Trouble::Skip(Need::Shell.hint().into()))?;
    if shell.name() == "console" && size > CONSOLE_MOST {
        return Err(Trouble::Skip(format!(
            "{} MiB are too much for a console: say with `at` where on the target the bundle is, \
             and put it there by an [[inject]]",
            size >> 20
        )));
    }
    rig.put(&local, &remote, &format!("uploading {name}"), deadline).await?;
    Ok(remote)
}

/// Bytes of a bundle.
pub(crate) fn size(rig: &Rig, bundle: &Bundle) -> Outcome<u64> {
    let local = rig.image().path(&bundle.file);
    let meta = std::fs::metadata(&local);
    let meta = meta.map_err(|error| Trouble::rack(format!("{}: {error}", local.display())))?;
    Ok(meta.len())
}

/// Installs what lies at `path` on the target, to whichever end.
pub(crate) async fn install(rig: &mut Rig, path: &str) -> Outcome<Installed> {
    let updater = rig.updater()?;
    let install = updater.start(rig, path).await?;
    updater.wait(rig, &install).await
}

/// Installs what lies at `path`, which must succeed, and makes it the next to boot.
pub(crate) async fn must_install(rig: &mut Rig, path: &str) -> Outcome {
    if let Installed::Refused(why) = install(rig, path).await? {
        return Err(Trouble::product(format!("the update was not installed: {why}")));
    }
    let updater = rig.updater()?;
    updater.commit(rig).await
}

/// The state of the slot that runs, and of the others.
pub(crate) async fn slots(rig: &mut Rig) -> Outcome<(SlotState, Vec<SlotState>)> {
    let updater: Arc<dyn Updater> = rig.updater()?;
    let (booted, others): (Vec<_>, Vec<_>) =
        updater.slots(rig).await?.into_iter().partition(|slot| slot.booted);
    let [booted] = <[SlotState; 1]>::try_from(booted)
        .map_err(|all| Trouble::product(format!("{} slots are called booted", all.len())))?;
    Ok((booted, others))
}
