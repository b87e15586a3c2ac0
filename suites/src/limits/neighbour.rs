//! Who must not be harmed: a container beside the hog, and the host's own guardians.

use hil_core::prelude::*;

use super::cgroup::{self, Cgroup};
use crate::bench::{Bench, GLANCE};

/// Counts, so that one sees it live; in memory, which is there when a disk is full.
const BEAT: &str = "n=0; while :; do n=$((n+1)); echo $n >/dev/shm/beat; sleep 1; done";

/// It is unharmed if it has beaten at least once in so many seconds, on the average of its life. The worst
/// seen, on two cores with three other guests, was one in 2.4.
const SLOWEST: f64 = 10.0;

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

    /// Checks that it lives, has never died, and gets on with its work as it did.
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
        let (deadline, begun) = (rig.within(secs(10)), rig.begin());
        let mut first = None;
        let Life { seconds, beats } = loop {
            // Nothing can be read just while it writes.
            let life = self.life(rig).await?;
            first = first.or(life);
            match (first, life) {
                (Some(first), Some(life)) if life.beats > first.beats => break life,
                _ if deadline.passed() => {
                    let late = Trouble::unmet(format!("the neighbour did nothing for {deadline}"));
                    return Err(rig.unless_starved(late, &begun).await);
                }
                _ => {}
            }
            tokio::time::sleep(GLANCE).await;
        };
        rig.fact("neighbour.beats", beats / seconds, "1/s");
        let starved = beats * SLOWEST < seconds - SLOWEST;
        check!(!starved, "the neighbour, which counts seconds, came to {beats} in {seconds:.0} s");
        Ok(())
    }

    /// Read from outside: that asks neither engine nor container.
    async fn life(&self, rig: &mut Rig) -> Outcome<Option<Life>> {
        let proc = format!("/proc/{}", self.cgroup.pid);
        let ask = format!("cat /proc/uptime {proc}/stat {proc}/root/dev/shm/beat");
        Ok(Life::read(&rig.must(&ask).await?))
    }
}

/// How long the neighbour has lived, and how often it has beaten.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Life {
    seconds: f64,
    beats: f64,
}

impl Life {
    /// Reads uptime, the process's `stat` (proc(5): field 22 is its start, in hundredths of a second), beats.
    fn read(told: &str) -> Option<Life> {
        let [uptime, stat, beats] = told.lines().collect::<Vec<_>>().try_into().ok()?;
        let now: f64 = uptime.split(' ').next()?.parse().ok()?;
        // The second field is a name, which may have blanks in it.
        let start: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(Life { seconds: (now - start / 100.0).max(1.0), beats: beats.parse().ok()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_read_whatever_the_process_is_called() {
        let stat = "812 (sh (a) b) S 790 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 3050 4 5";
        let life = Life::read(&format!("42.50 80.10\n{stat}\n11"));
        assert_eq!(life, Some(Life { seconds: 12.0, beats: 11.0 }));
        assert_eq!(Life::read(&format!("42.50 80.10\n{stat}\n")), None, "it has not beaten yet");
    }
}
