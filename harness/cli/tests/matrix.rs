//! The kill matrix: broken variants of demo-os make the cases fail that they name, and none of those
//! that run beside them. A few of them always; all with `ci/test --all`, which takes more than an hour.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Ended, ended, root, run, unasked};

/// One for each suite that a small image can fail, and one that takes an engine.
const FEW: &[&str] = &["version-stale", "stranger-trusted", "fsync-ignored", "oom-takes-neighbour"];

fn matrix(out: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(root().join("ci/matrix"));
    unasked(&mut command);
    command.args(["--hil", env!("CARGO_BIN_EXE_hil"), "--out"]).arg(out).args(words);
    command
}

/// Every case was killed, none survived, and of those to be spared none was skipped or harmed.
fn is_whole(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(!ended.out.contains("no verdict beside"), "{}", ended.said);
    assert!(ended.out.contains(" 0 survived; "), "{}", ended.said);
}

#[test]
fn a_few_variants_make_their_cases_fail_and_none_beside_them() {
    let out = tempfile::tempdir().unwrap();
    let ended = run(&mut matrix(out.path(), FEW));
    is_whole(&ended);
    for line in [
        "| version-stale | boot/version-as-built | yes |",
        "| stranger-trusted | ota/wrong-key-refused | yes | the bundle was installed",
        "| fsync-ignored | power-cut/synced-data-survives | yes | acknowledged-data-present: ",
        "| oom-takes-neighbour | limits/host-out-of-memory | yes | the neighbour was harmed: ",
    ] {
        assert!(ended.out.contains(line), "no `{line}`: {}", ended.said);
    }
}

#[test]
fn a_case_that_survives_or_fails_beside_them_is_told() {
    let out = tempfile::tempdir().unwrap();
    is_whole(&run(&mut matrix(out.path(), &["version-stale"])));
    let file = out.path().join("version-stale/result.json");
    let result = std::fs::read_to_string(&file).unwrap();
    let told_with = |old: &str, new: &str| {
        assert!(result.contains(old), "{result}");
        std::fs::write(&file, result.replace(old, new)).unwrap();
        run(&mut matrix(out.path(), &["version-stale"]))
    };
    let survived = told_with("version-as-built\": [\"fail", "version-as-built\": [\"pass");
    assert_eq!(survived.code, Some(1), "{}", survived.said);
    assert!(survived.out.contains("| **survived** |"), "{}", survived.said);
    let harmed = told_with("clock-sane\": [\"pass", "clock-sane\": [\"fail");
    assert_eq!(harmed.code, Some(1), "{}", harmed.said);
    assert!(harmed.out.contains("not spared by version-stale: boot/clock-sane"), "{}", harmed.said);
    let skipped = told_with("clock-sane\": [\"pass", "clock-sane\": [\"skip");
    assert!(skipped.said.contains("==> version-stale"), "not run again: {}", skipped.said);
    is_whole(&skipped);
    // What is of another hil, image or variant is not believed, whatever it says.
    let another = result.replace("version-as-built\": [\"fail", "version-as-built\": [\"pass");
    std::fs::write(&file, another.replace("\"key\": \"", "\"key\": \"another")).unwrap();
    is_whole(&run(&mut matrix(out.path(), &["version-stale"])));
}

/// In two shards, for two processors; a run that was stopped goes on where it was.
#[test]
#[ignore = "takes more than an hour; `ci/test --all` runs it"]
fn every_case_is_made_to_fail() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix");
    let shard = |nth| matrix(&out, &["--again", "--shard", nth]).spawn().unwrap();
    for mut shard in [shard("1/2"), shard("2/2")] {
        // What it says of the other's variants is not whole yet.
        shard.wait().unwrap();
    }
    let whole = ended(matrix(&out, &[]).output().unwrap());
    println!("{}", whole.out);
    is_whole(&whole);
}
