//! An updater that the manifest describes by its commands.

use async_trait::async_trait;
use hil_core::image::{Custom, Switch};
use hil_core::parts::quoted;
use hil_core::product::{Installed, Installing, SlotState, Updater};
use hil_core::rig::Rig;
use hil_core::trouble::{OrFail, Outcome, Trouble};

use super::background;

pub(super) struct CustomUpdater {
    spec: Custom,
}

impl CustomUpdater {
    pub(super) fn new(spec: Custom) -> CustomUpdater {
        CustomUpdater { spec }
    }
}

#[async_trait]
impl Updater for CustomUpdater {
    fn name(&self) -> &'static str {
        "the custom updater"
    }

    fn switch(&self) -> Switch {
        self.spec.switch
    }

    fn progress(&self) -> Option<&str> {
        self.spec.progress.as_deref()
    }

    async fn booted_slot(&self, rig: &mut Rig) -> Outcome<String> {
        let booted = self.slots(rig).await?.into_iter().find(|slot| slot.booted);
        Ok(booted.or_fail(format!("`{}` calls no slot booted", self.spec.slots))?.name)
    }

    async fn slots(&self, rig: &mut Rig) -> Outcome<Vec<SlotState>> {
        let printed = rig.must(&self.spec.slots).await?;
        let mut states = Vec::new();
        for name in super::slot_names(rig)? {
            let tries_left = super::tries_left(rig, &name).await?;
            states.push(SlotState { tries_left, ..slot(&printed, &name)? });
        }
        Ok(states)
    }

    async fn start(&self, rig: &mut Rig, path: &str) -> Outcome<Installing> {
        background::start(rig, &self.spec.install.replace("{bundle}", &quoted(path))).await
    }

    async fn wait(&self, rig: &mut Rig, install: &Installing) -> Outcome<Installed> {
        background::wait(rig, install).await
    }

    async fn commit(&self, rig: &mut Rig) -> Outcome {
        match (&self.spec.commit, self.spec.switch) {
            (Some(commit), Switch::AtCommit) => rig.must(commit).await.map(drop),
            _ => Ok(()),
        }
    }

    async fn mark_good(&self, rig: &mut Rig) -> Outcome {
        rig.must(&self.spec.mark_good).await.map(drop)
    }
}

/// The line about one slot: its name, then words.
fn slot(printed: &str, name: &str) -> Outcome<SlotState> {
    let mut lines = printed.lines().map(str::split_whitespace);
    let words = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words));
    let words =
        words.or_fail(format!("the command for slots says nothing of {name}: {printed}"))?;
    let mut state = SlotState { name: name.to_string(), ..SlotState::default() };
    for word in words {
        match (word, word.strip_prefix("version=")) {
            ("booted", _) => state.booted = true,
            ("next", _) => state.next = true,
            ("good", _) => state.good = Some(true),
            ("bad", _) => state.good = Some(false),
            (_, Some(version)) => state.version = Some(version.to_string()),
            _ => {
                return Err(Trouble::rack(format!(
                    "`{word}` is no word for slot {name}: use \
                booted, next, good, bad or version=V"
                )));
            }
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_a_slot() {
        let printed = "A booted good version=1.0.0\nB next bad\n";
        let a = slot(printed, "A").unwrap();
        assert_eq!((a.booted, a.next, a.good), (true, false, Some(true)));
        assert_eq!(a.version.as_deref(), Some("1.0.0"));
        let b = slot(printed, "B").unwrap();
        assert_eq!((b.booted, b.next, b.good, b.version), (false, true, Some(false), None));
        assert!(slot(printed, "C").is_err());
        assert!(slot("A botted", "A").unwrap_err().to_string().contains("botted"));
    }
}
