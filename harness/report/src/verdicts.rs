//! The end of a fold: every case gets a verdict and a standing, also where the run broke off.
//!
//! Three rules hold throughout. Nothing passes silently: what has no result is not green. A cause
//! is reported once: what did not run because of it is skipped and names it. And a run that broke
//! off has at least one broken case.

use hil_core::plan::CaseId;
use hil_core::rules;
use hil_core::verdict::Verdict;

use crate::fold::{Folding, Progress, unplanned_case};
use crate::report::{Attempt, CaseReport, End, Report, Session, Standing};

/// The suite of what hil reports of itself.
pub(crate) const OWN_SUITE: &str = "hil";
/// How the reason of a skip begins that is the consequence of another trouble (DESIGN, "Nouns").
pub(crate) const NOT_RUN: &str = "not run: ";
const NO_RESULT: &str = "hil recorded no result of this case, though the run came to its end";

pub(crate) fn conclude(mut folding: Folding) -> Report {
    if folding.report.end == End::Died {
        folding.report.took = folding.last;
    }
    for index in 0..folding.progress.len() {
        settle(&mut folding, index);
    }
    folding.report.cases.iter_mut().for_each(failure_stands);
    let within = subtests(&mut folding);
    let died_idle = folding.report.end == End::Died && folding.case.is_none();
    let broke_off = died_idle.then(|| broke_off(&folding));
    let (mut report, unsafe_boards) = (folding.report, folding.left_unsafe);
    let rules = folding.rules;
    let failed_bring_ups: Vec<CaseReport> =
        report.sessions.iter().enumerate().filter_map(|(i, s)| bring_up(i, s)).collect();
    let cases = std::mem::take(&mut report.cases);
    for (case, within) in cases.into_iter().zip(within) {
        report.cases.push(case);
        report.cases.extend(within);
    }
    let unseen: Vec<CaseReport> =
        rules.required.iter().filter_map(|pattern| never_came(pattern, &report)).collect();
    report.cases.extend(unseen);
    report.cases.extend(failed_bring_ups);
    // Stable: the bring-up before its session's cases, the rest in the order of the plan.
    report.cases.sort_by_key(|case| {
        (case.session.unwrap_or(usize::MAX), case.id.suite != OWN_SUITE || case.session.is_none())
    });
    report.cases.extend(broke_off);
    report.cases.extend(unsafe_boards.iter().map(|why| left_unsafe(why)));
    number_equal_names(&mut report.cases);
    judge(&mut report);
    report
}

/// Gives a case without a result the verdict that this amounts to.
fn settle(folding: &mut Folding, index: usize) {
    let end = folding.report.end;
    let case = &folding.report.cases[index];
    let (verdict, why) = match (folding.progress[index], end) {
        (Progress::Finished, _) => return,
        (Progress::Running, End::Died) => {
            (Verdict::Broken, "interrupted: hil died or was killed while this case ran".into())
        }
        (Progress::Running, End::Interrupted) => {
            (Verdict::Broken, "interrupted by the user while this case ran".into())
        }
        (Progress::Running, End::Finished) => (Verdict::Broken, NO_RESULT.into()),
        (Progress::NotReached, _) => not_reached(folding.report.session_of(case), end),
    };
    let so_far = folding.last - case.started.unwrap_or(folding.last);
    let case = &mut folding.report.cases[index];
    (case.verdict, case.why, case.took) = (verdict, Some(why), so_far.max(0.0));
}

/// A failure that no pass followed stands, however little came of the retries.
fn failure_stands(case: &mut CaseReport) {
    let Some(failed) = case.attempts.last() else { return };
    if matches!(case.verdict, Verdict::Broken | Verdict::Skip) {
        let retry = case.why.take().unwrap_or_default();
        case.why = Some(format!("{}; run again, it was {}: {retry}", failed.why, case.verdict));
        case.verdict = Verdict::Fail;
    }
}

/// The tests within each case, of all its attempts: one that passed only when the case was run
/// again is flaky, and one that failed and did not come again stays failed.
fn subtests(folding: &mut Folding) -> Vec<Vec<CaseReport>> {
    let of_case = |index: usize| {
        let mut attempts = folding.subtests.remove(&index).unwrap_or_default();
        let mut last = attempts.pop().unwrap_or_default();
        let unexpected =
            |case: &CaseReport| case.verdict == Verdict::Fail && case.expected.is_none();
        for failed in attempts.into_iter().flatten().filter(unexpected) {
            match last.iter_mut().find(|case| case.id == failed.id) {
                Some(again) => {
                    let why = failed.why.unwrap_or_default();
                    again.attempts.push(Attempt { why, took: failed.took, console: Vec::new() });
                }
                None => last.push(failed),
            }
        }
        last.iter_mut().for_each(failure_stands);
        last
    };
    (0..folding.progress.len()).map(of_case).collect()
}

fn not_reached(session: Option<&Session>, end: End) -> (Verdict, String) {
    match (session.and_then(|session| session.bring_up.as_ref()), end) {
        (Some(failed), _) => (Verdict::Skip, format!("{NOT_RUN}{}", failed.why)),
        (None, End::Died) => (Verdict::Skip, format!("{NOT_RUN}the run ended before it")),
        (None, End::Interrupted) => (Verdict::Skip, format!("{NOT_RUN}the run was interrupted")),
        (None, End::Finished) => (Verdict::Broken, NO_RESULT.into()),
    }
}

/// The failed bring-up of a session as a case, so that its cause is counted once.
fn bring_up(index: usize, session: &Session) -> Option<CaseReport> {
    let failed = session.bring_up.as_ref()?;
    let name = match session.image.as_str() {
        "" => "bring-up".to_string(),
        image => format!("bring-up of {image}"),
    };
    let verdict = match failed.verdict {
        Verdict::Fail => Verdict::Fail,
        Verdict::Broken | Verdict::Pass | Verdict::Skip => Verdict::Broken,
    };
    Some(CaseReport {
        verdict,
        why: Some(failed.why.clone()),
        started: session.started,
        took: session.took.unwrap_or_default(),
        console: failed.console.clone(),
        ..unplanned_case(&own_case(&name), Some(index))
    })
}

/// A test within a case that was required by name and never came, though its case ran to its end
/// and knows of no trouble.
fn never_came(pattern: &str, report: &Report) -> Option<CaseReport> {
    let of_case = rules::of_case(pattern, 2)?;
    let name = |case: &CaseReport| format!("{}/{}", case.id.suite, case.id.name);
    let passed = |case: &&CaseReport| case.verdict == Verdict::Pass && case.started.is_some();
    let cases = || report.cases.iter();
    let ran = cases().filter(passed).find(|case| rules::matches(&of_case, &name(case)))?;
    let came = cases().any(|case| rules::matches(pattern, &name(case)));
    (!came).then(|| CaseReport {
        verdict: Verdict::Fail,
        why: Some(format!("`{pattern}` is required, and no test of this name came")),
        ..unplanned_case(&ran.id.clone().within("required"), ran.session)
    })
}

/// A board left in another state than it should be is the rack's trouble, however all else went.
fn left_unsafe(why: &str) -> CaseReport {
    CaseReport {
        verdict: Verdict::Broken,
        why: Some(why.into()),
        ..unplanned_case(&own_case("safe-state"), None)
    }
}

/// A run that died while no case ran: without this its report would be all green and skips.
fn broke_off(folding: &Folding) -> CaseReport {
    let report = &folding.report;
    let began = |index: usize| {
        let of_session = |case: &CaseReport| case.session == Some(index);
        report.cases.iter().any(|case| of_session(case) && case.started.is_some())
    };
    let during = match folding.session {
        Some(index) if began(index) => "between two cases".to_string(),
        Some(index) => format!("while {} was brought up", report.sessions[index].image),
        None if report.sessions.iter().any(|session| session.started.is_some()) => {
            "after a session had ended".to_string()
        }
        None => "before a board was powered".to_string(),
    };
    CaseReport {
        verdict: Verdict::Broken,
        why: Some(format!("interrupted: hil died or was killed {during}")),
        ..unplanned_case(&own_case("run"), None)
    }
}

fn own_case(name: &str) -> CaseId {
    CaseId { suite: OWN_SUITE.into(), name: name.into(), round: 1 }
}

/// Two sessions of equally named images, or an event of a case that ran before, must not share a
/// name: readers of JUnit drop the second.
pub(crate) fn number_equal_names(cases: &mut [CaseReport]) {
    let mut seen = std::collections::BTreeSet::new();
    for case in cases {
        while !seen.insert(case.id.clone()) {
            case.id.round += 1;
        }
    }
}

fn judge(report: &mut Report) {
    for case in &mut report.cases {
        case.standing = match (case.verdict, &case.expected) {
            (Verdict::Pass, _) if !case.attempts.is_empty() => match report.retries.flaky_fails {
                true => Standing::FlakyFailure,
                false => Standing::Flaky,
            },
            (Verdict::Pass, None) => Standing::Passed,
            (Verdict::Pass, Some(_)) => Standing::UnexpectedPass,
            (Verdict::Fail, None) => Standing::Failed,
            (Verdict::Fail, Some(_)) => Standing::ExpectedFailure,
            (Verdict::Broken, _) => Standing::Broken,
            (Verdict::Skip, _) => Standing::Skipped,
        };
    }
    let required: Vec<usize> = (0..report.cases.len())
        .filter(|&index| report.cases[index].verdict == Verdict::Skip)
        .filter(|&index| report.cases[index].required && !is_consequence(report, index))
        .collect();
    for index in required {
        report.cases[index].standing = Standing::RequiredSkip;
    }
}

/// Whether a case was skipped because of a trouble that is reported already and sets the exit
/// code. A broken rack must not become a failed product by way of what was required of it.
fn is_consequence(report: &Report, index: usize) -> bool {
    let case = &report.cases[index];
    let not_run = case.why.as_deref().is_some_and(|why| why.starts_with(NOT_RUN));
    let cause = |other: &CaseReport| other.session == case.session && other.standing.is_trouble();
    not_run && (report.end != End::Finished || report.cases.iter().any(cause))
}
