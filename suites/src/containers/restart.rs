//! Containers come back, or do not, as their restart policy says: after their own death, the
//! engine's, and a reboot.

use std::time::Duration;

use hil_core::prelude::*;
use hil_core::product::Standing;
use tokio::time::Instant;

use super::data::BIND;
use crate::bench::{Bench, SLEEP, pause};

/// Within which a dead container is started again, on a fast host.
const AGAIN: Duration = secs(10);

/// A watchdog that waits longer is not waited for: the case must end within its deadline.
const LONGEST_HANG: Duration = secs(120);

pub(super) async fn policies(rig: &mut Rig, bench: &Bench) -> Outcome {
    let always = bench.start(rig, "always", &["--restart=always"], SLEEP).await?;
    let never = bench.start(rig, "never", &["--restart=no"], SLEEP).await?;
    let twice = ["sh", "-c", "exit 7"];
    let counted = bench.start(rig, "counted", &["--restart=on-failure:2"], &twice).await?;
    let [before, other] = bench.inspect_all(rig, [&always, &never]).await?;
    check!(before.pid != 0 && other.pid != 0, "not both run: {before}, {other}");
    rig.must(&format!("kill -KILL {} {}", before.pid, other.pid)).await?;
    let again = |is: &_| running_anew(is, before.pid);
    bench.becomes(rig, &always, "the restart by `always`", AGAIN, again).await?;
    let ended = |is: &Standing| !is.running && is.restarts == 2;
    let is = bench.becomes(rig, &counted, "two restarts by `on-failure:2`", AGAIN, ended).await?;
    check!(is.exit_code == 7, "exit 7 arrived as {}", is.exit_code);
    let is = bench.inspect(rig, &never).await?;
    check!(!is.running, "a container with --restart=no was started again");
    check!(is.exit_code == 137, "a death by SIGKILL arrived as {}", is.exit_code);
    Ok(())
}

fn running_anew(is: &Standing, before: u32) -> bool {
    is.running && is.pid != 0 && is.pid != before
}

/// The command that kills every process of the engine at the same moment.
pub(super) fn kill_command(bench: &Bench) -> Outcome<String> {
    match bench.engine.daemons() {
        [] => Err(no_daemon()),
        names => Ok(format!("kill -KILL $(pidof {})", names.join(" "))),
    }
}

fn no_daemon() -> Trouble {
    Trouble::Skip("the engine has no daemon that could die".into())
}

pub(super) async fn engine_killed(rig: &mut Rig, bench: &Bench) -> Outcome {
    let always = bench.start(rig, "always", &["--restart=always"], SLEEP).await?;
    let never = bench.start(rig, "never", &["--restart=no"], SLEEP).await?;
    let start = rig.journal().clock().now();
    rig.must(&kill_command(bench)?).await?;
    bench.engine.ready(rig).await.or_fail("the engine did not come back")?;
    let took = rig.journal().clock().now() - start;
    rig.fact("engine.recovered", took.as_secs_f64(), "s");
    let runs = |is: &Standing| is.running;
    bench.becomes(rig, &always, "the container with `always`", AGAIN, runs).await?;
    let said = bench.engine.exec(rig, &always, &["echo", "alive"]).await?;
    check!(said.stdout == "alive\n", "its container does not answer: {}", said.stderr.trim());
    // Where the engine keeps containers alive without itself, this one has never died.
    let is = bench.inspect(rig, &never).await?;
    check!(is.restarts == 0, "a container with --restart=no was started again: {is}");
    if is.running {
        let said = bench.engine.exec(rig, &never, &["echo", "alive"]).await?;
        check!(said.stdout == "alive\n", "it is said to run and does not: {}", said.stderr.trim());
    }
    // What was made before the engine's death can be removed after it.
    bench.clear(rig).await
}

pub(super) async fn engine_hangs(rig: &mut Rig, bench: &Bench) -> Outcome {
    let Some(part) = bench.engine.daemons().last() else { return Err(no_daemon()) };
    // The unit stands in the process's own control group.
    let unit = "sed -n 's,.*/\\(.*\\.service\\)$,\\1,p' /proc/$(pidof PART)/cgroup | head -n 1";
    let unit = rig.must(&unit.replace("PART", part)).await?;
    let asked = format!("systemctl show --property=WatchdogUSec --value {unit}");
    let limit = rig.must(&asked).await?;
    if ["0", "infinity", ""].contains(&limit.as_str()) {
        return Err(Trouble::Skip(format!("{unit} has no watchdog that would notice a hang")));
    }
    if span(&limit).is_none_or(|limit| limit > rig.scaled(LONGEST_HANG)) {
        let why = format!("finding: {unit}'s watchdog waits {limit}: too long to be seen here");
        return Err(Trouble::Skip(why));
    }
    let pid = rig.must(&format!("p=$(pidof {part}); kill -STOP $p; echo $p")).await?;
    let most = rig.scaled(LONGEST_HANG).as_secs() + 1;
    let gone =
        format!("for n in $(seq {most}); do [ -e /proc/{pid} ] || exit 0; sleep 1; done; exit 1");
    let ended = rig.run_in(&gone, LONGEST_HANG + AGAIN).await?;
    check!(ended.ok(), "{part} was stopped, and after {limit} nothing had replaced it");
    // What the client talks to may never have gone, and knows nothing yet of the part that comes.
    let deadline = rig.within(AGAIN);
    loop {
        let asked = Instant::now();
        let ran = bench.run(rig, &[], &["echo", "alive"]).await?;
        if ran.stdout == "alive\n" {
            return Ok(());
        }
        check!(!deadline.passed(), "no container runs with {part} replaced: {}", ran.stderr.trim());
        pause(asked, deadline).await;
    }
}

/// A span as systemd tells it: `1min 30s` (systemd.time(7)).
fn span(told: &str) -> Option<Duration> {
    let part = |part: &str| {
        let (number, unit) = part.split_at(part.find(|c: char| c.is_ascii_alphabetic())?);
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
    };
    told.split_whitespace().map(part).sum()
}

pub(super) async fn reboot_restores(rig: &mut Rig, bench: &Bench) -> Outcome {
    let (word, volume) = (bench.name(rig, "word"), bench.name(rig, "volume"));
    bench.forget(rig, "volume", &volume).await?;
    rig.must(&format!("rm -rf {BIND} && mkdir -p {BIND}")).await?;
    let (on_volume, on_bind) = (format!("{volume}:/volume"), format!("{BIND}:/bind"));
    let always = ["--restart=always", "--volume", &on_volume, "--volume", &on_bind];
    let write =
        format!("echo {word} >>/volume/word; echo {word} >>/bind/word; sync; exec sleep 10000");
    let always = bench.start(rig, "always", &always, &["sh", "-c", &write]).await?;
    let stopped = bench.start(rig, "stopped", &["--restart=unless-stopped"], SLEEP).await?;
    let never = bench.start(rig, "never", &["--restart=no"], SLEEP).await?;
    bench.engine.stop(rig, &stopped, 0).await?;

    rig.reboot().await.or_fail("the board did not come back")?;
    let start = rig.journal().clock().now();
    bench.engine.ready(rig).await.or_fail("no engine after the reboot")?;
    let answered = rig.journal().clock().now() - start;
    rig.fact("engine.answered-after-ready", answered.as_secs_f64(), "s");
    let runs = |is: &Standing| is.running;
    bench.becomes(rig, &always, "the container with `always`", AGAIN, runs).await?;
    let took = rig.journal().clock().now() - start;
    rig.fact("container.back-after-reboot", took.as_secs_f64(), "s");
    for name in [stopped, never] {
        let is = bench.inspect(rig, &name).await?;
        check!(!is.running, "{name} runs after the reboot: {is}");
    }
    let read = ["cat", "/volume/word", "/bind/word"];
    let kept = bench.engine.exec(rig, &always, &read).await?;
    let times = kept.stdout.lines().filter(|line| *line == word).count();
    check!(times == 4, "volume and bind hold the word {times} times after two starts, not 4");
    bench.clear(rig).await?;
    rig.must(&format!("rm -rf {BIND}")).await?;
    bench.engine.must(rig, &["volume", "rm", &volume]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_read_as_systemd_tells_it() {
        assert_eq!(span("30s"), Some(secs(30)));
        assert_eq!(span("1min 30s"), Some(secs(90)));
        assert_eq!(span("2min 500ms"), Some(Duration::from_millis(120_500)));
        assert_eq!(span("1w"), None);
        assert_eq!(span("30"), None);
    }
}
