//! Memory and swap.

use hil_core::prelude::*;

use super::finding;
use super::neighbour::{Guardians, Hog, Neighbour};
use crate::bench::{Bench, SLEEP};

/// Takes so many MiB at once, touches them all, and gives them back.
async fn take(rig: &mut Rig, bench: &Bench, name: &str, mib: u32) -> Outcome<i32> {
    let block = format!("bs={mib}M");
    let hog = ["dd", "if=/dev/zero", "of=/dev/null", &block, "count=1"];
    Ok(bench.engine.exec(rig, name, &hog).await?.status)
}

/// Takes so many MiB, up to 64, in steps of 4, and gives them back. What is taken at once may be more
/// than a slow disk can swap out in time, and for that the kernel kills, too.
async fn take_in_steps(rig: &mut Rig, bench: &Bench, name: &str, mib: u32) -> Outcome<i32> {
    let steps = mib / 4;
    let hog = format!(
        "n=0; while [ $n -lt {steps} ]; do n=$((n + 1)); \
         dd if=/dev/zero of=/dev/shm/$n bs=4M count=1 2>/dev/null; s=$?; [ $s = 0 ] || break; \
         done; rm -f /dev/shm/*; exit $s"
    );
    Ok(bench.engine.exec(rig, name, &["sh", "-c", &hog]).await?.status)
}

/// A hog that took `fits` MiB with this status, and must not take `exceeds`; and its neighbour.
async fn holds(
    rig: &mut Rig,
    bench: &Bench,
    hog: &Hog,
    (fits, status): (u32, i32),
    exceeds: u32,
) -> Outcome {
    check!(status == 0, "{fits} MiB should fit, and taking them ended with {status}");
    let status = take(rig, bench, &hog.name, exceeds).await?;
    check!(status == 137, "{exceeds} MiB were taken and the hog ended with {status}, not 137");
    let killed = hog.cgroup.counter(rig, "memory.events", "oom_kill").await?;
    check!(killed > 0, "the hog died, and the kernel did not kill it for its memory");
    Ok(())
}

pub(super) async fn memory(rig: &mut Rig, bench: &Bench) -> Outcome {
    let limits = ["--memory=32m", "--memory-swap=32m"];
    let (neighbour, hog) = Neighbour::beside_hog(rig, bench, &limits, SLEEP).await?;
    let guardians = Guardians::of(rig, bench).await?;
    hog.cgroup.must_hold(rig, "memory.max", &(32 << 20).to_string()).await?;
    let status = take(rig, bench, &hog.name, 16).await?;
    holds(rig, bench, &hog, (16, status), 64).await?;
    neighbour.is_unharmed(rig, bench).await?;
    guardians.still_stand(rig, bench).await
}

pub(super) async fn swap(rig: &mut Rig, bench: &Bench) -> Outcome {
    let file = format!("{}/hil-swap", bench.setup(rig).await?.root);
    let on = format!(
        "dd if=/dev/zero of={file} bs=1M count=64 2>&1 && chmod 600 {file} && \
         mkswap {file} && swapon {file}"
    );
    let on = rig.run(&on).await?;
    let outcome = match on.ok() {
        true => limited_swap(rig, bench).await,
        false => Err(finding(format!("no swap can be had here: {}", on.said()))),
    };
    if rig.is_fork() {
        return outcome;
    }
    let off = rig.run(&format!("swapoff {file}; rm -f {file}")).await.map(drop);
    outcome.and(off)
}

async fn limited_swap(rig: &mut Rig, bench: &Bench) -> Outcome {
    // The engine gives memory and swap together. What starts a process in the container takes some
    // of it, too: the amounts leave room for that.
    let limits = ["--memory=48m", "--memory-swap=80m"];
    let (neighbour, hog) = Neighbour::beside_hog(rig, bench, &limits, SLEEP).await?;
    hog.cgroup.must_hold(rig, "memory.swap.max", &(32 << 20).to_string()).await?;
    let status = take_in_steps(rig, bench, &hog.name, 60).await?;
    holds(rig, bench, &hog, (60, status), 128).await?;
    neighbour.is_unharmed(rig, bench).await
}
