//! Processes: how many, their ulimits, and a fork bomb.

use hil_core::prelude::*;

use super::neighbour::{Guardians, Hog, Neighbour};
use crate::bench::{Bench, GLANCE, SLEEP};

pub(super) async fn pids(rig: &mut Rig, bench: &Bench) -> Outcome {
    let limit = ["--pids-limit=16"];
    let (neighbour, Hog { name, cgroup }) =
        Neighbour::beside_hog(rig, bench, &limit, SLEEP).await?;
    cgroup.must_hold(rig, "pids.max", "16").await?;
    let many = "for n in $(seq 40); do sleep 5 & done; echo all";
    let ran = bench.engine.exec(rig, &name, &["sh", "-c", many]).await?;
    check!(!ran.stdout.contains("all"), "40 processes ran where 16 may");
    check!(ran.stderr.contains("fork"), "it ended without a word of fork: {ran}");
    let refused = cgroup.counter(rig, "pids.events", "max").await?;
    check!(refused > 0, "the kernel never refused a process");
    neighbour.is_unharmed(rig, bench).await
}

const BOMB: &str = "bomb() { bomb | bomb & }; bomb; exec sleep 10000";
const BOMB_PIDS: u64 = 48;

pub(super) async fn fork_bomb(rig: &mut Rig, bench: &Bench) -> Outcome {
    let limit = format!("--pids-limit={BOMB_PIDS}");
    let (neighbour, bomb) = Neighbour::beside_hog(rig, bench, &[&limit], SLEEP).await?;
    let guardians = Guardians::of(rig, bench).await?;
    let Hog { name: bomb, cgroup } = bomb;
    cgroup.must_hold(rig, "pids.max", &BOMB_PIDS.to_string()).await?;
    // Only now: without its limit it would take the board.
    bench.engine.must(rig, &["exec", "--detach", &bomb, "sh", "-c", BOMB]).await?;
    let deadline = rig.within(secs(10));
    while cgroup.counter(rig, "pids.events", "max").await? == 0 {
        check!(!deadline.passed(), "the bomb did not meet its limit within {deadline}");
        tokio::time::sleep(GLANCE).await;
    }
    neighbour.is_unharmed(rig, bench).await?;
    guardians.still_stand(rig, bench).await?;
    bench
        .engine
        .must(rig, &["rm", "--force", &bomb])
        .await
        .or_fail("the bomb cannot be removed")?;
    let left = rig.run(&format!("[ ! -e /proc/{} ]", cgroup.pid)).await?;
    check!(left.ok(), "the bomb's first process outlived its container");
    Ok(())
}

/// What a file may become in bytes, and how many files may be open.
const FILE_SIZE: u64 = 1 << 20;
const OPEN_FILES: u64 = 64;

/// Has so many files open at once, by the shell alone: it keeps what each redirection replaces.
const OPEN: &str =
    "open() { [ $1 -gt 0 ] || { echo opened; return; }; open $(($1 - 1)) </dev/null; }; open";

pub(super) async fn ulimits(rig: &mut Rig, bench: &Bench) -> Outcome {
    let size = format!("--ulimit=fsize={FILE_SIZE}:{FILE_SIZE}");
    let open = format!("--ulimit=nofile={OPEN_FILES}:{OPEN_FILES}");
    let (neighbour, hog) = Neighbour::beside_hog(rig, bench, &[&size, &open], SLEEP).await?;
    let limits = rig.must(&format!("cat /proc/{}/limits", hog.cgroup.pid)).await?;
    for (what, limit) in [("Max file size", FILE_SIZE), ("Max open files", OPEN_FILES)] {
        let line = limits.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
        let soft_and_hard: Vec<&str> = line.split_whitespace().take(2).collect();
        let is = soft_and_hard == [limit.to_string(), limit.to_string()];
        check!(is, "`{what}` of the container is {soft_and_hard:?}, not {limit}");
    }
    let write = format!(
        "dd if=/dev/zero of=/big bs=64k count={} 2>/dev/null; wc -c </big",
        2 * FILE_SIZE / (64 << 10)
    );
    let ran = bench.engine.exec(rig, &hog.name, &["sh", "-c", &write]).await?;
    let wrote = ran.stdout.trim();
    check!(wrote == FILE_SIZE.to_string(), "the hog wrote {wrote} bytes, not {FILE_SIZE}: {ran}");
    for (files, may) in [(OPEN_FILES / 2, true), (2 * OPEN_FILES, false)] {
        let open = format!("{OPEN} {files}");
        let ran = bench.engine.exec(rig, &hog.name, &["sh", "-c", &open]).await?;
        let opened = ran.stdout.contains("opened");
        let could = if opened { "could" } else { "could not" };
        check!(opened == may, "{files} files {could} be open where {OPEN_FILES} may: {ran}");
    }
    neighbour.is_unharmed(rig, bench).await
}
