//! What a case asks the product: its OS, its container engine, its updater.
//!
//! Traits here, one small adapter file each in hil-run, chosen by the image's manifest. Every
//! method runs commands through the rig, so it works the same over SSH and over a console.

use async_trait::async_trait;

use crate::rig::Rig;
use crate::trouble::Outcome;

/// Questions to the running operating system.
#[async_trait]
pub trait Os: Send + Sync {
    async fn version(&self, rig: &mut Rig) -> Outcome<String>;
    /// The running slot's name, as the manifest's command prints it.
    async fn slot(&self, rig: &mut Rig) -> Outcome<String>;
    /// Names of units or services that failed; empty where all is well.
    async fn failed_units(&self, rig: &mut Rig) -> Outcome<Vec<String>>;
    /// The kernel's taint flags (`Documentation/admin-guide/tainted-kernels.rst`).
    async fn taint(&self, rig: &mut Rig) -> Outcome<u64>;
    /// Seconds since 1970 by the board's clock.
    async fn clock(&self, rig: &mut Rig) -> Outcome<i64>;
}

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

/// The updater. Install and rollback join with the OTA suite.
#[async_trait]
pub trait Updater: Send + Sync {
    fn name(&self) -> &'static str;
    /// Whether the updater itself works, and which slot it believes booted.
    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String>;
    /// Marks the running slot good, so that healthy reboots burn no try.
    async fn mark_good(&self, rig: &mut Rig) -> Outcome;
}
