//! Cuts while the container engine starts, while it loads an image, and while a container writes.

use hil_core::prelude::*;

use super::data;
use super::invariants::{self, Before};
use crate::bench::{Bench, SLEEP};

/// An engine that repairs its store after a cut takes this long at most, on a fast host.
const AFTER_CUT: std::time::Duration = secs(30);

/// Boots, and what holds for every board with an engine.
async fn comes_back(rig: &mut Rig, before: &Before, bench: &Bench) -> Outcome {
    invariants::boots(rig).await?;
    invariants::sound_system(rig, &[&before.version]).await?;
    let ready = bench.engine.ready_within(rig, AFTER_CUT).await;
    invariants::invariant("engine-answers", ready.map(drop))
}

/// A container that is to run always was running, and does again.
pub(super) async fn during_engine_start(rig: &mut Rig, bench: &Bench) -> Outcome {
    let before = Before::of(rig).await?;
    let content = invariants::content_of(rig, bench).await?;
    let name = bench.start(rig, "always", &["--restart=always"], SLEEP).await?;
    rig.must("sync").await?;
    rig.cut_while(|rig| Box::pin(rig.reboot())).await?;
    comes_back(rig, &before, bench).await?;
    let what = "the container that is to run always";
    let running = bench.becomes(rig, &name, what, AFTER_CUT, |standing| standing.running).await;
    invariants::invariant("containers-start", running.map(drop))?;
    invariants::store_whole(rig, bench, &content).await
}

/// The image is there whole, or it is not there and can be loaded.
pub(super) async fn during_image_load(rig: &mut Rig, bench: &Bench) -> Outcome {
    let before = Before::of(rig).await?;
    let content = invariants::content_of(rig, bench).await?;
    bench.engine.must(rig, &["rmi", &bench.image]).await?;
    rig.must("sync").await?;
    let (engine, archive) = (bench.engine.clone(), bench.archive.clone());
    rig.cut_while(|rig| Box::pin(async move { engine.load(rig, &archive).await })).await?;
    comes_back(rig, &before, bench).await?;
    let known = bench.engine.must(rig, &["images", "--quiet", &bench.image]).await?;
    if known.stdout.trim().is_empty() {
        let loaded = bench.engine.load(rig, &bench.archive).await;
        invariants::invariant("image-can-be-loaded", loaded)?;
    }
    invariants::store_whole(rig, bench, &content).await
}

/// A container writes rows into a volume, synced and not.
pub(super) async fn container_data_survives(rig: &mut Rig, bench: &Bench) -> Outcome {
    let before = Before::of(rig).await?;
    let volume = format!("--volume={}:/rows", bench.name(rig, "rows"));
    let from = rig.console().position();
    let options = [volume.as_str(), "--device=/dev/console:/dev/hil"];
    let script = data::writer("/rows", "/dev/hil");
    bench.start(rig, "writer", &options, &["sh", "-c", &script]).await?;
    data::cut_among_rows(rig, from).await?;
    let acknowledged = data::acknowledged(rig, from)?;
    comes_back(rig, &before, bench).await?;
    let show = format!("cd /rows && {}", data::SHOW);
    let shown = bench.must_run(rig, &[&volume], &["sh", "-c", &show]).await?;
    data::rows_hold(shown.as_bytes(), acknowledged)?;
    rig.fact("rows.acknowledged", acknowledged as f64, "rows");
    Ok(())
}
