//! Processors: how much of them, and which.

use hil_core::prelude::*;

use super::cgroup::{Cgroup, counter};
use super::neighbour::{Hog, Neighbour};
use crate::bench::Bench;

const SPIN: &[&str] = &["sh", "-c", "while :; do :; done"];

/// A fifth of one processor.
const SHARE: f64 = 0.2;

pub(super) async fn quota(rig: &mut Rig, bench: &Bench) -> Outcome {
    let limit = format!("--cpus={SHARE}");
    let (neighbour, Hog { cgroup, .. }) =
        Neighbour::beside_hog(rig, bench, &[&limit], SPIN).await?;
    cgroup.must_hold(rig, "cpu.max", "20000 100000").await?;
    let before = used(rig, &cgroup).await?;
    rig.must("sleep 4").await?;
    let after = used(rig, &cgroup).await?;
    let share = (after.seconds - before.seconds) / (after.at - before.at);
    rig.fact("cpu-quota.share", share, "cpus");
    check!(share <= SHARE * 1.25, "the hog had {share:.2} processors, not {SHARE}");
    check!(share >= SHARE * 0.25, "the hog had {share:.2} processors: it was starved, not limited");
    check!(after.throttled > before.throttled, "the kernel never held the hog back");
    neighbour.is_unharmed(rig, bench).await
}

/// What a container has used, by the board's own clock.
struct Used {
    at: f64,
    seconds: f64,
    throttled: u64,
}

async fn used(rig: &mut Rig, cgroup: &Cgroup) -> Outcome<Used> {
    let (at, stat) = cgroup.read_at(rig, "cpu.stat").await?;
    let number = |key| counter(&stat, key).or_fail(format!("cpu.stat has no {key}"));
    Ok(Used { at, seconds: number("usage_usec")? as f64 / 1e6, throttled: number("nr_throttled")? })
}

pub(super) async fn cpuset(rig: &mut Rig, bench: &Bench) -> Outcome {
    let limit = ["--cpuset-cpus=0"];
    let (neighbour, Hog { cgroup, .. }) = Neighbour::beside_hog(rig, bench, &limit, SPIN).await?;
    cgroup.must_hold(rig, "cpuset.cpus", "0").await?;
    // Field 39 of stat is the processor it ran on last.
    let look = format!(
        "for n in 1 2 3 4 5; do cut -d' ' -f39 /proc/{0}/stat; sleep 0.2; done; \
         sed -n 's/^Cpus_allowed_list:[[:space:]]*/allowed /p' /proc/{0}/status",
        cgroup.pid
    );
    let seen = rig.must(&look).await?;
    let strays = seen.lines().any(|line| line != "0" && line != "allowed 0");
    check!(!strays, "the hog, bound to processor 0, was seen on: {}", seen.replace('\n', ", "));
    if rig.must("cat /sys/devices/system/cpu/online").await? == "0" {
        rig.journal().note(
            "limits/cpuset: the board has one processor, so that no hog could have left it; \
             `--envelope cpus=2` shows it on an emulated board",
        );
    }
    // One that the board has not cannot be given.
    let beyond =
        rig.must("echo $(($(sed 's/.*[-,]//' /sys/devices/system/cpu/possible) + 1))").await?;
    let ran = bench.run(rig, &[&format!("--cpuset-cpus={beyond}")], &["true"]).await?;
    check!(ran.status != 0, "a container could be bound to processor {beyond}, which there is not");
    neighbour.is_unharmed(rig, bench).await
}
