//! What a case asks the updater.

use async_trait::async_trait;

use crate::rig::Rig;
use crate::trouble::Outcome;

/// The updater. Install and rollback join with the OTA suite.
#[async_trait]
pub trait Updater: Send + Sync {
    fn name(&self) -> &'static str;
    /// Whether the updater itself works, and which slot it believes booted.
    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String>;
    /// Marks the running slot good, so that healthy reboots burn no try.
    async fn mark_good(&self, rig: &mut Rig) -> Outcome;
}
