//! A container's life: what it says, how it ends, how it is stopped, what it may write.

use std::time::Duration;

use hil_core::prelude::*;
use hil_core::product::Engine;
use tokio::time::Instant;

use crate::bench::{Bench, SLEEP, pause};

pub(super) async fn offline_image_runs(rig: &mut Rig, bench: &Bench) -> Outcome {
    for fact in ["container.run", "container.run-again"] {
        let start = rig.journal().clock().now();
        let said = bench.must_run(rig, &[], &["echo", "hello from a container"]).await?;
        let took = rig.journal().clock().now() - start;
        check!(said == "hello from a container\n", "it said {said:?}");
        rig.fact(fact, took.as_secs_f64(), "s");
    }
    if let Some(peak) = peak_memory(rig, &*bench.engine).await? {
        rig.fact("engine.peak-memory", peak, "bytes");
    }
    Ok(())
}

/// The most that each process of the engine ever had in memory, together (proc(5), VmHWM), in bytes;
/// nothing of an engine without a daemon.
async fn peak_memory(rig: &mut Rig, engine: &dyn Engine) -> Outcome<Option<f64>> {
    let names = engine.daemons().join(" ");
    let ask = format!(
        "for pid in $(pidof {names}); do sed -n 's/^VmHWM:[[:space:]]*\\([0-9]*\\) kB/\\1/p' \
         /proc/$pid/status 2>/dev/null; done; :"
    );
    if names.is_empty() {
        return Ok(None);
    }
    let peaks: f64 = rig.must(&ask).await?.lines().filter_map(|kib| kib.parse::<f64>().ok()).sum();
    Ok((peaks > 0.0).then_some(peaks * 1024.0))
}

/// 125 to 127 are the engine's own (`docker run` reference, "Exit status"), the rest the
/// container's. 137, a death by SIGKILL, is `stop_asks_then_kills`'s.
pub(super) async fn exit_codes(rig: &mut Rig, bench: &Bench) -> Outcome {
    let said = bench.run(rig, &[], &["sh", "-c", "echo to-out; echo to-err >&2; exit 1"]).await?;
    check!(said.status == 1, "exit 1 arrived as {}: {}", said.status, said.stderr.trim());
    check!(said.stdout == "to-out\n", "stdout arrived as {:?}", said.stdout);
    check!(said.stderr == "to-err\n", "stderr arrived as {:?}", said.stderr);
    let wrong: [(&str, i32, &[&str], &[&str]); 3] = [
        ("an option that there is not", 125, &["--no-such-option"], &["true"]),
        ("a file that is no program", 126, &[], &["/etc/passwd"]),
        ("a program that there is not", 127, &[], &["/no/such/program"]),
    ];
    for (what, code, options, command) in wrong {
        let ran = bench.run(rig, options, command).await?;
        check!(ran.status == code, "{what} ended with {}, not {code}: {}", ran.status, ran.stderr);
        check!(!ran.stderr.trim().is_empty(), "{what} ended without a word about it");
    }
    Ok(())
}

pub(super) async fn logs_kept(rig: &mut Rig, bench: &Bench) -> Outcome {
    let talk = ["sh", "-c", "echo to-out; echo to-err >&2; exit 3"];
    let name = bench.start(rig, "logs", &[], &talk).await?;
    let status = bench.engine.wait(rig, &name).await?;
    let logs = bench.engine.logs(rig, &name).await?;
    check!(status == 3, "exit 3 arrived as {status}");
    check!(logs.stdout == "to-out\n", "stdout was kept as {:?}", logs.stdout);
    check!(logs.stderr == "to-err\n", "stderr was kept as {:?}", logs.stderr);
    Ok(())
}

/// How a container that listens to SIGTERM ends, and one that does not.
const POLITE: &str = "trap 'echo asked; exit 43' TERM; echo up; while :; do sleep 0.5; done";
const DEAF: &str = "trap '' TERM; echo up; while :; do sleep 1; done";
/// What a deaf one is given, in seconds of the board's clock.
const GRACE: u32 = 3;

pub(super) async fn stop_asks_then_kills(rig: &mut Rig, bench: &Bench) -> Outcome {
    let polite = bench.start(rig, "polite", &[], &["sh", "-c", POLITE]).await?;
    let deaf = bench.start(rig, "deaf", &[], &["sh", "-c", DEAF]).await?;
    // A signal that comes before its trap is set would say nothing about the engine.
    says(rig, bench, &polite, "up").await?;
    says(rig, bench, &deaf, "up").await?;

    bench.engine.stop(rig, &polite, 20).await?;
    let ended = bench.inspect(rig, &polite).await?;
    let logs = bench.engine.logs(rig, &polite).await?;
    check!(logs.stdout.contains("asked"), "no SIGTERM came before the end: {ended}");
    check!(ended.exit_code == 43, "its own exit code 43 arrived as {}", ended.exit_code);

    let before = uptime(rig).await?;
    bench.engine.stop(rig, &deaf, GRACE).await?;
    let waited = uptime(rig).await? - before;
    let ended = bench.inspect(rig, &deaf).await?;
    check!(!ended.running, "a container that ignores SIGTERM still runs after its stop");
    check!(ended.exit_code == 137, "a death by SIGKILL arrived as {}, not 137", ended.exit_code);
    check!(waited >= f64::from(GRACE) - 0.1, "it was killed {waited:.1} s after it was asked");
    Ok(())
}

/// Seconds since the board's boot, by its own clock.
async fn uptime(rig: &mut Rig) -> Outcome<f64> {
    let said = rig.must("cut -d' ' -f1 /proc/uptime").await?;
    said.parse().ok().or_fail(format!("/proc/uptime says `{said}`"))
}

/// Waits until a container has said a word.
async fn says(rig: &mut Rig, bench: &Bench, name: &str, word: &str) -> Outcome {
    let deadline = rig.within(secs(5));
    loop {
        let asked = Instant::now();
        if bench.engine.logs(rig, name).await?.stdout.contains(word) {
            return Ok(());
        }
        check!(!deadline.passed(), "{name} did not say `{word}` within {deadline}");
        pause(asked, deadline).await;
    }
}

pub(super) async fn read_only_root(rig: &mut Rig, bench: &Bench) -> Outcome {
    let tries = "for place in /x /bin/x /etc/passwd; do \
                     if (: >>$place) 2>/dev/null; then echo $place; fi; done; \
                 : >/scratch/x && echo scratch";
    let options = ["--read-only", "--tmpfs", "/scratch"];
    let ran = bench.run(rig, &options, &["sh", "-c", tries]).await?;
    let said = &ran.stdout;
    let written: Vec<&str> = said.lines().filter(|line| *line != "scratch").collect();
    check!(written.is_empty(), "--read-only let the container write {}", written.join(", "));
    check!(said.contains("scratch"), "the container's tmpfs could not be written: {ran}");
    Ok(())
}

pub(super) async fn health_states(rig: &mut Rig, bench: &Bench) -> Outcome {
    let options = [
        "--health-cmd=test -e /tmp/well",
        "--health-interval=1s",
        "--health-retries=2",
        "--health-start-period=100s",
    ];
    let name = bench.start(rig, "health", &options, SLEEP).await?;
    let first = bench.inspect(rig, &name).await?.health;
    check!(first == "starting", "before its first success the state is `{first}`");
    for (state, command) in [("healthy", "touch /tmp/well"), ("unhealthy", "rm /tmp/well")] {
        let ran = bench.engine.exec(rig, &name, &["sh", "-c", command]).await?;
        check!(ran.status == 0, "`{command}` in the container failed: {}", ran.stderr.trim());
        let what = format!("the state `{state}`");
        bench.becomes(rig, &name, &what, secs(15), |is| is.health == state).await?;
    }
    Ok(())
}

/// How many containers are started at once: more than small boards have cores.
const MANY: usize = 4;

pub(super) async fn many_at_once(rig: &mut Rig, bench: &Bench) -> Outcome {
    let start = rig.journal().clock().now();
    let names = bench.start_at_once(rig, MANY, SLEEP).await?;
    let took: Duration = rig.journal().clock().now() - start;
    rig.fact("container.many-at-once", took.as_secs_f64(), "s");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (name, standing) in names.iter().zip(bench.engine.inspect(rig, &names).await?) {
        check!(standing.running, "{name} does not run: {standing}");
    }
    Ok(())
}
