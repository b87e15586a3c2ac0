//! Adapters: how each kind of OS, engine and updater is asked. One small file a kind.

mod engine;
mod linux;
mod rauc;

use std::sync::Arc;

use hil_core::image::{EngineSpec, Image, UpdaterSpec};
use hil_core::product::{Engine, Updater};
use hil_core::rig::Adapters;

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
            UpdaterSpec::Rauc(_) => Arc::new(rauc::RaucUpdater),
        }
    });
    Adapters { os: Arc::new(linux::Linux), engine, updater }
}
