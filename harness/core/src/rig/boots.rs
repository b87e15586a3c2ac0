//! Boots that follow one another by themselves: a system that is tried, fails and is tried again,
//! until one of them is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{BOOT_ID, Begun, Rig, lost};
use crate::deadline::{Deadline, secs};
use crate::parts::{Alarm, Seen};
use crate::stage::Stage;
use crate::trouble::{OrFail, Outcome, Trouble};

/// What a board went through until it was ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boots {
    /// The line by which each boot was recognised, the last one's last: a bootloader that chooses
    /// a slot says there which.
    pub lines: Vec<String>,
    /// From the request, or from power-on, to the ready mark.
    pub took: Duration,
}

/// Sightings before this one are no end of the case, kernel panics among them.
#[derive(Clone, Default)]
pub struct Forgiven(Arc<AtomicU64>);

impl Forgiven {
    /// Whether the sighting that is followed by `cursor` was to be expected.
    pub fn covers(&self, cursor: u64) -> bool {
        cursor <= self.0.load(Ordering::SeqCst)
    }

    fn until(&self, cursor: u64) {
        self.0.store(cursor, Ordering::SeqCst);
    }
}

impl Rig {
    /// What the runner must not take for the end of the case.
    pub fn forgiven(&self) -> Forgiven {
        self.forgiven.clone()
    }

    /// Asks for a reboot and follows the board through at most `most` boots, panicking ones among
    /// them, until it is ready.
    pub async fn reboot_through(&mut self, most: u32) -> Outcome<Boots> {
        let cursor = self.ask_for_reboot().await?.1;
        self.follow_boots(cursor, most).await
    }

    /// Asks the running system to reboot: its boot id, and where the sightings of what follows
    /// begin.
    pub(super) async fn ask_for_reboot(&mut self) -> Outcome<(String, u64)> {
        self.must_be_a_new_boot().await?;
        let before = self.must(BOOT_ID).await?;
        let cursor = self.parts.console.sightings();
        // The command ends with the session, in whatever way; the boot id tells the truth.
        let asked = self.run_in("(sleep 1; reboot) >/dev/null 2>&1 &", secs(10)).await;
        asked.or_fail("could not ask for a reboot")?;
        self.begin_boot(cursor);
        Ok((before, cursor))
    }

    async fn follow_boots(&mut self, mut cursor: u64, most: u32) -> Outcome<Boots> {
        let Some((first, counted)) = self.stages_of_a_boot() else {
            let why = "boots cannot be counted: give [stages] bootloader and ready in image.toml";
            return Err(Trouble::Skip(why.into()));
        };
        self.forgiven.until(u64::MAX);
        let begun = self.powered_at;
        let one = self.scaled(secs(self.parts.board.boot_deadline_s));
        let all = Deadline::within(one.saturating_mul(most));
        let (mut deadline, waiting) = (all, self.begin());
        let mut lines = Vec::new();
        loop {
            let before = cursor;
            let console = self.parts.console.clone();
            let mut loss = self.parts.power.loss();
            let next = async { Ok(console.sighting(&mut cursor).await) };
            let what = format!("a boot to ready (begun: {})", told(&lines));
            let sighting = tokio::select! {
                sighting = deadline.bound(what, next) => sighting,
                trouble = lost(&mut loss) => return Err(trouble),
            };
            let sighting = match sighting {
                Ok(sighting) => sighting,
                Err(late) => return Err(self.no_boot_came(late, &waiting).await),
            };
            let stage = match sighting.what {
                Seen::Stage(stage) => stage,
                Seen::Alarm(alarm) => {
                    // What resets a kernel that died does so long before a boot would be over.
                    if alarm.is_fatal() {
                        deadline = all.or_sooner(one);
                    }
                    continue;
                }
            };
            if stage == first {
                self.begin_boot(before);
                self.powered_at = sighting.at;
                deadline = all;
            }
            if stage == counted {
                check_number(&lines, most)?;
                lines.push(sighting.line.trim().to_string());
            }
            self.take_in(&sighting)?;
            if stage == Stage::Ready && !lines.is_empty() {
                self.forgiven.until(cursor);
                self.boot_cursor = cursor;
                self.prove_ready(deadline, &waiting).await?;
                return Ok(Boots { lines, took: sighting.at.saturating_sub(begun) });
            }
        }
    }

    /// Why a boot came to nothing, and no other after it.
    async fn no_boot_came(&mut self, late: Trouble, waiting: &Begun) -> Trouble {
        self.forgiven.until(0);
        match self.kernel_alarm(Alarm::is_fatal).await {
            Some(died) => {
                Trouble::product(format!("nothing came after `{}`: {late}", died.line.trim()))
            }
            None => self.unless_starved(late, waiting).await,
        }
    }

    /// Where nobody knows whether the power was gone, a boot that is met in its midst is the old one,
    /// going on: what a cut was to show was never tried. Nothing can be told where `ready` is the only
    /// mark, of a board that resets itself at that moment, and of a cut before the first mark.
    pub(super) async fn must_be_a_new_boot(&mut self) -> Outcome {
        if !std::mem::take(&mut self.may_be_old) {
            return Ok(());
        }
        let (console, mut cursor) = (self.parts.console.clone(), self.boot_cursor);
        while cursor < console.sightings() {
            let sighting = console.sighting(&mut cursor).await;
            // What else there is to see is for whoever waits for a stage.
            if matches!(sighting.what, Seen::Stage(_)) {
                self.take_in(&sighting)?;
            }
        }
        let marks = self.parts.board.stages.overridden_by(&self.parts.image.stages);
        let marks = marks.by_stage();
        match marks.keys().next().filter(|first| !self.boot_times.contains_key(first)) {
            Some(first) => Err(Trouble::rack(format!(
                "the board still spoke when its power was to be gone, and then {first} was not seen: \
                 its contact sticks, its line loses bytes, the image no longer says it, or `discharge_s` \
                 is too small and the next cut came first"
            ))),
            None => Ok(()),
        }
    }

    /// The stage with which a boot begins, and the one that is seen just once in each: the
    /// bootloader's, where it has a mark.
    fn stages_of_a_boot(&self) -> Option<(Stage, Stage)> {
        let marks = self.parts.board.stages.overridden_by(&self.parts.image.stages);
        let marks = marks.by_stage();
        let first = *marks.keys().next()?;
        let once = [Stage::Bootloader, Stage::Kernel].into_iter();
        let counted = once.into_iter().find(|stage| marks.contains_key(stage))?;
        marks.contains_key(&Stage::Ready).then_some((first, counted))
    }
}

fn check_number(lines: &[String], most: u32) -> Outcome {
    if lines.len() < most as usize {
        return Ok(());
    }
    Err(Trouble::product(format!("not ready after {most} boots: {}", told(lines))))
}

fn told(lines: &[String]) -> String {
    if lines.is_empty() { "none".into() } else { lines.join(", ") }
}
