//! RAUC, asked over its own command line (RAUC documentation, "Using RAUC").

use std::collections::BTreeMap;

use async_trait::async_trait;
use hil_core::image::{Rauc, Switch};
use hil_core::parts::quoted;
use hil_core::product::{Installed, Installing, SlotState, Updater};
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome, Trouble};
use serde::Deserialize;

use super::background;

pub(super) struct RaucUpdater {
    spec: Rauc,
}

impl RaucUpdater {
    pub(super) fn new(spec: Rauc) -> RaucUpdater {
        RaucUpdater { spec }
    }
}

#[async_trait]
impl Updater for RaucUpdater {
    fn name(&self) -> &'static str {
        "rauc"
    }

    fn switch(&self) -> Switch {
        self.spec.switch
    }

    fn progress(&self) -> Option<&str> {
        Some("(?m)^ *([0-9]{1,3})% ")
    }

    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String> {
        Ok(Status::ask(rig).await?.booted)
    }

    async fn slots(&self, rig: &mut Rig) -> Outcome<Vec<SlotState>> {
        let status = Status::ask(rig).await?;
        let mut states = Vec::new();
        for name in super::slot_names(rig)? {
            let tries_left = super::tries_left(rig, &name).await?;
            states.push(SlotState { tries_left, ..status.slot(&name)? });
        }
        Ok(states)
    }

    async fn start(&self, rig: &mut Rig, path: &str) -> Outcome<Installing> {
        background::start(rig, &format!("rauc install {}", quoted(path))).await
    }

    async fn wait(&self, rig: &mut Rig, install: &Installing) -> Outcome<Installed> {
        background::wait(rig, install).await
    }

    async fn commit(&self, rig: &mut Rig) -> Outcome {
        match self.spec.switch {
            Switch::AtCommit => rig.must("rauc status mark-active other").await.map(drop),
            Switch::AtInstall | Switch::AtShutdown => Ok(()),
        }
    }

    async fn mark_good(&self, rig: &mut Rig) -> Outcome {
        rig.must("rauc status mark-good").await.map(drop)
    }
}

/// What `rauc status --detailed --output-format=json` prints, as far as it is asked for.
#[derive(Deserialize)]
struct Status {
    booted: String,
    /// The slot's name in system.conf, `rootfs.0`; null where no slot can boot.
    boot_primary: Option<String>,
    /// Each a map of one entry: the slot's name, and what is known of it.
    slots: Vec<BTreeMap<String, Slot>>,
}

#[derive(Deserialize)]
struct Slot {
    bootname: Option<String>,
    boot_status: Option<String>,
    slot_status: Option<SlotStatus>,
}

#[derive(Default, Deserialize)]
struct SlotStatus {
    #[serde(default)]
    bundle: Bundle,
}

#[derive(Default, Deserialize)]
struct Bundle {
    version: Option<String>,
}

impl Status {
    async fn ask(rig: &mut Rig) -> Outcome<Status> {
        Status::read(&rig.must("rauc status --detailed --output-format=json").await?)
    }

    fn read(text: &str) -> Outcome<Status> {
        serde_json::from_str(text)
            .map_err(|error| Trouble::product(format!("`rauc status` says `{text}`: {error}")))
    }

    /// The state of the slot that the bootloader knows as `bootname`.
    fn slot(&self, bootname: &str) -> Outcome<SlotState> {
        let slots = self.slots.iter().flatten();
        let found = slots.into_iter().find(|(_, slot)| slot.bootname.as_deref() == Some(bootname));
        let (name, slot) = found.or_fail(format!("rauc has no slot with bootname {bootname}"))?;
        let version = slot.slot_status.as_ref().and_then(|status| status.bundle.version.clone());
        Ok(SlotState {
            name: bootname.to_string(),
            booted: self.booted == bootname,
            next: self.boot_primary.as_ref() == Some(name),
            good: slot.boot_status.as_ref().map(|status| status == "good"),
            tries_left: None,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RAUC 1.8 prints it, shortened.
    const PRINTED: &str = r#"{"compatible":"c","variant":"","booted":"A","boot_primary":"rootfs.1",
        "slots":[{"rootfs.1":{"class":"rootfs","bootname":"B","state":"inactive","parent":null,
        "boot_status":"bad","slot_status":{"bundle":{"compatible":"c","version":"2.0.0"}}}},
        {"rootfs.0":{"class":"rootfs","bootname":"A","state":"booted","boot_status":"good",
        "slot_status":{"bundle":{"compatible":null}}}}]}"#;

    #[test]
    fn the_state_of_each_slot_is_read() {
        let status = Status::read(PRINTED).unwrap();
        let (a, b) = (status.slot("A").unwrap(), status.slot("B").unwrap());
        assert_eq!((a.booted, a.next, a.good, a.version), (true, false, Some(true), None));
        assert_eq!((b.booted, b.next, b.good), (false, true, Some(false)));
        assert_eq!(b.version.as_deref(), Some("2.0.0"));
        assert!(status.slot("C").is_err());
    }
}
