//! Runs one case: its body against its deadline, the board's loss, a panic and Ctrl-C.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hil_core::case::Body;
use hil_core::deadline::{Deadline, Span};
use hil_core::event::What;
use hil_core::parts::{Console, Seen};
use hil_core::plan::PlannedCase;
use hil_core::rig::{Begun, Forgiven, Rig, TAIL_LINES, fatal, lost};
use hil_core::trouble::{Outcome, Trouble};
use hil_core::verdict::Verdict;

use crate::interrupt::Interrupt;

/// How a case ended, as far as the session must know.
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    /// Tests within it that failed, though the case itself may have passed.
    pub(crate) failed_subtests: Vec<String>,
    /// The board may be in any state: bring it up anew before the next case.
    pub(crate) board_is_suspect: bool,
    pub(crate) interrupted: bool,
}

/// Judging asks the board, which takes time that Ctrl-C need not wait for.
pub(crate) async fn judged(rig: &mut Rig, trouble: Trouble, interrupt: &mut Interrupt) -> Trouble {
    let unjudged = trouble.clone();
    tokio::select! {
        biased;
        judged = rig.judge(trouble) => judged,
        () = interrupt.asked() => unjudged,
    }
}

/// As [`judged`], of a case whose deadline has passed. That says nothing of the product where the network has
/// gone meanwhile, of which a command that waits for its answer does not tell.
async fn judged_late(
    rig: &mut Rig,
    trouble: Trouble,
    begun: &Begun,
    interrupt: &mut Interrupt,
) -> Trouble {
    let trouble = rig.unless_starved(trouble, begun).await;
    let cut_off = tokio::select! {
        biased;
        cut_off = rig.cut_off() => cut_off,
        () = interrupt.asked() => return trouble,
    };
    let trouble = match cut_off {
        Some(lost) if matches!(trouble, Trouble::Unmet(_)) => {
            Trouble::transport(format!("{trouble}; then {lost}"))
        }
        _ => trouble,
    };
    judged(rig, trouble, interrupt).await
}

/// What stopped a body that did not end by itself.
enum Stopped {
    Interrupted,
    TimedOut,
}

pub(crate) async fn run(
    rig: &mut Rig,
    body: Body,
    planned: &PlannedCase,
    attempt: u32,
    interrupt: &mut Interrupt,
) -> Ended {
    let journal = rig.journal().clone();
    journal.record(What::CaseStarted { case: planned.id.clone() });
    let started = journal.clock().now();
    rig.set_case(Some(planned.clone()), attempt);

    let span = Duration::try_from_secs_f64(planned.deadline_s).unwrap_or(Duration::MAX);
    let span = rig.scaled(span);
    let begun = rig.begin();
    let (outcome, stopped) = watched(rig, body, Deadline::within(span), interrupt).await;
    let interrupted = matches!(stopped, Some(Stopped::Interrupted));
    let trouble = match outcome {
        Ok(()) => None,
        Err(trouble) if interrupted => Some(trouble),
        Err(trouble) if matches!(stopped, Some(Stopped::TimedOut)) => {
            Some(judged_late(rig, trouble, &begun, interrupt).await)
        }
        Err(trouble) => Some(judged(rig, trouble, interrupt).await),
    };
    let trouble = trouble.map(|trouble| rig.after_cuts(trouble));
    let failed_subtests = rig.failed_subtests().to_vec();
    rig.set_case(None, 0);

    let verdict = trouble.as_ref().map_or(Verdict::Pass, Trouble::verdict);
    let lost = rig.power().loss().borrow().is_some();
    let quiet = matches!(verdict, Verdict::Pass | Verdict::Skip);
    journal.record(What::CaseFinished {
        case: planned.id.clone(),
        verdict,
        why: trouble.map(|trouble| trouble.to_string()),
        took: (journal.clock().now() - started).as_secs_f64(),
        console: if quiet { Vec::new() } else { rig.console().tail(TAIL_LINES) },
    });
    let board_is_suspect = stopped.is_some() || lost || !quiet;
    Ended { verdict, failed_subtests, board_is_suspect, interrupted }
}

/// The body's outcome, unless something else comes first.
async fn watched(
    rig: &mut Rig,
    body: Body,
    deadline: Deadline,
    interrupt: &mut Interrupt,
) -> (Outcome, Option<Stopped>) {
    let mut loss = rig.power().loss();
    let console = rig.console();
    let cursor = console.sightings();
    let forgiven = rig.forgiven();
    tokio::select! {
        biased;
        trouble = lost(&mut loss) => (Err(trouble), None),
        trouble = panicked(console, cursor, forgiven) => (Err(trouble), None),
        () = interrupt.asked() => {
            (Err(Trouble::rack("interrupted by the user")), Some(Stopped::Interrupted))
        }
        () = tokio::time::sleep_until(deadline.instant()) => {
            let why = format!("the case did not end within its deadline of {}", Span(deadline.span()));
            (Err(Trouble::unmet(why)), Some(Stopped::TimedOut))
        }
        outcome = Caught(body.run(rig)) => (outcome, None),
    }
}

/// Resolves when the console shows that nothing more can be expected of this boot, unless the case
/// is about just that.
async fn panicked(console: Arc<dyn Console>, mut cursor: u64, forgiven: Forgiven) -> Trouble {
    loop {
        let sighting = console.sighting(&mut cursor).await;
        match sighting.what {
            Seen::Alarm(alarm) if alarm.is_fatal() && !forgiven.covers(cursor) => {
                return fatal(alarm, &sighting);
            }
            _ => {}
        }
    }
}

/// A body whose Rust panic is a defect of the harness, not the end of the run.
struct Caught<'r>(hil_core::case::Running<'r>);

impl Future for Caught<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        // The body is not polled again after a panic, so broken invariants stay unseen.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(payload) => {
                let said = message(payload.as_ref());
                Poll::Ready(Err(Trouble::rack(format!("the case's own code panicked: {said}"))))
            }
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}
