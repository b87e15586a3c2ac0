//! Docker's command line, which balena-engine and podman share as far as it is used here.

use std::time::Duration;

use async_trait::async_trait;
use hil_core::deadline::secs;
use hil_core::product::{Container, Engine, Ran};
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome, Trouble};

use super::quoted;

/// A client with Docker's verbs.
pub(super) struct Docker {
    client: &'static str,
}

/// For one command of a container's life, on a fast host.
const COMMAND: Duration = secs(20);

impl Docker {
    pub(super) fn new(client: &'static str) -> Docker {
        Docker { client }
    }

    async fn ask(&self, rig: &mut Rig, words: &[&str]) -> Outcome<Ran> {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let command = format!("{} {}", self.client, words.join(" "));
        let output = rig.run_in(&command, COMMAND).await?;
        Ok(Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    async fn must(&self, rig: &mut Rig, words: &[&str]) -> Outcome<Ran> {
        let ran = self.ask(rig, words).await?;
        match ran.status {
            0 => Ok(ran),
            status => Err(Trouble::product(format!(
                "`{} {}` ended with status {status}: {}",
                self.client,
                words.join(" "),
                ran.stderr.trim()
            ))),
        }
    }
}

fn run_words<'w>(verb: &[&'w str], container: &Container<'w>) -> Vec<&'w str> {
    let mut words = verb.to_vec();
    words.extend(container.options);
    words.push(container.image);
    words.extend(container.command);
    words
}

#[async_trait]
impl Engine for Docker {
    fn name(&self) -> &'static str {
        self.client
    }

    async fn ready(&self, rig: &mut Rig) -> Outcome<String> {
        let deadline = rig.within(secs(12));
        loop {
            // `info` needs the daemon; the version of the client alone would prove nothing.
            let ran = self.ask(rig, &["info", "--format", "{{.ServerVersion}}"]).await?;
            let version = ran.stdout.trim();
            if ran.status == 0 && !version.is_empty() {
                return Ok(version.to_string());
            }
            let why = format!("{} does not answer: {}", self.client, ran.stderr.trim());
            if deadline.passed() {
                return Err(Trouble::product(why));
            }
            // The engine offers no event to wait for; its own answer is polled.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn load(&self, rig: &mut Rig, path: &str) -> Outcome {
        self.must(rig, &["load", "--input", path]).await.map(drop)
    }

    async fn run(&self, rig: &mut Rig, container: &Container<'_>) -> Outcome<Ran> {
        self.ask(rig, &run_words(&["run", "--rm"], container)).await
    }

    async fn start(&self, rig: &mut Rig, name: &str, container: &Container<'_>) -> Outcome {
        self.must(rig, &run_words(&["run", "--detach", "--name", name], container)).await.map(drop)
    }

    async fn logs(&self, rig: &mut Rig, name: &str) -> Outcome<Ran> {
        self.must(rig, &["logs", name]).await
    }

    async fn wait(&self, rig: &mut Rig, name: &str) -> Outcome<i32> {
        let ran = self.must(rig, &["wait", name]).await?;
        ran.stdout.trim().parse().ok().or_fail(format!("`wait` printed `{}`", ran.stdout.trim()))
    }

    async fn remove(&self, rig: &mut Rig, name: &str) -> Outcome {
        self.must(rig, &["rm", "--force", name]).await.map(drop)
    }
}
