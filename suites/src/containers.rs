//! Containers, the smoke part: the engine answers, an offline image loads and runs.

use std::sync::Arc;

use hil_core::body;
use hil_core::image::OfflineImage;
use hil_core::prelude::*;
use hil_core::product::{Container, Engine};

const WITH_IMAGE: &[Need] = &[Need::Shell, Need::Engine, Need::OfflineImage];

pub(crate) const SUITE: Suite = Suite {
    name: "containers",
    about: "The container engine starts, loads an image without a network, and runs it.",
    deadline: secs(240),
    cases: &[
        Case::new("engine-ready", secs(20), body!(engine_ready))
            .about("The engine's daemon answers.")
            .needs(&[Need::Shell, Need::Engine]),
        Case::new("offline-image-runs", secs(60), body!(offline_image_runs))
            .about("An image loaded from a file runs and its output arrives.")
            .needs(WITH_IMAGE),
        Case::new("exit-code", secs(60), body!(exit_code))
            .about("A container's exit code is the exit code of its run.")
            .needs(WITH_IMAGE),
        Case::new("logs-kept", secs(60), body!(logs_kept))
            .about("stdout and stderr of a container in the background are kept, apart.")
            .needs(WITH_IMAGE),
    ],
};

async fn engine_ready(rig: &mut Rig) -> Outcome {
    let engine = rig.engine()?;
    let start = rig.journal().clock().now();
    let version = engine.ready(rig).await?;
    let took = rig.journal().clock().now() - start;
    rig.fact("engine.answered", took.as_secs_f64(), "s");
    rig.journal().note(format!("{} {version}", engine.name()));
    Ok(())
}

/// The engine, with the manifest's offline image loaded.
async fn loaded(rig: &mut Rig) -> Outcome<(Arc<dyn Engine>, OfflineImage)> {
    let engine = rig.engine()?;
    let spec = rig.image().engine.as_ref().and_then(|spec| spec.facts().offline_image.clone());
    let image = spec.ok_or_else(|| Trouble::Skip(Need::OfflineImage.hint().into()))?;
    engine.ready(rig).await?;
    engine.load(rig, &image.path).await?;
    Ok((engine, image))
}

async fn offline_image_runs(rig: &mut Rig) -> Outcome {
    let (engine, image) = loaded(rig).await?;
    let start = rig.journal().clock().now();
    let container = Container {
        image: &image.tag,
        command: &["echo", "hello from a container"],
        ..Default::default()
    };
    let ran = engine.run(rig, &container).await?;
    let took = rig.journal().clock().now() - start;
    check!(ran.status == 0, "the container ended with status {}: {}", ran.status, ran.stderr);
    check!(ran.stdout == "hello from a container\n", "it said {:?}", ran.stdout);
    rig.fact("container.first-run", took.as_secs_f64(), "s");
    Ok(())
}

async fn exit_code(rig: &mut Rig) -> Outcome {
    let (engine, image) = loaded(rig).await?;
    let container =
        Container { image: &image.tag, command: &["sh", "-c", "exit 42"], ..Default::default() };
    let ran = engine.run(rig, &container).await?;
    check!(ran.status == 42, "exit 42 arrived as {}: {}", ran.status, ran.stderr.trim());
    Ok(())
}

async fn logs_kept(rig: &mut Rig) -> Outcome {
    let (engine, image) = loaded(rig).await?;
    let container = Container {
        image: &image.tag,
        command: &["sh", "-c", "echo to-out; echo to-err >&2; exit 3"],
        ..Default::default()
    };
    // Named by the seed, so that a repetition never meets what an earlier one left.
    let name = format!("hil-logs-{:x}", rig.seed());
    engine.start(rig, &name, &container).await?;
    let status = engine.wait(rig, &name).await?;
    let logs = engine.logs(rig, &name).await?;
    engine.remove(rig, &name).await?;
    check!(status == 3, "exit 3 arrived as {status}");
    check!(logs.stdout == "to-out\n", "stdout was kept as {:?}", logs.stdout);
    check!(logs.stderr == "to-err\n", "stderr was kept as {:?}", logs.stderr);
    Ok(())
}
