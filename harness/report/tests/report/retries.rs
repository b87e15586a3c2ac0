//! A case that is run again: a pass after a fail is shown as what it is, in every report.

use hil_core::plan::BoardPlan;
use hil_core::verdict::{Verdict, exit};
use hil_report::report::Standing;
use hil_report::{Merged, annotations, github_summary, html, junit, table};

use crate::fold::{case, names, report};
use crate::junit::by_roxmltree;
use crate::sample::{Run, plan};

fn planned() -> BoardPlan {
    plan("b", &[("os", &["s/a", "s/b"])], &[])
}

/// `s/a` fails twice, then passes; `s/b` passes at once.
fn flaky(plan: BoardPlan) -> Run {
    let run = Run::of(plan).session("os").fail("s/a", "no answer").again("s/a", 2);
    let run = run.fail("s/a", "wrong answer").again("s/a", 3).pass("s/a").pass("s/b");
    run.session_ended().finished()
}

#[test]
fn a_pass_after_a_fail_is_flaky_and_no_plain_pass() {
    let flaky = report(flaky(planned()));
    assert_eq!(names(&flaky), ["s/a", "s/b"]);
    assert_eq!(case(&flaky, "s/a").standing, Standing::Flaky);
    assert_eq!(case(&flaky, "s/b").standing, Standing::Passed);
    assert_eq!(flaky.totals().to_string(), "2 cases: 1 passed, 1 flaky");
    assert_eq!(Merged::of(vec![&flaky]).exit_code(), exit::OK);
    let why = case(&flaky, "s/a").message().unwrap();
    assert_eq!(why, "failed 2 times, then passed when it was run again: wrong answer");
}

#[test]
fn where_flakes_are_failures_the_exit_code_says_so() {
    let mut plan = planned();
    plan.retries.flaky_fails = true;
    let report = report(flaky(plan));
    assert_eq!(case(&report, "s/a").standing, Standing::FlakyFailure);
    assert_eq!(Merged::of(vec![&report]).exit_code(), exit::FAILED);
    let read = by_roxmltree(&junit(&[report]));
    assert_eq!((read[0].kind.as_str(), read[0].type_.as_str()), ("failure", "flaky"));
}

#[test]
fn every_report_shows_a_flake() {
    let reports = [report(flaky(planned()))];
    assert!(table(&reports, false).contains("FLAKY"));
    assert!(html(&reports).contains(">flaky</span>"));
    assert!(html(&reports).contains("attempt 2 failed: wrong answer"));
    assert!(github_summary(&reports).contains("| s/a | ⚠️ **flaky** |"));
    assert!(annotations(&reports).contains("::warning title=b s/a::failed 2 times"));
}

#[test]
fn each_failed_attempt_is_a_skipped_testcase_that_every_reader_counts() {
    let read = by_roxmltree(&junit(&[report(flaky(planned()))]));
    let found: Vec<(&str, &str)> = read.iter().map(|r| (&*r.name, &*r.kind)).collect();
    let attempts =
        [("a", ""), ("a (attempt 1)", "skipped"), ("a (attempt 2)", "skipped"), ("b", "")];
    assert_eq!(found, attempts);
    assert_eq!(read[1].message, "attempt 1 failed, the case was run again: no answer");
    assert!(read[1].out.contains("last words"), "{}", read[1].out);
    assert!(read[0].out.contains("failed 2 times"), "{}", read[0].out);
}

/// However the retry ends, what failed and never passed is a failure.
#[test]
fn a_failure_stands_when_its_retry_comes_to_nothing() {
    let failed = || Run::of(planned()).session("os").fail("s/a", "no answer").again("s/a", 2);
    let broken = |run: Run| run.begin("s/a").end("s/a", Verdict::Broken, Some("QEMU died"), &[]);
    for (run, told) in [
        (broken(failed()).pass("s/b").finished(), "no answer; run again, it was broken: QEMU died"),
        (failed().skip("s/a", "no time").pass("s/b").finished(), "was skip: no time"),
        (failed().failed_bring_up(Verdict::Broken, "no power").finished(), "not run: no power"),
        (failed(), "not run: the run ended before it"),
        (failed().begin("s/a"), "hil died or was killed while this case ran"),
    ] {
        let report = report(run);
        let case = case(&report, "s/a");
        assert_eq!(case.standing, Standing::Failed, "{:?}", case.why);
        assert!(case.why.as_ref().unwrap().contains(told), "{:?}", case.why);
        assert_eq!(Merged::of(vec![&report]).exit_code(), exit::FAILED);
    }
}
