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

/// `word` as one word of a shell command.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME `x` \"y\"", "a\nb"] {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
