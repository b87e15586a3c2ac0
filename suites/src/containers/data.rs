//! Data: volumes and bind mounts outlive their containers, the image store an engine's death.

use hil_core::prelude::*;

use super::restart::kill_command;
use crate::bench::Bench;

/// A folder of the board's that outlives a reboot: what the FHS promises of /var/lib.
pub(super) const BIND: &str = "/var/lib/hil-bind";

pub(super) async fn outlives_container(rig: &mut Rig, bench: &Bench) -> Outcome {
    let (word, volume) = (bench.name(rig, "word"), bench.name(rig, "volume"));
    rig.must(&format!("mkdir -p {BIND}")).await?;
    let (on_volume, on_bind) = (format!("{volume}:/volume"), format!("{BIND}:/bind"));
    let mounts = ["--volume", &on_volume, "--volume", &on_bind];
    let write = format!("echo {word} >/volume/word; echo {word} >/bind/word; ls /volume");
    bench.must_run(rig, &mounts, &["sh", "-c", &write]).await?;
    for place in ["volume", "bind"] {
        let read = ["cat", &format!("/{place}/word")];
        let said = bench.run(rig, &mounts, &read).await?;
        check!(said.stdout.trim() == word, "the {place} lost what was written: {said}");
    }
    let outside = rig.run(&format!("cat {BIND}/word; rm -rf {BIND}")).await?;
    check!(outside.text() == word, "the bind's file is not in the board's folder");
    bench.engine.must(rig, &["volume", "rm", &volume]).await.map(drop)
}

/// All of the image's own program, which its container reads back through the store.
const PROGRAM: &str = "/bin/busybox";

/// Said when the engine could not be killed, or was not given half of the archive.
const LIVES: &str = "it-lives";

/// Half of a smaller archive may wait in pipes and sockets and never have come to the engine; in bytes.
const PIPES: u64 = 512 << 10;
const TOO_SMALL: i32 = 99;

pub(super) async fn killed_while_loading(rig: &mut Rig, bench: &Bench) -> Outcome {
    let sum = ["sha256sum", PROGRAM];
    let before = bench.must_run(rig, &[], &sum).await?;
    bench.engine.must(rig, &["rmi", "--force", &bench.image]).await?;
    // The engine has half of the archive when it dies. A load that is only given time may be over by then,
    // or may not have begun: a client that waits at the engine's socket is served by the next one.
    let line = format!(
        "half=$(($(wc -c <{archive}) / 2)); [ $half -gt {PIPES} ] || exit {TOO_SMALL}; \
         {{ head -c $half {archive} && {kill} || echo {LIVES} >&2; \
            tail -c +$((half + 1)) {archive} 2>/dev/null; }} | {load} >/dev/null 2>&1",
        archive = bench.archive,
        kill = kill_command(bench)?,
        load = bench.engine.line(&["load"]),
    );
    let ran = rig.run(&line).await?;
    check!(!ran.said().contains(LIVES), "the engine could not be killed: {}", ran.said());
    bench.engine.ready(rig).await.or_fail("the engine did not come back")?;
    if ran.status == TOO_SMALL {
        bench.engine.load(rig, &bench.archive).await?;
        let why = "finding: the offline image's archive is too small for a load to be met at work";
        return Err(Trouble::Skip(why.into()));
    }
    check!(!ran.ok(), "a load ended well whose engine was killed in its midst");

    let known = bench.engine.must(rig, &["images", "--quiet", &bench.image]).await?;
    if !known.stdout.trim().is_empty() {
        // An image that is listed is there in whole.
        let ran = bench.run(rig, &[], &sum).await?;
        check!(ran.stdout == before, "the image is listed and its {PROGRAM} is broken: {ran}");
    }
    bench.engine.load(rig, &bench.archive).await.or_fail("the image cannot be loaded again")?;
    let after = bench.must_run(rig, &[], &sum).await?;
    check!(after == before, "{PROGRAM} in the image was {before:?} and is {after:?}");
    Ok(())
}
