//! What a case asks the container engine.

use async_trait::async_trait;

use crate::rig::Rig;
use crate::trouble::Outcome;

/// A container to run.
#[derive(Clone, Debug, Default)]
pub struct Container<'c> {
    pub image: &'c str,
    /// Options before the image's name, each a word: `--memory=32m`.
    pub options: &'c [&'c str],
    pub command: &'c [&'c str],
}

/// What a container said and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The container engine.
#[async_trait]
pub trait Engine: Send + Sync {
    fn name(&self) -> &'static str;
    /// Waits until the engine answers; says its version.
    async fn ready(&self, rig: &mut Rig) -> Outcome<String>;
    /// Loads a docker-archive from a path on the target.
    async fn load(&self, rig: &mut Rig, path: &str) -> Outcome;
    /// Runs to the end and removes the container.
    async fn run(&self, rig: &mut Rig, container: &Container<'_>) -> Outcome<Ran>;
    /// Starts in the background under `name`.
    async fn start(&self, rig: &mut Rig, name: &str, container: &Container<'_>) -> Outcome;
    async fn logs(&self, rig: &mut Rig, name: &str) -> Outcome<Ran>;
    /// Waits for a container to end; its exit code.
    async fn wait(&self, rig: &mut Rig, name: &str) -> Outcome<i32>;
    async fn remove(&self, rig: &mut Rig, name: &str) -> Outcome;
}
