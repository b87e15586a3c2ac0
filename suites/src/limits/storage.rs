//! Storage: how fast a container writes, and how much its mounts and its root hold.

use hil_core::prelude::*;

use super::finding;
use super::neighbour::{Hog, Neighbour};
use crate::bench::{Bench, SLEEP};

/// The disk under a folder: the whole one, since the kernel limits no partitions.
const DISK: &str = "dev=$(readlink -f $(df -P FOLDER | tail -n 1 | cut -d' ' -f1)); \
     name=${dev##*/}; part=$(readlink -f /sys/class/block/$name); \
     [ ! -e $part/partition ] || part=$(dirname $part); cat $part/dev; echo /dev/${part##*/}";

/// Bytes a second, and how many the hog writes.
const RATE: u64 = 1 << 20;
const WRITES: u64 = 4 << 20;

/// Some engines refuse a limit that the kernel does not know, others only warn of it.
async fn must_have_io(rig: &mut Rig) -> Outcome {
    let controllers = rig.run("cat /sys/fs/cgroup/cgroup.controllers").await?;
    if !controllers.ok() || controllers.text().split_whitespace().any(|known| known == "io") {
        return Ok(());
    }
    let off = "grep -o 'cgroup_disable=[^ ]*io[^ ]*' /proc/cmdline";
    let why = match rig.run(off).await?.text() {
        off if off.is_empty() => "the kernel has no io controller for control groups".into(),
        off => format!("the kernel was booted with {off}"),
    };
    Err(finding(format!("no container's writing can be limited here: {why}")))
}

pub(super) async fn io_bandwidth(rig: &mut Rig, bench: &Bench) -> Outcome {
    let root = bench.setup(rig).await?.root;
    let found = rig.run(&DISK.replace("FOLDER", &root)).await?.text();
    let Some((number, disk)) = found.split_once('\n') else {
        return Err(finding(format!("no disk stands under {root} whose speed could be limited")));
    };
    must_have_io(rig).await?;
    let limit = format!("--device-write-bps={disk}:{RATE}");
    // An anonymous volume is on the disk itself, not on the layers of the image.
    let options = [limit.as_str(), "--volume=/disk"];
    let (neighbour, Hog { name, cgroup }) =
        Neighbour::beside_hog(rig, bench, &options, SLEEP).await?;
    let line = format!("{number} rbps=max wbps={RATE} riops=max wiops=max");
    cgroup.must_hold(rig, "io.max", &line).await?;
    let write = format!(
        "read a rest </proc/uptime; \
         dd if=/dev/zero of=/disk/big bs=64k count={} oflag=direct 2>&1 || exit 1; \
         read b rest </proc/uptime; echo took $a $b",
        WRITES / (64 << 10)
    );
    let ran = bench.engine.exec(rig, &name, &["sh", "-c", &write]).await?;
    let took = ran.stdout.lines().find_map(|line| seconds(line.strip_prefix("took ")?));
    let took = took.or_fail(format!("the hog could not write: {ran}"))?;
    rig.fact("io-bandwidth.rate", WRITES as f64 / took.max(0.01) / 1e6, "MB/s");
    // A slow disk takes longer; no disk may be faster. The kernel lets the first slice through.
    let least = WRITES as f64 / RATE as f64 * 0.7;
    check!(took >= least, "{WRITES} bytes at {RATE} a second were written in {took:.1} s");
    neighbour.is_unharmed(rig, bench).await
}

fn seconds(from_to: &str) -> Option<f64> {
    let (from, to) = from_to.trim().split_once(' ')?;
    Some(to.parse::<f64>().ok()? - from.parse::<f64>().ok()?)
}

const TMPFS: u64 = 4 << 20;
const VOLUME: u64 = 2 << 20;

pub(super) async fn mount_sizes(rig: &mut Rig, bench: &Bench) -> Outcome {
    let volume = bench.name(rig, "sized");
    bench.forget(rig, "volume", &volume).await?;
    bench.engine.tmpfs_volume(rig, &volume, VOLUME).await?;
    let tmpfs = format!("--tmpfs=/tmpfs:size={TMPFS}");
    let on_volume = format!("--volume={volume}:/volume");
    let mounts = [tmpfs.as_str(), &on_volume];
    let (neighbour, Hog { name, cgroup }) =
        Neighbour::beside_hog(rig, bench, &mounts, SLEEP).await?;
    for (place, bytes) in [("/tmpfs", TMPFS), ("/volume", VOLUME)] {
        let mount = rig.must(&format!("grep ' {place} ' /proc/{}/mountinfo", cgroup.pid)).await?;
        let option = format!("size={}k", bytes >> 10);
        check!(mount.contains(&option), "{place} is mounted without `{option}`: {mount}");
        let held = fill(rig, bench, &name, place, 2 * bytes).await?;
        check!(held <= bytes, "{place} of {bytes} bytes took {held}");
        check!(held >= bytes / 2, "{place} of {bytes} bytes took only {held}");
    }
    neighbour.is_unharmed(rig, bench).await?;
    if rig.is_fork() {
        return Ok(());
    }
    bench.clear(rig).await?;
    bench.engine.must(rig, &["volume", "rm", &volume]).await.map(drop)
}

/// Writes until nothing more goes in, at most `most` bytes; how many went in.
async fn fill(rig: &mut Rig, bench: &Bench, name: &str, place: &str, most: u64) -> Outcome<u64> {
    let count = most / (64 << 10);
    let write = format!(
        "dd if=/dev/zero of={place}/big bs=64k count={count} 2>/dev/null; wc -c <{place}/big"
    );
    let said = bench.engine.exec(rig, name, &["sh", "-c", &write]).await?;
    let bytes = said.stdout.trim().parse().ok();
    bytes.or_fail(format!("{place} could not be written at all: {said}"))
}

const ROOT: u64 = 16 << 20;

pub(super) async fn root_size(rig: &mut Rig, bench: &Bench) -> Outcome {
    let size = format!("--storage-opt=size={ROOT}");
    let ran = bench.run(rig, &[&size], &["true"]).await?;
    if ran.status != 0 {
        // Else it is no matter of the limit.
        bench.must_run(rig, &[], &["true"]).await?;
        let why = ran.stderr.lines().next().unwrap_or("no word about it").trim().to_string();
        return Err(finding(format!("a container's root cannot be limited here: {why}")));
    }
    let neighbour = Neighbour::start(rig, bench).await?;
    let hog = bench.start(rig, "hog", &[&size], SLEEP).await?;
    let held = fill(rig, bench, &hog, "/tmp", 2 * ROOT).await?;
    check!(held <= ROOT, "a root of {ROOT} bytes took {held}");
    // Some drivers count the image's own bytes, too.
    check!(held > 0, "a root of {ROOT} bytes took none");
    neighbour.is_unharmed(rig, bench).await
}
