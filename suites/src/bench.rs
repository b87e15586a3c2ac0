//! The engine at work for one case: the offline image loaded, containers with names of the case's
//! own, and all of them removed when the case ends, or gone with the fork it ran on.

use std::sync::Arc;
use std::time::Duration;

use hil_core::prelude::*;
use hil_core::product::{Container, Engine, Ran, Setup, Standing};
use tokio::time::Instant;

/// What every case needs that runs a container.
pub(crate) const CONTAINERS: &[Need] = &[Need::Shell, Need::Engine, Need::OfflineImage];

/// Marks all that cases make, so that it can be found again whatever became of its case.
pub(crate) const LABEL: &str = "hil.case";

/// Options of all containers of a case that is not about networks: to have one of its own is half of a
/// container's start, and of its end.
pub(crate) const HOST_NETWORK: &[&str] = &["--network=host"];

/// A sleeper that ends when it is asked to: what a limited container mostly does.
pub(crate) const SLEEP: &[&str] = &["sleep", "10000"];

/// The engine, as one case uses it.
pub(crate) struct Bench {
    pub(crate) engine: Arc<dyn Engine>,
    /// The tag of the offline image.
    pub(crate) image: String,
    /// Where that image's archive stands on the target.
    pub(crate) archive: String,
    /// Options of every container here.
    pub(crate) common: &'static [&'static str],
}

/// A case's body over a rig and a [`Bench`], with the bench cleared at its end; and, where they are
/// given, options of every container there. A fork is not cleared: it goes with all that is on it.
macro_rules! on_bench {
    ($function:path) => {
        $crate::bench::on_bench!($function, &[])
    };
    ($function:path, $common:expr) => {
        ::hil_core::case::Body::Code(|rig| {
            ::std::boxed::Box::pin(async move {
                let bench = $crate::bench::Bench::open(rig, $common).await?;
                let outcome = $function(rig, &bench).await;
                if rig.is_fork() {
                    return outcome;
                }
                // What the case found comes first; a bench that cannot be cleared comes second.
                let cleared = bench.clear(rig).await;
                outcome.and(cleared)
            })
        })
    };
}
pub(crate) use on_bench;

impl Bench {
    /// Waits for the engine, removes what a case before this one had to leave, loads the image.
    pub(crate) async fn open(rig: &mut Rig, common: &'static [&'static str]) -> Outcome<Bench> {
        let engine = rig.engine()?;
        let facts = rig.image().engine.as_ref().map(|spec| spec.facts().clone());
        let image = facts.and_then(|facts| facts.offline_image);
        let image = image.ok_or_else(|| Trouble::Skip(Need::OfflineImage.hint().into()))?;
        let (image, archive) = (image.tag, image.path);
        let mut bench = Bench { engine, image, archive, common: &[] };
        // On a fork no case has been before, and before it was saved its engine was waited for.
        let at_once = if rig.is_fork() { bench.is_loaded(rig).await.ok() } else { None };
        let is_loaded = match at_once {
            Some(is_loaded) => is_loaded,
            None => {
                bench.engine.ready(rig).await?;
                bench.clear(rig).await?;
                bench.is_loaded(rig).await?
            }
        };
        if !is_loaded {
            bench.engine.load(rig, &bench.archive).await?;
        }
        if !common.is_empty() && !remaps_users(rig, &*bench.engine).await? {
            bench.common = common;
        }
        Ok(bench)
    }

    async fn is_loaded(&self, rig: &mut Rig) -> Outcome<bool> {
        let known = self.engine.must(rig, &["images", "--quiet", &self.image]).await?;
        Ok(!known.stdout.trim().is_empty())
    }

    /// Removes all containers of cases, with their nameless volumes.
    pub(crate) async fn clear(&self, rig: &mut Rig) -> Outcome {
        let filter = format!("label={LABEL}");
        let left = self.engine.must(rig, &["ps", "--all", "--quiet", "--filter", &filter]).await?;
        let left: Vec<&str> = left.stdout.split_whitespace().collect();
        if left.is_empty() {
            return Ok(());
        }
        let remove = [&["rm", "--force", "--volumes"], left.as_slice()].concat();
        self.engine.must(rig, &remove).await.map(drop)
    }

    /// Runs to the end.
    pub(crate) async fn run(
        &self,
        rig: &mut Rig,
        options: &[&str],
        command: &[&str],
    ) -> Outcome<Ran> {
        let options = [&["--label", LABEL], self.common, options].concat();
        let container = Container { image: &self.image, options: &options, command };
        self.engine.run(rig, &container).await
    }

    /// Runs to the end, which must be a good one; what it said.
    pub(crate) async fn must_run(
        &self,
        rig: &mut Rig,
        options: &[&str],
        command: &[&str],
    ) -> Outcome<String> {
        let ran = self.run(rig, options, command).await?;
        check!(ran.status == 0, "a container ended with status {}: {}", ran.status, ran.stderr);
        Ok(ran.stdout)
    }

    /// Starts a container in the background; its name, made of `role` and the case's seed.
    pub(crate) async fn start(
        &self,
        rig: &mut Rig,
        role: &str,
        options: &[&str],
        command: &[&str],
    ) -> Outcome<String> {
        let name = self.name(rig, role);
        let options = [&["--label", LABEL], self.common, options].concat();
        let container = Container { image: &self.image, options: &options, command };
        self.engine.start(rig, &name, &container).await?;
        Ok(name)
    }

    /// Starts several containers side by side, by one command of the target's shell.
    pub(crate) async fn start_at_once(
        &self,
        rig: &mut Rig,
        count: usize,
        command: &[&str],
    ) -> Outcome<Vec<String>> {
        let names: Vec<String> = (1..=count).map(|n| self.name(rig, &format!("n{n}"))).collect();
        let options = [&["--label", LABEL], self.common].concat();
        let container = Container { image: &self.image, options: &options, command };
        let line = |name: &String| {
            self.engine.line(&container.words(&["run", "--detach", "--name", name]))
        };
        let start = |name: &String| line(name) + " & pids=\"$pids $!\"; ";
        let lines: Vec<String> = names.iter().map(start).collect();
        // A `wait` for all would end well whatever became of them.
        let wait = "all=0; for pid in $pids; do wait $pid || all=$?; done; exit $all";
        let ran = rig.run_in(&(lines.concat() + wait), START * (count as u32)).await?;
        check!(ran.ok(), "{count} starts at once ended with status {}: {}", ran.status, ran.said());
        Ok(names)
    }

    /// Removes a named volume or network that an attempt before this one may have left, or a run: a case
    /// that has the same seed makes the same names. A fork has seen none.
    pub(crate) async fn forget(&self, rig: &mut Rig, kind: &str, name: &str) -> Outcome {
        match rig.is_fork() {
            true => Ok(()),
            // There is mostly nothing to remove, which is an error.
            false => self.engine.ask(rig, &[kind, "rm", name]).await.map(drop),
        }
    }

    /// A name that no other case's object has.
    pub(crate) fn name(&self, rig: &Rig, role: &str) -> String {
        format!("hil-{role}-{:x}", rig.seed())
    }

    pub(crate) async fn inspect(&self, rig: &mut Rig, name: &str) -> Outcome<Standing> {
        let [standing] = self.inspect_all(rig, [name]).await?;
        Ok(standing)
    }

    /// Of several, by one call of the engine's client.
    pub(crate) async fn inspect_all<const N: usize>(
        &self,
        rig: &mut Rig,
        names: [&str; N],
    ) -> Outcome<[Standing; N]> {
        let all = self.engine.inspect(rig, &names).await?;
        all.try_into().ok().or_fail(format!("the engine did not tell of {}", names.join(", ")))
    }

    pub(crate) async fn setup(&self, rig: &mut Rig) -> Outcome<Setup> {
        self.engine.setup(rig).await
    }

    /// Waits until a container stands as it should, at most `span` on a fast host.
    pub(crate) async fn becomes(
        &self,
        rig: &mut Rig,
        name: &str,
        what: &str,
        span: Duration,
        wanted: impl Fn(&Standing) -> bool + Send,
    ) -> Outcome<Standing> {
        let (deadline, begun) = (rig.within(span), rig.begin());
        loop {
            let asked = Instant::now();
            let standing = self.inspect(rig, name).await?;
            if wanted(&standing) {
                return Ok(standing);
            }
            if deadline.passed() {
                let late = format!("{what} did not come within {deadline}: {standing}");
                return Err(rig.unless_starved(Trouble::unmet(late), &begun).await);
            }
            pause(asked, deadline).await;
        }
    }
}

/// Whether an engine of Docker's kind gives containers other users than the host's (`userns-remap`, by
/// file or option): then it refuses them the host's network.
async fn remaps_users(rig: &mut Rig, engine: &dyn Engine) -> Outcome<bool> {
    let Some(daemon) = engine.daemons().first() else { return Ok(false) };
    let look = format!(
        "grep -qs userns-remap /etc/*/daemon.json || \
         for pid in $(pidof {daemon}); do tr '\\0' ' ' </proc/$pid/cmdline; done | \
         grep -q userns-remap"
    );
    Ok(rig.run(&look).await?.ok())
}

/// For one container's start, on a fast host.
const START: Duration = secs(5);

/// Between two questions, where the board offers no event to wait for: the engine's client costs a small
/// board half a second of its time, and several where it is busy with what is waited for. About as long as
/// the last answer took, so that much of the time is left for that; no longer than the deadline, and three
/// seconds, since the engine itself may have held the answer back.
pub(crate) async fn pause(asked: Instant, deadline: Deadline) {
    let pause = asked.elapsed().clamp(PAUSE, MOST_PAUSE);
    tokio::time::sleep(pause.min(deadline.left())).await;
}

/// Between two looks at what changes within seconds, and the shortest pause between two questions.
pub(crate) const PAUSE: Duration = secs(1);
const MOST_PAUSE: Duration = secs(3);

/// Between two looks at a file of the kernel's, or of a container's: those ask no client.
pub(crate) const GLANCE: Duration = Duration::from_millis(300);
