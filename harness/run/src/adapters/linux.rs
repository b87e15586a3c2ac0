//! A Linux userspace asked with what busybox and systemd both have.

use async_trait::async_trait;
use hil_core::product::Os;
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome};

pub(super) struct Linux;

const OS_RELEASE_VERSION: &str = ". /etc/os-release && echo \"$VERSION_ID\"";

#[async_trait]
impl Os for Linux {
    async fn version(&self, rig: &mut Rig) -> Outcome<String> {
        let own = rig.image().os.version_command.clone();
        rig.must(own.as_deref().unwrap_or(OS_RELEASE_VERSION)).await
    }

    async fn slot(&self, rig: &mut Rig) -> Outcome<String> {
        let command = rig.image().slots.as_ref().map(|slots| slots.command.clone());
        let command = command.or_fail("the image has no slots")?;
        rig.must(&command).await
    }

    async fn failed_units(&self, rig: &mut Rig) -> Outcome<Vec<String>> {
        let listed = rig.must("systemctl list-units --failed --plain --no-legend").await?;
        let names = listed.lines().filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_string).collect())
    }

    async fn taint(&self, rig: &mut Rig) -> Outcome<u64> {
        let text = rig.must("cat /proc/sys/kernel/tainted").await?;
        text.parse().ok().or_fail(format!("/proc/sys/kernel/tainted says `{text}`"))
    }

    async fn clock(&self, rig: &mut Rig) -> Outcome<i64> {
        let text = rig.must("date +%s").await?;
        text.parse().ok().or_fail(format!("`date +%s` says `{text}`"))
    }
}
