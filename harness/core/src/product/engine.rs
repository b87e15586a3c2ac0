//! What a case asks the container engine.
//!
//! Docker, balena-engine and podman share their verbs, so that what is the same is written here,
//! once, over [`Engine::ask`]; what differs (how each describes a container and itself) is an
//! adapter's.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use async_trait::async_trait;

use crate::deadline::secs;
use crate::rig::Rig;
use crate::trouble::{OrFail, Outcome, Trouble};

/// A container to run.
#[derive(Clone, Debug, Default)]
pub struct Container<'c> {
    pub image: &'c str,
    /// Options before the image's name, each a word: `--memory=32m`.
    pub options: &'c [&'c str],
    pub command: &'c [&'c str],
}

impl<'c> Container<'c> {
    /// The words of the client's command that makes it: `run --rm --memory=32m IMAGE sh`.
    pub fn words(&self, verb: &[&'c str]) -> Vec<&'c str> {
        let mut words = verb.to_vec();
        words.extend(self.options);
        words.push(self.image);
        words.extend(self.command);
        words
    }
}

/// What a container, or the engine's client, said and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Display for Ran {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        for (name, said) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !said.is_empty() {
                write!(f, ", {name} {said:?}")?;
            }
        }
        Ok(())
    }
}

/// How a container stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub running: bool,
    /// Of the last run; 0 while it runs.
    pub exit_code: i32,
    /// How often the engine itself started it again.
    pub restarts: u32,
    /// `starting`, `healthy` or `unhealthy`; empty without a health check.
    pub health: String,
    /// Its first process as the host knows it; 0 where it does not run.
    pub pid: u32,
}

impl Display for Standing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.running {
            true => write!(f, "running as process {}", self.pid)?,
            false => write!(f, "not running, exit code {}", self.exit_code)?,
        }
        write!(f, ", started again {} times", self.restarts)?;
        if self.health.is_empty() { Ok(()) } else { write!(f, ", {}", self.health) }
    }
}

/// How the engine is set up, by its own word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    pub storage_driver: String,
    /// The cgroup version: `1` or `2`.
    pub cgroup: String,
    pub runtime: String,
    /// The folder of its images, containers and volumes, on the target.
    pub root: String,
}

/// For one command of a container's life, on a fast host.
const COMMAND: Duration = secs(20);

/// Within which the engine answers, on a fast host, where the manifest states no time.
const READY: Duration = secs(12);

/// The container engine.
#[async_trait]
pub trait Engine: Send + Sync {
    fn name(&self) -> &'static str;

    /// The names of the processes that serve the client, as `pidof` knows them, the one that the
    /// client talks to first; none where the client does all the work itself.
    fn daemons(&self) -> &'static [&'static str];

    /// The client's command with these words, as the target's shell takes it.
    fn line(&self, words: &[&str]) -> String;

    /// The version of the engine, which must be there to tell it: an answer of the client alone
    /// would prove nothing.
    async fn version(&self, rig: &mut Rig) -> Outcome<String>;

    async fn setup(&self, rig: &mut Rig) -> Outcome<Setup>;

    /// How each of these containers stands, in their order, by one call of the client.
    async fn inspect(&self, rig: &mut Rig, names: &[&str]) -> Outcome<Vec<Standing>>;

    /// Makes a volume that is in memory, and takes so many bytes.
    async fn tmpfs_volume(&self, rig: &mut Rig, name: &str, bytes: u64) -> Outcome;

    /// Pulls an image; from a registry on the board itself without TLS, too.
    async fn pull(&self, rig: &mut Rig, reference: &str) -> Outcome;

    /// Runs the client; its exit status is the caller's to judge.
    async fn ask(&self, rig: &mut Rig, words: &[&str]) -> Outcome<Ran> {
        let output = rig.run_in(&self.line(words), COMMAND).await?;
        Ok(Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs the client, which must succeed.
    async fn must(&self, rig: &mut Rig, words: &[&str]) -> Outcome<Ran> {
        let ran = self.ask(rig, words).await?;
        match ran.status {
            0 => Ok(ran),
            status => Err(Trouble::product(format!(
                "`{} {}` ended with status {status}: {}",
                self.name(),
                words.join(" "),
                ran.stderr.trim()
            ))),
        }
    }

    /// Waits until the engine answers, as long as the manifest states; says its version.
    async fn ready(&self, rig: &mut Rig) -> Outcome<String> {
        let stated = rig.image().engine.as_ref().and_then(|spec| spec.facts().ready_s);
        self.ready_within(rig, stated.map_or(READY, secs)).await
    }

    /// Waits until the engine answers, at most `span` on a fast host; says its version. What is held back
    /// for longer is no answer.
    async fn ready_within(&self, rig: &mut Rig, span: Duration) -> Outcome<String> {
        let (deadline, begun) = (rig.within(span), rig.begin());
        loop {
            let why = match self.version(rig).await {
                Ok(version) if !deadline.passed() => return Ok(version),
                Ok(_) => Trouble::unmet("it came later"),
                // One question may be held back until the engine is up, for longer than a question may last;
                // on a host that is too busy, too.
                Err(Trouble::Product(why)) => Trouble::Unmet(why),
                Err(why @ (Trouble::Unmet(_) | Trouble::Rack(_))) => why,
                Err(other) => return Err(other),
            };
            if deadline.passed() {
                let late = why.while_doing(format!("no answer from {} in {deadline}", self.name()));
                return Err(rig.unless_starved(late, &begun).await);
            }
            // The engine offers no event to wait for; its own answer is polled, not so often that a board
            // without much of a processor would spend it on that.
            tokio::time::sleep(secs(1)).await;
        }
    }

    /// Loads a docker-archive from a path on the target.
    async fn load(&self, rig: &mut Rig, path: &str) -> Outcome {
        self.must(rig, &["load", "--input", path]).await.map(drop)
    }

    /// Runs to the end and removes the container.
    async fn run(&self, rig: &mut Rig, container: &Container<'_>) -> Outcome<Ran> {
        self.ask(rig, &container.words(&["run", "--rm"])).await
    }

    /// Starts in the background under `name`.
    async fn start(&self, rig: &mut Rig, name: &str, container: &Container<'_>) -> Outcome {
        let words = container.words(&["run", "--detach", "--name", name]);
        self.must(rig, &words).await.map(drop)
    }

    /// Runs a command in a running container.
    async fn exec(&self, rig: &mut Rig, name: &str, command: &[&str]) -> Outcome<Ran> {
        self.ask(rig, &[&["exec", name], command].concat()).await
    }

    /// Asks a container to end, and kills it `grace` seconds later (of the target's clock).
    async fn stop(&self, rig: &mut Rig, name: &str, grace: u32) -> Outcome {
        self.must(rig, &["stop", "--time", &grace.to_string(), name]).await.map(drop)
    }

    async fn logs(&self, rig: &mut Rig, name: &str) -> Outcome<Ran> {
        self.must(rig, &["logs", name]).await
    }

    /// Waits for a container to end; its exit code.
    async fn wait(&self, rig: &mut Rig, name: &str) -> Outcome<i32> {
        let ran = self.must(rig, &["wait", name]).await?;
        ran.stdout.trim().parse().ok().or_fail(format!("`wait` printed `{}`", ran.stdout.trim()))
    }
}
