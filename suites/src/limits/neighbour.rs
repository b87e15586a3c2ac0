//! Who must not be harmed: a container beside the hog, and the host's own guardians.

use hil_core::prelude::*;

use super::cgroup::{self, Cgroup};
use crate::bench::{Bench, GLANCE};

/// Counts, so that one sees it live; in memory, which is there when a disk is full.
const BEAT: &str = "n=0; while :; do n=$((n+1)); echo $n >/dev/shm/beat; sleep 1; done";

/// A container that lives beside a hog.
pub(super) struct Neighbour {
    name: String,
    cgroup: Cgroup,
}

/// A container that has a limit, which it is to run into.
pub(super) struct Hog {
    pub(super) name: String,
    pub(super) cgroup: Cgroup,
}

/// The neighbour's container; its name.
async fn begin(rig: &mut Rig, bench: &Bench) -> Outcome<String> {
    cgroup::must_be_version_2(rig).await?;
    bench.start(rig, "neighbour", &[], &["sh", "-c", BEAT]).await
}

impl Neighbour {
    pub(super) async fn start(rig: &mut Rig, bench: &Bench) -> Outcome<Neighbour> {
        let name = begin(rig, bench).await?;
        let standing = bench.inspect(rig, &name).await?;
        Ok(Neighbour { cgroup: Cgroup::of(rig, &name, &standing).await?, name })
    }

    /// Starts one, and beside it the hog. How they stand is one question: each costs a slow board seconds.
    pub(super) async fn beside_hog(
        rig: &mut Rig,
        bench: &Bench,
        limits: &[&str],
        command: &[&str],
    ) -> Outcome<(Neighbour, Hog)> {
        let name = begin(rig, bench).await?;
        let hog = bench.start(rig, "hog", limits, command).await?;
        let [own, its] = bench.inspect_all(rig, [&name, &hog]).await?;
        let neighbour = Neighbour { cgroup: Cgroup::of(rig, &name, &own).await?, name };
        Ok((neighbour, Hog { cgroup: Cgroup::of(rig, &hog, &its).await?, name: hog }))
    }

    /// Checks that it lives, has never died, and gets on with its work.
    pub(super) async fn is_unharmed(&self, rig: &mut Rig, bench: &Bench) -> Outcome {
        let is = bench.inspect(rig, &self.name).await?;
        let same = is.running && is.pid == self.cgroup.pid;
        check!(same, "the neighbour was harmed: {is}, and it was process {}", self.cgroup.pid);
        // Without a memory controller (`cgroup_disable=memory`) there is no such file, and nobody it killed.
        if let Some(events) = self.cgroup.read(rig, "memory.events").await? {
            let killed =
                cgroup::counter(&events, "oom_kill").or_fail("memory.events has no oom_kill")?;
            check!(killed == 0, "the kernel killed {killed} processes of the neighbour");
        }
        let before = self.beat(rig).await?;
        let deadline = rig.within(secs(10));
        while self.beat(rig).await? == before {
            check!(!deadline.passed(), "the neighbour did nothing for {deadline}");
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Read from outside: that asks neither engine nor container.
    async fn beat(&self, rig: &mut Rig) -> Outcome<String> {
        rig.must(&format!("cat /proc/{}/root/dev/shm/beat", self.cgroup.pid)).await
    }
}

/// The processes that the host lives by: the engine's, and the SSH server.
#[derive(Debug, PartialEq)]
pub(super) struct Guardians(String);

impl Guardians {
    /// Of each the oldest process; an SSH server has younger ones for its connections.
    pub(super) async fn of(rig: &mut Rig, bench: &Bench) -> Outcome<Guardians> {
        let names = bench.engine.daemons().join(" ");
        let ask = format!(
            "for name in {names} sshd dropbear; do \
                 first=; for pid in $(pidof $name); do \
                     [ ${{first:-$pid}} -lt $pid ] || first=$pid; done; \
                 [ -z \"$first\" ] || echo $name $first; done"
        );
        let found = rig.must(&ask).await?.replace('\n', ", ");
        if found.is_empty() {
            rig.journal()
                .note("neither an engine's daemon nor an SSH server is looked at: none runs");
        }
        Ok(Guardians(found))
    }

    /// Checks that none of them was replaced.
    pub(super) async fn still_stand(&self, rig: &mut Rig, bench: &Bench) -> Outcome {
        let now = Guardians::of(rig, bench).await?;
        check!(now == *self, "of `{}` not all lived: now it is `{}`", self.0, now.0);
        Ok(())
    }
}
