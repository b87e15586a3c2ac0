//! Keeps the house as ARCHITECTURE.md draws it: the dependency rule, and the size of files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What each crate may depend on. A crate that is not here fails the test: decide its place first.
const MAY: &[(&str, &[&str])] = &[
    ("hil-core", &[]),
    ("hil-disk", &[]),
    ("hil-qemu", &["hil-core"]),
    ("hil-console", &["hil-core"]),
    ("hil-lab", &["hil-core"]),
    ("hil-run", &["hil-core"]),
    ("hil-report", &["hil-core"]),
    ("hil-tap", &[]),
    ("hil-suites", &["hil-core", "hil-tap"]),
    // A fixture: it may use the house, and nothing of the house may use it.
    ("hil-virtual-lab", &["hil-core", "hil-disk", "hil-qemu"]),
    (
        "hil-cli",
        &[
            "hil-core",
            "hil-disk",
            "hil-qemu",
            "hil-console",
            "hil-lab",
            "hil-run",
            "hil-report",
            "hil-suites",
        ],
    ),
];

#[test]
fn dependencies_run_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&text);
    let may: BTreeMap<&str, BTreeSet<&str>> =
        MAY.iter().map(|(name, deps)| (*name, deps.iter().copied().collect())).collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), MAY.len(), "a crate was added or removed: update the rule");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let allowed = may.get(name).unwrap_or_else(|| panic!("{name} has no place in the house"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            // A test may use more of the house than the code it tests.
            let for_tests = dependency["kind"].as_str() == Some("dev");
            let fine = for_tests || !other.starts_with("hil-") || allowed.contains(other);
            assert!(fine, "{name} must not depend on {other}");
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_say_what_they_answer_for_and_stay_readable() {
    let mut files = Vec::new();
    sources(&root().join("harness"), &mut files);
    sources(&root().join("suites"), &mut files);
    sources(&root().join("fixtures/virtual-lab"), &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let shown = file.display();
        assert!(text.starts_with("//! "), "{shown}: the first line says what it answers for");
        assert!(text.lines().count() <= 600, "{shown} is longer than 600 lines");
        let name = file.file_stem().unwrap().to_string_lossy();
        // Command lines and other snapshots in tests are as long as they are.
        let most = if name.ends_with("tests") { 400 } else { 110 };
        let long = text.lines().position(|line| line.chars().count() > most);
        assert!(long.is_none(), "{shown}:{} is too long a line", long.unwrap_or(0) + 1);
        assert!(name != "utils" && name != "util", "{shown}: name it by what it does");
    }
}
