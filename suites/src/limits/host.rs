//! The host, when a container takes all there is: memory, space, inodes.

use hil_core::image::Init;
use hil_core::prelude::*;

use super::finding;
use super::neighbour::{Guardians, Neighbour};
use crate::bench::Bench;

/// Whether the kernel promises no more than it has (1), or swaps (2).
const BEYOND_REACH: &str = "[ \"$(cat /proc/sys/vm/overcommit_memory)\" != 2 ] || exit 1; \
     ! grep -q ^/ /proc/swaps || exit 2";

pub(super) async fn out_of_memory(rig: &mut Rig, bench: &Bench) -> Outcome {
    let why = match rig.run(BEYOND_REACH).await?.status {
        1 => Some("vm.overcommit_memory is 2: nobody is promised more than there is"),
        2 => {
            Some("the board swaps: to fill that takes too long, and of zeros zram takes any number")
        }
        _ => None,
    };
    if let Some(why) = why {
        return Err(finding(why));
    }
    let neighbour = Neighbour::start(rig, bench).await?;
    let guardians = Guardians::of(rig, bench).await?;
    // Nearly all the RAM there is, which nobody can have; more the kernel would not promise.
    let total = rig.must("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").await?;
    let total: u64 = total.parse().ok().or_fail(format!("/proc/meminfo says `{total}`"))?;
    let block = format!("bs={}k", total * 95 / 100);
    // One read gives 2 GiB at most.
    let hog = ["dd", "if=/dev/zero", "of=/dev/null", &block, "count=1", "iflag=fullblock"];
    let ran = bench.run(rig, &[], &hog).await?;
    check!(ran.status == 137, "the hog ended with {}, not killed by the kernel", ran.status);
    neighbour.is_unharmed(rig, bench).await?;
    guardians.still_stand(rig, bench).await
}

/// Fills the file system of the folder it runs in, reserved blocks and all. What `fallocate` cannot
/// have in one piece is written.
const FILL: &str = "free=$(($(stat -f -c '%f * %S' .))); \
     for less in 0 1 2 4 8 16 32; do \
         fallocate -l $((free - (less << 20))) hil-full && break; done 2>/dev/null; \
     dd if=/dev/zero of=hil-full-rest bs=64k 2>/dev/null; \
     dd if=/dev/zero of=hil-full-rest bs=1k oflag=append conv=notrunc 2>/dev/null; \
     sync; df -Pk . | awk 'NR == 2 { print $4 }'";

pub(super) async fn data_full(rig: &mut Rig, bench: &Bench) -> Outcome {
    let root = bench.setup(rig).await?.root;
    let left = "hil-full hil-full-rest";
    let spent = Spent { root: &root, left, enough: left, what: "space" };
    spent.behaves(rig, bench, FILL).await
}

/// More than this many files are not made: on a large disk it would take hours.
const MOST_INODES: u64 = 150_000;

/// Where a part of them stands: with that back an engine can go on.
const SOME_INODES: &str = "hil-inodes/some";

pub(super) async fn inodes_exhausted(rig: &mut Rig, bench: &Bench) -> Outcome {
    let root = bench.setup(rig).await?.root;
    let free = rig.must(&format!("df -Pi {root} | awk 'NR == 2 {{ print $4 }}'")).await?;
    let free: u64 = free.parse().ok().or_fail(format!("df -i says `{free}`"))?;
    if free == 0 || free > MOST_INODES {
        return Err(finding(format!("{free} free inodes under {root}: too many to use up here")));
    }
    // An engine's container wants some hundred; on a small file system that is much of all.
    let part = (free / 16).max(1000).min(free / 2);
    // A FIFO is made by one call of the kernel, an empty file by three.
    let use_up = format!(
        "make=$(command -v mkfifo || echo touch); mkdir -p {SOME_INODES} && \
         (cd {SOME_INODES} && seq {part} | xargs $make) 2>/dev/null; \
         cd hil-inodes && seq {free} | xargs $make 2>/dev/null; df -Pi . | awk 'NR == 2 {{ print $4 }}'"
    );
    let spent = Spent { root: &root, left: "hil-inodes", enough: SOME_INODES, what: "inodes" };
    spent.behaves(rig, bench, &use_up).await
}

/// Something that the engine's file system has run out of.
struct Spent<'s> {
    /// The engine's folder.
    root: &'s str,
    /// What was put there.
    left: &'s str,
    /// What of it suffices to be removed where the rest goes with the board.
    enough: &'s str,
    what: &'s str,
}

impl Spent<'_> {
    /// Uses it up by `command`, sees that all behaves, and that all is well with it back.
    async fn behaves(&self, rig: &mut Rig, bench: &Bench, command: &str) -> Outcome {
        let Spent { root, left, enough, what } = self;
        let neighbour = Neighbour::start(rig, bench).await?;
        let guardians = Guardians::of(rig, bench).await?;
        let used_up = rig.run_in(&format!("cd {root} && {{ {command}; }}"), secs(60)).await;
        let outcome = match used_up.map(|used_up| used_up.text()) {
            Ok(rest) if rest == "0" => self.while_spent(rig, bench, &neighbour).await,
            Ok(rest) => Err(Trouble::product(format!("`df` says that {rest} {what} are left"))),
            Err(trouble) => Err(trouble),
        };
        // Whatever came of it. What is late with using it up is not stopped, and may go on beside this.
        let removed = if rig.is_fork() { enough } else { left };
        let removed = rig.run_in(&format!("cd {root} && rm -rf {removed}; sync"), secs(60)).await;
        outcome.and(removed)?;
        bench.engine.ready(rig).await?;
        self.recovered(rig, bench).await.or_fail(format!("with {what} again"))?;
        neighbour.is_unharmed(rig, bench).await?;
        guardians.still_stand(rig, bench).await?;
        // What was made before can be removed after.
        bench.clear(rig).await
    }

    /// A container runs and its log, which stands beside the images, is kept; journal and updater are there.
    async fn recovered(&self, rig: &mut Rig, bench: &Bench) -> Outcome {
        let name = bench.start(rig, "again", &[], &["echo", "again"]).await?;
        let status = bench.engine.wait(rig, &name).await?;
        let logs = bench.engine.logs(rig, &name).await?;
        let well = status == 0 && logs.stdout == "again\n";
        check!(well, "a container ended with {status}, and its log holds: {logs}");
        self.host_answers(rig, bench, "again").await
    }

    async fn while_spent(&self, rig: &mut Rig, bench: &Bench, neighbour: &Neighbour) -> Outcome {
        let what = self.what;
        let version = bench.engine.version(rig).await;
        version.or_fail(format!("without {what} the engine does not answer"))?;
        // Whether a container can be had is the engine's affair; that it says no is what counts.
        let ran = bench.run(rig, &[], &["echo", "anyway"]).await?;
        let told = ran.stdout == "anyway\n" || (ran.status != 0 && !ran.stderr.trim().is_empty());
        check!(told, "without {what} a container neither ran nor was refused: {ran}");
        neighbour.is_unharmed(rig, bench).await?;
        self.host_answers(rig, bench, "spent").await.or_fail(format!("without {what}"))
    }

    /// The journal takes a line, and the updater answers.
    async fn host_answers(&self, rig: &mut Rig, bench: &Bench, when: &str) -> Outcome {
        if rig.image().os.init == Some(Init::Systemd) {
            let word = bench.name(rig, &format!("{}-{when}", self.what));
            let log =
                format!("logger {word}; sleep 1; journalctl --no-pager -n 50 | grep -c {word}");
            let logged = rig.run(&log).await?;
            check!(logged.ok(), "the journal lost a line: {}", logged.said());
        }
        if let Ok(updater) = rig.updater() {
            let slot = updater.booted_slot(rig).await;
            slot.or_fail(format!("{} does not answer", updater.name()))?;
        }
        Ok(())
    }
}
