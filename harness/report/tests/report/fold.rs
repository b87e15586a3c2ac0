//! What a run came to, whole or broken off.

use hil_core::event::{Event, What};
use hil_core::stage::Stage;
use hil_core::verdict::{Verdict, exit};
use hil_report::report::{CaseReport, Report, Standing};
use hil_report::{End, FoldError, Merged, fold};

use crate::hostile::Random;
use crate::sample::{Run, plan, whole};

pub(crate) fn report(run: Run) -> Report {
    fold(&run.events).unwrap()
}

pub(crate) fn case<'r>(report: &'r Report, name: &str) -> &'r CaseReport {
    let found = report.cases.iter().find(|case| case.id.to_string() == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", names(report)))
}

pub(crate) fn names(report: &Report) -> Vec<String> {
    report.cases.iter().map(|case| case.id.to_string()).collect()
}

fn exit_of(report: &Report) -> u8 {
    Merged::of(vec![report]).exit_code()
}

fn standings(report: &Report) -> Vec<Standing> {
    report.cases.iter().map(|case| case.standing).collect()
}

#[test]
fn every_case_stands_as_it_ended_in_the_order_of_the_plan() {
    let report = report(whole("qemu-arm"));
    let expected = [
        ("boot/ready", Standing::Passed),
        ("boot/clock", Standing::Failed),
        ("boot/taint", Standing::ExpectedFailure),
        ("boot/slot", Standing::UnexpectedPass),
        ("containers/run", Standing::Broken),
        ("containers/logs", Standing::Skipped),
        ("boot/units", Standing::Skipped),
        ("ota/rollback", Standing::Skipped),
    ];
    let found: Vec<(String, Standing)> =
        report.cases.iter().map(|case| (case.id.to_string(), case.standing)).collect();
    assert_eq!(found, expected.map(|(name, standing)| (name.to_string(), standing)));
    let totals = report.totals();
    assert_eq!(
        totals.to_string(),
        "8 cases: 2 passed (1 unexpectedly), 1 failed, 1 broken, 1 failed as expected, 3 skipped"
    );
    assert_eq!((report.end, report.took, exit_of(&report)), (End::Finished, 99.5, exit::FAILED));
}

#[test]
fn what_was_told_during_a_case_is_with_the_case_and_the_rest_with_its_session() {
    let report = report(whole("qemu-arm"));
    let run = case(&report, "containers/run");
    assert_eq!((run.alarms.len(), run.notes.len(), run.attachments.len()), (1, 1, 1));
    assert_eq!(report.notes, ["KVM is there but broken: falling back to TCG"]);
    assert_eq!(case(&report, "boot/ready").facts[0].name, "login");
    assert_eq!(report.sessions[0].facts[0].name, "boot to ready");
    assert_eq!(report.sessions[0].boots[0].stages[4], (Stage::Ready, 31.4));
    assert_eq!((report.sessions[0].cuts.len(), report.sessions[1].cuts.len()), (0, 1));
    assert_eq!(run.console, ["a", "b"]);
}

#[test]
fn a_stage_that_comes_again_is_another_boot() {
    let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os");
    let run = run.stage(Stage::Kernel, 2.0).stage(Stage::Ready, 9.0).stage(Stage::Kernel, 20.0);
    let report = report(run.then(What::PowerOn).stage(Stage::Kernel, 2.5).pass("s/a").finished());
    let boots = &report.sessions[0].boots;
    let shape: Vec<(bool, usize)> = boots.iter().map(|b| (b.reset, b.stages.len())).collect();
    assert_eq!(shape, [(false, 2), (true, 1), (false, 1)]);
}

#[test]
fn a_failed_bring_up_is_one_failure_and_its_cases_name_it() {
    for (verdict, standing, code) in [
        (Verdict::Fail, Standing::Failed, exit::FAILED),
        // Required or not: a broken rack says nothing about the product.
        (Verdict::Broken, Standing::Broken, exit::BROKEN),
    ] {
        let plan = plan("b", &[("mini", &["s/a!", "s/b"]), ("full", &["s/c"])], &[]);
        let run = Run::of(plan).session("mini").failed_bring_up(verdict, "no slot boots");
        let report = report(run.session_ended().session("full").pass("s/c").finished());
        assert_eq!(names(&report), ["hil/bring-up of mini", "s/a", "s/b", "s/c"]);
        let skipped = Standing::Skipped;
        assert_eq!(standings(&report), [standing, skipped, skipped, Standing::Passed]);
        assert_eq!(case(&report, "s/b").why.as_deref(), Some("not run: no slot boots"));
        assert_eq!(report.cases[0].console, ["U-Boot 2023.01", "no valid slot"]);
        assert_eq!(exit_of(&report), code);
    }
}

#[test]
fn a_bring_up_that_fails_before_there_is_a_rig_belongs_to_the_session_that_waited() {
    let plan = plan("b", &[("mini", &["s/a"]), ("full", &["s/b"])], &[]);
    let run = Run::of(plan).session("mini").pass("s/a").session_ended();
    let report = report(run.failed_bring_up(Verdict::Broken, "disk digest mismatch").finished());
    assert_eq!(names(&report), ["s/a", "hil/bring-up of full", "s/b"]);
    assert_eq!(exit_of(&report), exit::BROKEN);
}

#[test]
fn a_required_skip_is_a_failure_unless_its_cause_is_one_already() {
    let planned = plan("b", &[("os", &["s/a!", "s/b!"])], &[("s/c!", "needs engine")]);
    let begun = || Run::of(planned.clone()).session("os");

    let alone = report(begun().skip("s/a", "no network here").pass("s/b").finished());
    assert_eq!(case(&alone, "s/a").standing, Standing::RequiredSkip);
    assert_eq!(case(&alone, "s/c").standing, Standing::RequiredSkip);
    let message = case(&alone, "s/a").message().unwrap();
    assert_eq!(message, "required, but skipped: no network here");
    assert_eq!(exit_of(&alone), exit::FAILED);

    // "not run" with nothing that it could be the consequence of.
    let uncaused = report(begun().pass("s/a").skip("s/b", "not run: suite deadline").finished());
    assert_eq!(case(&uncaused, "s/b").standing, Standing::RequiredSkip);

    let broken = begun().begin("s/a").end("s/a", Verdict::Broken, Some("QEMU died"), &[]);
    let caused = report(broken.skip("s/b", "not run: QEMU died").finished());
    assert_eq!(case(&caused, "s/b").standing, Standing::Skipped);
}

#[test]
fn interrupted_wins_over_failed_wins_over_broken() {
    let begun = || Run::of(plan("b", &[("os", &["s/a", "s/b", "s/c!"])], &[])).session("os");
    let broken = begun().begin("s/a").end("s/a", Verdict::Broken, Some("x"), &[]).pass("s/b");
    assert_eq!(exit_of(&report(broken.clone().pass("s/c").finished())), exit::BROKEN);
    let failed = broken.fail("s/c", "y");
    assert_eq!(exit_of(&report(failed.clone().finished())), exit::FAILED);
    let interrupted = What::RunFinished { interrupted: true, took: 3.0 };
    assert_eq!(exit_of(&report(failed.then(interrupted.clone()))), exit::INTERRUPTED);

    let report = report(begun().pass("s/a").begin("s/b").then(interrupted));
    assert_eq!(standings(&report), [Standing::Passed, Standing::Broken, Standing::Skipped]);
    assert_eq!(case(&report, "s/c").why.as_deref(), Some("not run: the run was interrupted"));
}

#[test]
fn a_run_killed_in_a_case_has_that_case_as_broken() {
    let plan = plan("b", &[("os", &["s/a", "s/b", "s/c!"])], &[]);
    let report = report(Run::of(plan).session("os").pass("s/a").begin("s/b").note("x"));
    assert_eq!(standings(&report), [Standing::Passed, Standing::Broken, Standing::Skipped]);
    let b = case(&report, "s/b");
    let why = "interrupted: hil died or was killed while this case ran";
    assert_eq!((b.why.as_deref(), b.took), (Some(why), 0.25));
    assert_eq!(case(&report, "s/c").why.as_deref(), Some("not run: the run ended before it"));
    assert_eq!((report.end, exit_of(&report)), (End::Died, exit::BROKEN));
}

#[test]
fn a_run_killed_between_cases_is_not_green() {
    let plan = plan("b", &[("os", &["s/a"])], &[]);
    let run = Run::of(plan);
    let why = |run: Run| {
        let report = report(run);
        assert_eq!(exit_of(&report), exit::BROKEN);
        case(&report, "hil/run").why.clone().unwrap()
    };
    let before = "interrupted: hil died or was killed before a board was powered";
    assert_eq!(why(run.clone()), before);
    let run = run.session("os");
    assert_eq!(why(run.clone()), "interrupted: hil died or was killed while os was brought up");
    let run = run.pass("s/a");
    assert!(why(run.clone()).ends_with("between two cases"));
    assert!(why(run.session_ended()).ends_with("after a session had ended"));
}

#[test]
fn a_case_without_a_result_in_a_run_that_ended_is_broken() {
    let plan = plan("b", &[("os", &["s/a", "s/b"])], &[]);
    let report = report(Run::of(plan).session("os").begin("s/a").session_ended().finished());
    assert_eq!(standings(&report), [Standing::Broken, Standing::Broken]);
}

#[test]
fn a_result_the_plan_does_not_know_is_kept() {
    let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os");
    let report = report(run.pass("s/a").fail("s/a", "again").fail("s/new", "odd").finished());
    assert_eq!(names(&report), ["s/a", "s/a#2", "s/new"]);
    assert_eq!(report.totals().failed, 2);
}

#[test]
fn what_is_no_run_is_refused() {
    assert_eq!(fold(&[]), Err(FoldError::Empty));
    assert_eq!(fold(&[Event { t: 0.0, what: What::PowerOn }]), Err(FoldError::NoStart));
    let twice = [whole("b").events, whole("b").events].concat();
    let second = whole("b").events.len() + 1;
    assert_eq!(fold(&twice), Err(FoldError::SecondRun(second)));
}

/// Whatever the order of events, no case of the plan is lost, doubled, or silently green.
#[test]
fn events_in_any_order_lose_no_case() {
    let planned = names(&report(whole("b")));
    for seed in 0..2000 {
        let mut random = Random(seed);
        let mut events = whole("b").events;
        let start = events.remove(0);
        let mut shuffled = vec![start];
        while !events.is_empty() && random.below(40) > 0 {
            shuffled.push(events.remove(random.below(events.len().min(6))));
        }
        let report = fold(&shuffled).unwrap();
        let found = names(&report);
        for name in &planned {
            let times = found.iter().filter(|found| *found == name).count();
            assert_eq!(times, 1, "{name} in seed {seed}: {found:?}");
        }
        let passes = |events: &[Event]| {
            let pass = |event: &&Event| {
                matches!(&event.what, What::CaseFinished { verdict: Verdict::Pass, .. })
            };
            events.iter().filter(pass).count()
        };
        assert_eq!(report.totals().passed, passes(&shuffled), "seed {seed}");
        if report.end == End::Died {
            assert_ne!(exit_of(&report), exit::OK, "seed {seed}");
        }
    }
}

#[test]
fn what_cases_started_from_is_told_with_the_session() {
    let forked = || What::Forked { running: 0.01, answered: 0.2 };
    let run = |saved: bool, forks: usize| {
        let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os");
        let run = match saved {
            true => run.then(What::Saved { how: "a template".into(), took: 1.0 }),
            false => run,
        };
        let run = (0..forks).fold(run, |run, _| run.then(forked()));
        report(run.pass("s/a").session_ended().finished()).sessions[0].about()
    };
    assert_eq!(run(false, 0), "QEMU 10.0.2 (tcg), medium virtio-wb");
    assert!(run(true, 2).ends_with(", 2 forks of the board, saved as a template"));
    assert!(
        run(false, 1).ends_with(", a fork of a board that an earlier run or another lane saved")
    );
}
