//! Adapters: how each kind of OS, engine and updater is asked. One small file a kind.

mod background;
mod custom;
mod engine;
mod linux;
mod rauc;

use std::sync::Arc;

use hil_core::case::Need;
use hil_core::image::{EngineSpec, Image, UpdaterSpec};
use hil_core::product::{Engine, Updater};
use hil_core::rig::{Adapters, Rig};
use hil_core::trouble::{OrFail, Outcome, Trouble};

use crate::depot::HttpDepot;

/// The adapters that the image's manifest asks for.
pub fn for_image(image: &Image) -> Adapters {
    let engine = image.engine.as_ref().map(|spec| -> Arc<dyn Engine> {
        match spec {
            EngineSpec::Docker(_) => Arc::new(engine::DOCKER),
            EngineSpec::BalenaEngine(_) => Arc::new(engine::BALENA_ENGINE),
            EngineSpec::Podman(_) => Arc::new(engine::PODMAN),
        }
    });
    let updater = image.updater.as_ref().map(|spec| -> Arc<dyn Updater> {
        match spec {
            UpdaterSpec::Rauc(spec) => Arc::new(rauc::RaucUpdater::new(spec.clone())),
            UpdaterSpec::Custom(spec) => Arc::new(custom::CustomUpdater::new(spec.clone())),
        }
    });
    Adapters { os: Arc::new(linux::Linux), engine, updater, depot: Arc::new(HttpDepot) }
}

fn slot_names(rig: &Rig) -> Outcome<Vec<String>> {
    let slots = rig.image().slots.as_ref();
    slots.map(|slots| slots.names.clone()).ok_or_else(|| Trouble::Skip(Need::Slots.hint().into()))
}

/// How often the bootloader will still try a slot, where the manifest says how to ask.
async fn tries_left(rig: &mut Rig, slot: &str) -> Outcome<Option<u32>> {
    let command = rig.image().slots.as_ref().and_then(|slots| slots.tries_left.clone());
    let Some(command) = command else { return Ok(None) };
    let command = command.replace("{slot}", slot);
    let printed = rig.must(&command).await?;
    printed.parse().map(Some).ok().or_fail(format!("`{command}` printed `{printed}`, no number"))
}
