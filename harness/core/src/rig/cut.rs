//! Cuts of the power while a case's work goes on: the fuse that burns down to the planned point, the
//! cut itself, and what is told of it afterwards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::Rig;
use crate::case::Running;
use crate::cut::{Mark, PlannedCut, Step, cut_seed};
use crate::deadline::Deadline;
use crate::event::{Clock, What};
use crate::parts::{Console, CutPolicy, CutReport, DiskEvent, Seen, Tripwire};
use crate::stage::Stage;
use crate::trouble::{Outcome, Trouble};

/// A cut that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// `None` where the case cut on its own.
    pub planned: Option<PlannedCut>,
    /// Whether the planned point came; if not, the work had ended before it.
    pub reached: bool,
    pub policy: CutPolicy,
    pub seed: u64,
    pub report: CutReport,
}

impl Cut {
    /// Where in the case's work it was.
    fn place(&self) -> Option<String> {
        let point = &self.planned.as_ref()?.point;
        Some(match self.reached {
            true => point.to_string(),
            false => format!("the work's end, before {point}"),
        })
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place() {
            write!(f, "at {place} ")?;
        }
        write!(f, "({}, seed {}", self.policy.name(), self.seed)?;
        let CutReport { pending, kept, dropped, torn, timing } = self.report;
        match timing {
            Some(timing) => match (timing.died_us, timing.within_us) {
                (Some(died), Some(within)) => {
                    write!(f, "; dead at {:.3} s ± {} ms)", died as f64 / 1e6, within / 1000)
                }
                _ => f.write_str("; when the board died was not measured)"),
            },
            None => write!(f, "; of {pending} pending {kept} kept, {dropped} lost, {torn} torn)"),
        }
    }
}

impl Rig {
    /// Lets `work` go on until the case's next planned cut is due, and cuts the power. Work that
    /// ends before that is cut at its end; work that fails before that is a failure.
    pub async fn cut_while(
        &mut self,
        work: impl for<'r> FnOnce(&'r mut Rig) -> Running<'r>,
    ) -> Outcome<Cut> {
        let made = self.cuts.len();
        let planned = self.case.as_ref().and_then(|case| case.cuts.get(made)).cloned();
        let planned = planned.ok_or_else(|| {
            Trouble::rack(format!(
                "the case's plan has no cut number {} (a defect of hil)",
                made + 1
            ))
        })?;
        let fuse = self.fuse(&planned)?;
        let reached = tokio::select! {
            biased;
            burnt = fuse.burn() => burnt.map(|()| true),
            ended = work(self) => ended.map(|()| false),
        };
        let reached = reached?;
        self.cut(planned.policy, Some(planned), reached).await
    }

    /// How many of the case's planned cuts are still to come.
    pub fn cuts_left(&self) -> usize {
        let planned = self.case.as_ref().map_or(0, |case| case.cuts.len());
        planned.saturating_sub(self.cuts.len())
    }

    /// Cuts the power and loses what was volatile.
    pub async fn power_cut(&mut self, policy: CutPolicy) -> Outcome<CutReport> {
        Ok(self.cut(policy, None, true).await?.report)
    }

    async fn cut(
        &mut self,
        policy: CutPolicy,
        planned: Option<PlannedCut>,
        reached: bool,
    ) -> Outcome<Cut> {
        let seed = cut_seed(self.seed(), self.cuts.len() as u32);
        self.must_be_a_new_boot().await?;
        self.forget_sessions();
        let report = self.parts.power.cut(policy, seed).await?;
        let cut = Cut { planned, reached, policy, seed, report };
        let (report, point) = (cut.report.clone(), cut.place());
        self.journal.record(What::PowerCut { policy, seed, report, point });
        self.cuts.push(cut.clone());
        Ok(cut)
    }

    /// The trouble, with the cuts that the case had made before it.
    #[must_use]
    pub fn after_cuts(&self, trouble: Trouble) -> Trouble {
        match self.cuts.as_slice() {
            [] => trouble,
            [cut] => trouble.while_doing(format_args!("after a cut {cut}")),
            [.., last] => {
                trouble.while_doing(format_args!("after {} cuts, the last {last}", self.cuts.len()))
            }
        }
    }

    /// Everything that is needed to see the cut come, so that the rig itself is free for the work.
    fn fuse(&self, planned: &PlannedCut) -> Outcome<Fuse> {
        let mark = match planned.point.after {
            Mark::Begin => Awaited::Now,
            Mark::Stage(stage) => Awaited::Stage(stage),
            Mark::Progress(percent) => Awaited::Progress(percent, self.progress()?),
        };
        let wire = self.parts.power.tripwire();
        let wire = || wire.ok_or_else(|| Trouble::rack("there is no disk here whose events count"));
        let due = match planned.point.step {
            Step::Ms(ms) => Due::In(self.scaled(Duration::from_millis(ms.into()))),
            Step::Write(nth) => Due::At(DiskEvent::Write, nth, wire()?),
            Step::Flush(nth) => Due::At(DiskEvent::Flush, nth, wire()?),
        };
        Ok(Fuse {
            console: self.parts.console.clone(),
            clock: self.journal.clock(),
            cursor: self.parts.console.sightings(),
            position: self.parts.console.position(),
            lead: self.parts.power.off_delay().map_or(Duration::ZERO, |known| known.delay),
            mark,
            due,
        })
    }
}

impl Rig {
    /// How an update tells of its progress on the console.
    fn progress(&self) -> Outcome<Regex> {
        let updater = self.updater()?;
        let pattern = updater.progress().unwrap_or_default();
        Regex::new(pattern).map_err(|error| {
            Trouble::rack(format!("the updater's progress `{pattern}` is no regex: {error}"))
        })
    }
}

/// The mark that is waited for.
enum Awaited {
    Now,
    Stage(Stage),
    Progress(u8, Regex),
}

/// What comes after the mark.
enum Due {
    In(Duration),
    At(DiskEvent, u32, Arc<dyn Tripwire>),
}

/// Burns down to a planned cut.
struct Fuse {
    console: Arc<dyn Console>,
    clock: Clock,
    /// Where sightings and bytes of the work begin.
    cursor: u64,
    position: u64,
    /// How much earlier than it is due a cut must be asked for.
    lead: Duration,
    mark: Awaited,
    due: Due,
}

impl Fuse {
    /// Ends when the cut must be asked for; an emulated disk is frozen by then, where one is
    /// counted on. The work's own deadline bounds it.
    async fn burn(mut self) -> Outcome {
        let seen = self.seen().await?;
        match &self.due {
            Due::At(event, nth, wire) => wire.trip(*event, *nth).await,
            Due::In(span) => {
                let ask = (seen + *span).saturating_sub(self.lead);
                tokio::time::sleep(ask.saturating_sub(self.clock.now())).await;
            }
        }
        Ok(())
    }

    /// When the mark was seen, since the start of the run.
    async fn seen(&mut self) -> Outcome<Duration> {
        match &self.mark {
            Awaited::Now => Ok(self.clock.now()),
            Awaited::Stage(stage) => loop {
                let sighting = self.console.sighting(&mut self.cursor).await;
                if sighting.what == Seen::Stage(*stage) {
                    return Ok(sighting.at);
                }
            },
            Awaited::Progress(percent, line) => loop {
                let ever = Deadline::within(Duration::MAX);
                let found = self.console.expect(self.position, line, ever).await?;
                self.position = found.end.max(self.position + 1);
                let told = found.groups.get(1).and_then(|text| text.trim().parse::<u32>().ok());
                if told.is_some_and(|told| told >= u32::from(*percent)) {
                    return Ok(found.at);
                }
            },
        }
    }
}
