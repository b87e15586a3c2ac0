//! One session: one image booted on one board, and the cases that run on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hil_core::case::{Case, Suite};
use hil_core::event::{Journal, What};
use hil_core::parts::{Console, Seen, Sighting};
use hil_core::plan::{PlannedCase, SessionPlan};
use hil_core::rig::{Rig, TAIL_LINES, lost};
use hil_core::rules::Rules;
use hil_core::trouble::{Outcome, Trouble};
use hil_core::verdict::Verdict;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::adapters;
use crate::case::{self, Ended};
use crate::interrupt::{Interrupt, or_interrupted};
use crate::rack::{Lease, Rack};
use crate::start::Starts;

/// What the runner lends to a session.
pub(crate) struct Context<'c> {
    pub(crate) rack: &'c dyn Rack,
    pub(crate) suites: &'c [Suite],
    pub(crate) keep: bool,
    /// How often a case that fails is run again.
    pub(crate) retries: u32,
    pub(crate) rules: &'c Rules,
    pub(crate) interrupt: Interrupt,
    /// Told how to reach a board that is kept alive.
    pub(crate) kept: &'c (dyn Fn(&str, &[String]) + Send + Sync),
}

/// Runs a session to its end; whether its board was kept alive for somebody, whose Ctrl-C then was
/// no interruption.
pub(crate) async fn run(mut context: Context<'_>, lease: Lease, plan: &SessionPlan) -> bool {
    let journal = lease.journal.clone();
    let started = journal.clock().now();
    let mut interrupt = context.interrupt.clone();
    let mut kept = false;
    match or_interrupted(&mut interrupt, lease_rig(&context, &lease, plan)).await {
        Err(trouble) => bring_up_failed(&journal, &trouble, Vec::new()),
        Ok((mut rig, watcher)) => {
            let failed = run_cases(&mut context, &mut rig, plan).await;
            if failed && context.keep && !context.interrupt.is_asked() {
                kept = true;
                keep(&mut context, &mut rig).await;
            }
            if let Err(trouble) = rig.power_off().await {
                let why = format!("the board's power could not be switched off: {trouble}");
                journal.record(What::LeftUnsafe { why });
            }
            watcher.end().await;
        }
    }
    let took = (journal.clock().now() - started).as_secs_f64();
    journal.record(What::SessionEnded { took });
    kept
}

/// Leaves the board alive until somebody has seen enough of it, or it dies.
async fn keep(context: &mut Context<'_>, rig: &mut Rig) {
    (context.kept)(&rig.board().name, &rig.reach_by());
    let mut loss = rig.power().loss();
    tokio::select! {
        () = context.interrupt.asked() => {}
        trouble = lost(&mut loss) => rig.journal().note(format!("the kept board is gone: {trouble}")),
    }
}

async fn lease_rig(
    context: &Context<'_>,
    lease: &Lease,
    plan: &SessionPlan,
) -> Outcome<(Rig, Watcher)> {
    let leased = context.rack.lease(lease).await?;
    let journal = lease.journal.clone();
    for note in &leased.notes {
        journal.note(note);
    }
    journal.record(What::SessionStarted {
        image: plan.image.clone(),
        power: leased.parts.power.label(),
        medium: leased.medium.clone(),
    });
    let watcher = Watcher::start(leased.console.clone(), journal.clone());
    let rig = Rig::new(leased.parts, adapters::for_image(&lease.image.image), journal)
        .keeping_in(&lease.dir);
    Ok((rig, watcher))
}

/// Makes every alarm an event, whether or not a case waits for one.
struct Watcher {
    task: JoinHandle<()>,
    over: oneshot::Sender<()>,
}

impl Watcher {
    fn start(console: Arc<dyn Console>, journal: Journal) -> Watcher {
        let (over, mut ended) = oneshot::channel();
        // What was sighted before belongs to an earlier session of the board.
        let mut cursor = console.sightings();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    sighting = console.sighting(&mut cursor) => record_alarm(&journal, sighting),
                    _ = &mut ended => break,
                }
            }
            while cursor < console.sightings() {
                record_alarm(&journal, console.sighting(&mut cursor).await);
            }
        });
        Watcher { task, over }
    }

    /// Records what has been sighted up to now, and nothing after it.
    async fn end(self) {
        // Neither can fail unless the task has ended, which it does only when told.
        let _ = self.over.send(());
        let _ = self.task.await;
    }
}

fn record_alarm(journal: &Journal, sighting: Sighting) {
    if let Seen::Alarm(alarm) = sighting.what {
        let (line, offset) = (sighting.line, sighting.offset);
        journal.record_at(sighting.at, What::Alarm { alarm, line, offset });
    }
}

/// Runs the session's cases in order; whether one of them failed.
async fn run_cases(context: &mut Context<'_>, rig: &mut Rig, plan: &SessionPlan) -> bool {
    let mut time = SuiteTime::new(plan);
    let mut starts = Starts::new(rig, plan);
    let mut failed = false;
    for planned in &plan.cases {
        if context.interrupt.is_asked() {
            return failed;
        }
        let Some((suite, case)) = find(context.suites, planned) else { continue };
        if time.left(suite, rig).is_zero() {
            skip(rig, planned, "not run: the suite's deadline had passed".into());
            continue;
        }
        let case = (suite, case, planned);
        let ended = match attempts(context, rig, case, &mut starts, &mut time).await {
            Ok(ended) => ended,
            Err(trouble) => {
                give_up(rig, trouble, &mut context.interrupt).await;
                return true;
            }
        };
        failed |= ended.verdict == Verdict::Broken
            || planned.expected.is_none() && failed_at_all(context, rig, planned, &ended);
        if ended.interrupted || (failed && context.keep) {
            return failed;
        }
    }
    failed
}

/// Runs a case; for as long as it fails and may be run again, each time on a board started anew. An
/// error is a board that does not come up. Only a failure is a matter of chance to be looked into:
/// of a broken rack a retry would hide how broken it is (decision 0014).
async fn attempts(
    context: &mut Context<'_>,
    rig: &mut Rig,
    (suite, case, planned): (&Suite, &Case, &PlannedCase),
    starts: &mut Starts,
    time: &mut SuiteTime,
) -> Outcome<Ended> {
    let mut attempt = 1;
    loop {
        starts.before(rig, planned, &mut context.interrupt).await?;
        let begun = Instant::now();
        let ended = case::run(rig, case.body, planned, attempt, &mut context.interrupt).await;
        time.spend(suite, begun.elapsed());
        starts.after(ended.board_is_suspect);
        let again = failed_at_all(context, rig, planned, &ended) && planned.expected.is_none();
        if !again || attempt > context.retries || time.left(suite, rig).is_zero() {
            return Ok(ended);
        }
        attempt += 1;
        rig.journal().record(What::CaseRetried { case: planned.id.clone(), attempt });
        starts.again();
    }
}

/// Whether a case failed, or a test within it of which that was not expected.
fn failed_at_all(context: &Context<'_>, rig: &Rig, planned: &PlannedCase, ended: &Ended) -> bool {
    let of_case = format!("{}/{}/{}", rig.board().name, planned.id.suite, planned.id.name);
    let unexpected = |name: &String| context.rules.expects(&format!("{of_case}/{name}")).is_none();
    ended.verdict == Verdict::Fail || ended.failed_subtests.iter().any(unexpected)
}

/// The board does not come up: its cases are not run.
async fn give_up(rig: &mut Rig, trouble: Trouble, interrupt: &mut Interrupt) {
    let trouble = case::judged(rig, trouble, interrupt).await;
    bring_up_failed(rig.journal(), &trouble, rig.console().tail(TAIL_LINES));
}

fn bring_up_failed(journal: &Journal, trouble: &Trouble, console: Vec<String>) {
    let (verdict, why) = (trouble.verdict(), trouble.to_string());
    journal.record(What::BringUpFailed { verdict, why, console });
}

fn skip(rig: &Rig, planned: &PlannedCase, why: String) {
    let case = planned.id.clone();
    rig.journal().record(What::CaseStarted { case: case.clone() });
    let (verdict, why) = (Verdict::Skip, Some(why));
    rig.journal().record(What::CaseFinished { case, verdict, why, took: 0.0, console: vec![] });
}

fn find<'s>(suites: &'s [Suite], planned: &PlannedCase) -> Option<(&'s Suite, &'s Case)> {
    let suite = suites.iter().find(|suite| suite.name == planned.id.suite)?;
    let case = suite.cases.iter().find(|case| case.name == planned.id.name)?;
    Some((suite, case))
}

/// What each suite has spent of its time, which is for one round of its cases. A suite whose time is
/// over begins no more cases; one under way has its own deadline, which says more about the product.
struct SuiteTime {
    spent: BTreeMap<&'static str, Duration>,
    rounds: BTreeMap<String, u32>,
}

impl SuiteTime {
    fn new(plan: &SessionPlan) -> SuiteTime {
        let mut rounds = BTreeMap::new();
        for case in &plan.cases {
            let most = rounds.entry(case.id.suite.clone()).or_insert(1);
            *most = case.id.round.max(*most);
        }
        SuiteTime { spent: BTreeMap::new(), rounds }
    }

    fn left(&self, suite: &Suite, rig: &Rig) -> Duration {
        let spent = self.spent.get(suite.name).copied().unwrap_or_default();
        let rounds = self.rounds.get(suite.name).copied().unwrap_or(1);
        rig.scaled(suite.deadline.saturating_mul(rounds)).saturating_sub(spent)
    }

    fn spend(&mut self, suite: &Suite, took: Duration) {
        *self.spent.entry(suite.name).or_default() += took;
    }
}
