//! RAUC, asked over its own command line (RAUC documentation, "Using RAUC").

use async_trait::async_trait;
use hil_core::product::Updater;
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome};

pub(super) struct RaucUpdater;

#[async_trait]
impl Updater for RaucUpdater {
    fn name(&self) -> &'static str {
        "rauc"
    }

    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String> {
        // `RAUC_SYSTEM_BOOTED_BOOTNAME='A'` in the shell format.
        let status = rig.must("rauc status --output-format=shell").await?;
        let line = status.lines().find_map(|l| l.strip_prefix("RAUC_SYSTEM_BOOTED_BOOTNAME="));
        let name = line.or_fail("`rauc status` does not say which slot is booted")?;
        Ok(name.trim_matches(['\'', '"']).to_string())
    }

    async fn mark_good(&self, rig: &mut Rig) -> Outcome {
        rig.must("rauc status mark-good").await.map(drop)
    }
}
