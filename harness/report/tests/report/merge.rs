//! Several runs as one: nothing is lost, nothing is green that no run passed, and what does not belong
//! together is told.

use std::fs;

use hil_core::event::What;
use hil_core::parts::CutPolicy;
use hil_core::plan::BoardPlan;
use hil_core::shard::shard;
use hil_core::verdict::{Verdict, exit};
use hil_report::merge::{differences, join};
use hil_report::rebuild::run_dir;
use hil_report::report::Standing;
use hil_report::{End, Merged, Report, junit, rebuild};

use crate::fold::{case, names, report};
use crate::junit::by_roxmltree;
use crate::sample::{Run, plan};

fn planned() -> BoardPlan {
    let cases: &[&str] = &["s/a", "s/b", "s/c", "s/d", "s/e"];
    plan("b", &[("os", cases)], &[("s/f", "needs engine")])
}

/// A run in which every case of the plan passes.
fn all_pass(plan: BoardPlan) -> Run {
    let cases = plan.sessions.iter().flat_map(|session| &session.cases);
    let ids: Vec<String> = cases.map(|case| case.id.to_string()).collect();
    ids.iter().fold(Run::of(plan).session("os").booted(), |run, id| run.pass(id))
}

fn whole(run: Run) -> Report {
    report(run.session_ended().finished())
}

fn exit_of(report: &Report) -> u8 {
    Merged::of(vec![report]).exit_code()
}

#[test]
fn shards_come_to_the_whole_in_the_order_of_the_plan() {
    let expected = whole(all_pass(planned()));
    for of in [1, 2, 3, 9] {
        // In whatever order they are given.
        let shards = (1..=of).rev().map(|index| whole(all_pass(shard(planned(), index, of))));
        let merged = join(shards.collect()).unwrap();
        assert_eq!(names(&merged), names(&expected), "{of} shards");
        assert_eq!(merged.totals(), expected.totals());
        assert_eq!((exit_of(&merged), merged.end), (exit::OK, End::Finished));
        assert!(merged.notes[0].starts_with(&format!("run 1 of {of}: shard {of}/{of}, ")));
        let cases = by_roxmltree(&junit(&[merged]));
        assert_eq!(cases.len(), 6);
    }
}

#[test]
fn a_case_that_no_run_had_is_broken() {
    let two = [1, 3].map(|index| whole(all_pass(shard(planned(), index, 3))));
    let merged = join(two.to_vec()).unwrap();
    assert_eq!(merged.totals().cases(), 6);
    let missing = merged.totals().broken;
    assert!(missing >= 1, "{:?}", merged.totals());
    assert_eq!(exit_of(&merged), exit::BROKEN);
    let told = |case: &&hil_report::CaseReport| {
        case.why.as_deref().is_some_and(|why| why.contains("no run that was merged"))
    };
    assert_eq!(merged.cases.iter().filter(told).count(), missing);
}

#[test]
fn of_a_case_that_two_runs_have_the_worse_word_about_the_product_counts() {
    let with = |verdict: Verdict| {
        let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os").begin("s/a");
        let why = (verdict != Verdict::Pass).then_some("because");
        whole(run.end("s/a", verdict, why, &[]))
    };
    use Verdict::{Broken, Fail, Pass, Skip};
    for (one, two, counts) in [
        (Pass, Fail, Fail),
        (Fail, Pass, Fail),
        (Broken, Pass, Pass),
        (Pass, Broken, Pass),
        (Skip, Broken, Broken),
        (Skip, Pass, Pass),
    ] {
        let merged = join(vec![with(one), with(two)]).unwrap();
        assert_eq!(names(&merged), ["s/a"]);
        let case = case(&merged, "s/a");
        assert_eq!(case.verdict, counts, "{one} and {two}");
        let told = &case.notes[0];
        let (other, of) = if counts == one { (two, 2) } else { (one, 1) };
        assert!(told.starts_with(&format!("run {of} says {other}")), "{told}");
        assert!(told.ends_with(&format!("; run {} counts", 3 - of)), "{told}");
    }
}

#[test]
fn a_run_that_died_and_what_was_run_of_it_later_are_a_whole_run() {
    let died =
        report(Run::of(planned()).session("os").booted().pass("s/a").pass("s/b").begin("s/c"));
    assert_eq!((died.end, exit_of(&died)), (End::Died, exit::BROKEN));
    let settled: Vec<String> = died.settled().map(ToString::to_string).collect();
    assert_eq!(settled, ["s/a", "s/b", "s/f"]);
    let rest = planned().only(|id| !settled.contains(&id.to_string()));
    let merged = join(vec![died.clone(), whole(all_pass(rest))]).unwrap();
    assert_eq!(names(&merged), ["s/a", "s/b", "s/c", "s/d", "s/e", "s/f"]);
    assert_eq!((merged.end, exit_of(&merged)), (End::Finished, exit::OK));

    let dead_between = report(Run::of(planned()).session("os").booted().pass("s/a"));
    let with_own = join(vec![dead_between, whole(all_pass(planned()))]).unwrap();
    assert_eq!(exit_of(&with_own), exit::OK);
    assert!(with_own.notes.iter().any(|note| note.starts_with("run 1: run: interrupted")));
    let still = join(vec![died]).unwrap();
    assert_eq!((still.end, exit_of(&still)), (End::Died, exit::BROKEN));
}

#[test]
fn a_board_that_once_failed_to_boot_did() {
    let failed = Run::of(planned()).session("os").failed_bring_up(Verdict::Fail, "no slot boots");
    let merged = join(vec![whole(failed), whole(all_pass(planned()))]).unwrap();
    assert_eq!(case(&merged, "hil/bring-up of os").standing, Standing::Failed);
    assert_eq!(exit_of(&merged), exit::FAILED);
}

#[test]
fn what_does_not_belong_together_is_told_line_by_line() {
    let one = whole(all_pass(shard(planned(), 1, 2)));
    assert!(differences(&[one.clone(), whole(all_pass(shard(planned(), 2, 2)))]).is_empty());
    let mut other = whole(all_pass(shard(planned(), 2, 3)));
    (other.hil, other.seed) = ("0.1.0 (beef)".into(), 7);
    other.envelope = Some("ram=256M".parse().unwrap());
    other.sessions[0].digest = "sha256:ff".into();
    other.share.as_mut().unwrap().whole.pop();
    let told = differences(&[one, other]);
    let expected = [
        "hil: `0.1.0` in run 1, `0.1.0 (beef)` in run 2",
        "seed: `42` in run 1, `7` in run 2",
        "envelope: `none` in run 1, `ram=256M` in run 2",
        "digest of os: `sha256:00` in run 1, `sha256:ff` in run 2",
        "shards: 2 in run 1, 3 in run 2",
    ];
    assert_eq!(told[..5], expected);
    assert!(told[5].starts_with("plan: 6 cases in run 1"), "{told:?}");
}

#[test]
fn runs_on_other_terms_do_not_belong_together_nor_images_that_the_first_one_has_not() {
    let one = whole(all_pass(planned()));
    let mut other = one.clone();
    other.terms.cut_policy = CutPolicy::KeepAll;
    other.rules.required.push("s/*".into());
    let told = differences(&[one.clone(), other]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("--cut-policy keep-all` in run 2"), "{told:?}");
    assert!(told[1].starts_with("--require and --expected"), "{told:?}");

    let with = |image: &str, digest: &str| {
        let mut run = one.clone();
        (run.sessions[0].system, run.sessions[0].digest) = (image.into(), digest.into());
        run
    };
    let told = differences(&[one.clone(), with("full", "1"), with("full", "2")]);
    assert_eq!(told, ["digest of full: `1` in run 2, `2` in run 3"]);
}

#[test]
fn a_merged_folder_is_rebuilt_from_the_events_of_its_runs_and_links_into_them() {
    let dir = tempfile::tempdir().unwrap();
    for (index, nth) in [(1, 1), (2, 2)] {
        let run = all_pass(shard(planned(), index, 2));
        let first = run.events.iter().find_map(|event| match &event.what {
            What::CaseStarted { case } => Some(case.clone()),
            _ => None,
        });
        let run = run.then(What::Attachment { case: first.unwrap(), path: "files/x.txt".into() });
        let to = run_dir(&dir.path().join("b"), nth);
        fs::create_dir_all(&to).unwrap();
        let lines = run.session_ended().finished().events;
        let lines: String =
            lines.iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
        fs::write(to.join("events.jsonl"), lines).unwrap();
    }
    let rebuilt = rebuild(dir.path()).unwrap();
    assert_eq!(rebuilt.reports.len(), 1);
    assert_eq!(rebuilt.reports[0].totals().to_string(), "6 cases: 5 passed, 1 skipped");
    let xml = fs::read_to_string(dir.path().join("junit.xml")).unwrap();
    for nth in [1, 2] {
        assert!(xml.contains(&format!("[[ATTACHMENT|b/runs/{nth}/files/x.txt]]")), "{xml}");
    }
    rebuild(dir.path()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("junit.xml")).unwrap(), xml);
}
