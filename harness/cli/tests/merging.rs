//! Shards, a resumed run and `hil merge`, through the real binary, on a kernel that boots in no time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Ended, example_doing, hil, run};

fn boot(image: &Path, out: &Path) -> Command {
    let mut command = hil();
    command.args(["run", "--board", "qemu-aarch64", "--suite", "boot", "--image"]).arg(image);
    command.arg("--out").arg(out);
    command
}

fn merge(parts: &[&Path], out: &Path) -> Ended {
    run(hil().arg("merge").args(parts).arg("--out").arg(out))
}

fn testcases(out: &Path) -> Vec<String> {
    let xml = common::junit(out);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let names = document.descendants().filter(|node| node.has_tag_name("testcase"));
    names.filter_map(|node| node.attribute("name")).map(String::from).collect()
}

#[test]
fn shards_are_merged_into_the_one_run_and_what_is_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[stages]\nkernel = \"Linux version \"\nready = \"example ready\"\n";
    let image = example_doing(dir.path(), "aarch64", "", more);
    let [one, two, whole, merged, half] =
        ["1", "2", "whole", "merged", "half"].map(|name| dir.path().join(name));
    assert_eq!(run(&mut boot(&image, &whole)).code, Some(0));
    for (shard, out) in [("1/2", &one), ("2/2", &two)] {
        let ended = run(boot(&image, out).args(["--shard", shard]));
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    }
    let ended = merge(&[&two, &one], &merged);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("run 1 of 2: shard 1/2"), "{}", ended.out);
    assert_eq!(testcases(&merged), testcases(&whole));
    let before = common::junit(&merged);
    assert_eq!(run(hil().arg("report").arg(&merged)).code, Some(0));
    assert_eq!(common::junit(&merged), before, "a rebuilt report differs");

    // Half of the shards is no whole run; the rest of it is what is left to resume.
    let ended = merge(&[&one], &half);
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.out.contains("no run that was merged had this case"), "{}", ended.out);
    let plan = run(hil()
        .args(["plan", "--board", "qemu-aarch64", "--suite", "boot", "--image"])
        .arg(&image)
        .arg("--resume")
        .arg(&half));
    let left: Vec<&str> = plan.out.lines().filter(|line| line.starts_with("    boot/")).collect();
    assert_eq!(left.len(), 1, "{}", plan.out);

    // What does not belong together is refused, and what is merged is never emptied.
    let other = dir.path().join("other");
    let ended = run(boot(&image, &other).args(["--shard", "2/2", "--seed", "7"]));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let ended = merge(&[&one, &other], &half);
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("seed: `1` in run 1, `7` in run 2"), "{}", ended.said);
    assert_eq!(merge(&[&one, &two], &one).code, Some(2));
    assert!(fs::exists(one.join("qemu-aarch64/events.jsonl")).unwrap());
}

#[test]
fn shards_that_are_none_and_retries_that_cannot_be_are_usage_errors() {
    for (words, told) in [
        (["--shard", "3/2"], "I from 1 to N"),
        (["--shard", "half"], "I from 1 to N"),
        (["--retries", "many"], "invalid value"),
        (["--flaky", "maybe"], "possible values: pass, fail"),
    ] {
        let ended = run(hil().args(["run", "--board", "qemu-arm"]).args(words));
        assert_eq!(ended.code, Some(2));
        assert!(ended.said.contains(told), "{}", ended.said);
    }
    let both = run(hil().args(["run", "--board", "qemu-arm", "--retries", "1", "--keep"]));
    assert!(both.code == Some(2) && both.said.contains("cannot be used with"), "{}", both.said);
}
