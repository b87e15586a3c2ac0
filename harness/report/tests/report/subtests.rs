//! Tests within a case: testcases of their own, however the script that ran them ended.

use hil_core::event::What;
use hil_core::plan::BoardPlan;
use hil_core::verdict::{Verdict, exit};
use hil_report::junit;
use hil_report::report::Standing;
use hil_report::{Merged, Report};

use crate::fold::{case, names, report};
use crate::junit::by_roxmltree;
use crate::sample::{Run, id, plan};

fn planned() -> BoardPlan {
    plan("b", &[("os", &["mine/net", "s/b"])], &[])
}

fn begun(plan: BoardPlan) -> Run {
    Run::of(plan).session("os").begin("mine/net")
}

fn ended(run: Run) -> Report {
    let run = run.end("mine/net", Verdict::Pass, None, &[]).pass("s/b");
    report(run.session_ended().finished())
}

fn exit_of(report: &Report) -> u8 {
    Merged::of(vec![report]).exit_code()
}

#[test]
fn each_is_a_testcase_after_its_case_and_counts_once() {
    let run = begun(planned()).test("mine/net", "up", Verdict::Pass);
    let run = run.test("mine/net", "dns/resolves", Verdict::Fail);
    let report = ended(run.test("mine/net", "up", Verdict::Skip));
    let expected = ["mine/net", "mine/net/up", "mine/net/dns/resolves", "mine/net/up#2", "s/b"];
    assert_eq!(names(&report), expected);
    assert_eq!(report.totals().to_string(), "5 cases: 3 passed, 1 failed, 1 skipped");
    assert_eq!(exit_of(&report), exit::FAILED);
    let read = by_roxmltree(&junit(&[report]));
    let found: Vec<(&str, &str)> = read.iter().map(|r| (&*r.class, &*r.name)).collect();
    let class = "b.mine";
    let names = ["net", "net/up", "net/dns/resolves", "net/up#2"].map(|name| (class, name));
    assert_eq!(found[..4], names);
    assert_eq!((&*read[2].kind, &*read[2].message), ("failure", "dns/resolves said why"));
}

#[test]
fn those_of_a_run_that_died_are_kept_and_the_case_is_broken() {
    let report = report(begun(planned()).test("mine/net", "up", Verdict::Pass));
    assert_eq!(names(&report), ["mine/net", "mine/net/up", "s/b"]);
    assert_eq!(case(&report, "mine/net").standing, Standing::Broken);
    assert_eq!(case(&report, "mine/net/up").standing, Standing::Passed);
}

#[test]
fn a_test_that_passes_when_its_case_is_run_again_is_flaky_and_one_that_is_gone_stays_failed() {
    let run = begun(planned()).test("mine/net", "up", Verdict::Fail);
    let run = run.test("mine/net", "gone", Verdict::Fail).test("mine/net", "ok", Verdict::Pass);
    let run = run.end("mine/net", Verdict::Pass, None, &[]).again("mine/net", 2);
    let run = run.begin("mine/net").test("mine/net", "up", Verdict::Pass);
    let report = ended(run.test("mine/net", "ok", Verdict::Pass));
    let standing = |name| case(&report, name).standing;
    assert_eq!(names(&report).len(), 5, "{:?}", names(&report));
    assert_eq!(standing("mine/net"), Standing::Passed);
    assert_eq!(standing("mine/net/up"), Standing::Flaky);
    assert_eq!(standing("mine/net/gone"), Standing::Failed);
    assert_eq!(standing("mine/net/ok"), Standing::Passed);
}

#[test]
fn what_is_expected_or_required_of_them_is_known_by_rules() {
    let mut plan = planned();
    plan.rules.expected = vec![("*/mine/net/bad*".into(), "bug 9".into())];
    plan.rules.required = vec!["mine/net/*".into()];
    let todo = |name: &str| What::Subtest {
        case: id("mine/net"),
        name: name.into(),
        verdict: Verdict::Fail,
        why: Some("no".into()),
        expected: Some("TODO later".into()),
    };
    let run = begun(plan).test("mine/net", "bad one", Verdict::Fail);
    let report = ended(run.test("mine/net", "must", Verdict::Skip).then(todo("soon")));
    let standing = |name| case(&report, name).standing;
    assert_eq!(standing("mine/net/bad one"), Standing::ExpectedFailure);
    assert_eq!(standing("mine/net/must"), Standing::RequiredSkip);
    assert_eq!(standing("mine/net/soon"), Standing::ExpectedFailure);
}

#[test]
fn one_that_is_required_by_name_and_never_comes_is_a_failure() {
    let mut plan = planned();
    plan.rules.required = vec!["mine/net/dns".into(), "mine/net/up".into(), "other/x/y".into()];
    let report = ended(begun(plan).test("mine/net", "up", Verdict::Pass));
    assert_eq!(report.totals().failed, 1);
    let case = case(&report, "mine/net/required");
    assert_eq!(
        case.why.as_deref(),
        Some("`mine/net/dns` is required, and no test of this name came")
    );
}
