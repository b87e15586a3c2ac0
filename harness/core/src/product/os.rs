//! What a case asks the running operating system.

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
