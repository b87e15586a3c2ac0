//! Updates of demo-os with real RAUC: installed and kept, refused, rolled back. That the suite sees it
//! when an image takes what it must not is in `matrix`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::path::Path;

use serde_json::Value;

const CASES: &[&str] = &[
    "install-and-switch",
    "corrupt-refused",
    "downgrade-policy",
    "interrupted-download",
    "init-exits",
];

/// Runs cases on this manifest's image; how it ended.
fn run(manifest: &Path, cases: &[&str], out: &Path) -> common::Ended {
    let mut command = common::hil();
    command.args(["run", "--board", "qemu-aarch64", "--image"]).arg(manifest);
    command.arg("--out").arg(out);
    for case in cases {
        command.args(["--case", &format!("ota/{case}")]);
    }
    common::run(&mut command)
}

/// A fact of a run, by its name.
fn fact(events: &[Value], name: &str) -> f64 {
    let facts = events.iter().filter_map(|event| event["what"].get("fact"));
    let found = facts.clone().find(|fact| fact["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {events:?}"))["value"].as_f64().unwrap()
}

#[test]
fn updates_are_installed_refused_and_rolled_back() {
    let out = tempfile::tempdir().unwrap();
    let manifest = common::demo("aarch64", "mini").join("image.toml");
    let ended = run(&manifest, CASES, out.path());
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("5 cases: 5 passed"), "{}", ended.said);
    assert!(!ended.said.contains("files go over SSH"), "{}", ended.said);
    let events = common::events(out.path(), "qemu-aarch64");
    // What the slot's file system holds has been written, and a little more.
    let written = fact(&events, "update.written");
    assert!((50e6..120e6).contains(&written), "{written} bytes written");
    // RAUC maps its bundle and holds a few buffers; the board has not much more than that to give.
    let taken = fact(&events, "update.peak-memory");
    assert!((1e5..200e6).contains(&taken), "{taken} bytes of memory taken");
    assert!(fact(&events, "update.install") > 0.0 && fact(&events, "update.fallback") > 0.0);
}
