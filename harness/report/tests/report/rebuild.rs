//! The files of a run, written and rebuilt.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::event::Sink;
use hil_core::mask::Masker;
use hil_core::verdict::exit;
use hil_report::rebuild::report_of;
use hil_report::{EventsFile, Merged, rebuild, write_reports};

use crate::junit::by_roxmltree;
use crate::sample::{Run, whole};

fn record(out: &Path, board: &str, run: &Run) -> PathBuf {
    let dir = out.join(board);
    fs::create_dir_all(&dir).unwrap();
    let file = EventsFile::create(&dir, Masker::default()).unwrap();
    run.events.iter().for_each(|event| file.event(board, event));
    dir
}

const FILES: [&str; 9] = [
    "junit.xml",
    "summary.md",
    "report.html",
    "qemu-arm/junit.xml",
    "qemu-arm/summary.md",
    "qemu-arm/report.html",
    "qemu-x86_64/junit.xml",
    "qemu-x86_64/summary.md",
    "qemu-x86_64/report.html",
];

fn contents(out: &Path) -> Vec<String> {
    FILES.iter().map(|name| fs::read_to_string(out.join(name)).unwrap()).collect()
}

#[test]
fn a_rebuild_writes_byte_for_byte_what_the_run_wrote() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    // In the order of a command line, which is not that of the names.
    let boards: Vec<_> = ["qemu-x86_64", "qemu-arm"]
        .map(|board| record(out, board, &whole(board)))
        .into_iter()
        .map(|dir| (dir.clone(), report_of(&dir).unwrap()))
        .collect();
    let written = write_reports(out, &boards).unwrap();
    assert_eq!(written.len(), FILES.len());
    let before = contents(out);
    FILES.iter().for_each(|name| fs::remove_file(out.join(name)).unwrap());

    let rebuilt = rebuild(out).unwrap();
    assert_eq!(rebuilt.reports.len(), 2);
    assert!(contents(out) == before, "the rebuilt files differ");
    assert_eq!(Merged::new(&rebuilt.reports).exit_code(), exit::FAILED);

    fs::remove_file(out.join("qemu-arm/junit.xml")).unwrap();
    let rebuilt = rebuild(&out.join("qemu-arm")).unwrap();
    assert_eq!(rebuilt.written.len(), 3);
    assert!(contents(out) == before, "one board's rebuilt files differ");
    let left = fs::read_dir(out).unwrap().count();
    assert_eq!(left, 5, "drafts were left behind");
}

#[test]
fn the_merged_files_find_each_boards_attachments() {
    let out = tempfile::tempdir().unwrap();
    record(out.path(), "qemu-arm", &whole("qemu-arm"));
    rebuild(out.path()).unwrap();
    let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    assert!(text("junit.xml").contains("[[ATTACHMENT|qemu-arm/run/strace.txt]]"));
    assert!(text("qemu-arm/junit.xml").contains("[[ATTACHMENT|run/strace.txt]]"));
    assert!(text("report.html").contains("href=\"./qemu-arm/run/strace.txt\""));
}

#[test]
fn a_torn_end_is_told_in_the_reports() {
    let out = tempfile::tempdir().unwrap();
    let dir = record(out.path(), "b", &whole("b"));
    let path = dir.join("events.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let rebuilt = rebuild(out.path()).unwrap();
    let note = rebuilt.reports[0].notes.last().unwrap();
    assert!(note.contains("cut short"), "{note}");
    assert!(fs::read_to_string(dir.join("junit.xml")).unwrap().contains("cut short"));
}

#[test]
fn a_run_that_died_before_its_first_event_is_an_error_not_a_hole() {
    let out = tempfile::tempdir().unwrap();
    record(out.path(), "qemu-arm", &whole("qemu-arm"));
    let dir = record(out.path(), "qemu-x86_64", &whole("qemu-x86_64"));
    for text in ["", "{\"t\":0.0,\"wh"] {
        fs::write(dir.join("events.jsonl"), text).unwrap();
        rebuild(out.path()).unwrap();
        let all = by_roxmltree(&fs::read_to_string(out.path().join("junit.xml")).unwrap());
        assert_eq!(all.len(), 9, "{all:?}");
        let junit = fs::read_to_string(dir.join("junit.xml")).unwrap();
        assert!(junit.contains("classname=\"qemu-x86_64.hil\"><error type=\"infra\""), "{junit}");
    }
}

#[test]
fn what_cannot_be_rebuilt_says_why_and_changes_nothing() {
    let out = tempfile::tempdir().unwrap();
    let error = rebuild(out.path()).unwrap_err().to_string();
    assert!(error.contains("give the --out directory of a run"), "{error}");
    let error = rebuild(&out.path().join("none")).unwrap_err().to_string();
    assert!(error.starts_with("list "), "{error}");

    record(out.path(), "a", &whole("a"));
    let dir = record(out.path(), "b", &whole("b"));
    fs::write(dir.join("events.jsonl"), "garbage\n").unwrap();
    let error = rebuild(out.path()).unwrap_err().to_string();
    assert!(error.contains("b/events.jsonl line 1"), "{error}");
    assert!(!out.path().join("junit.xml").exists() && !out.path().join("a/junit.xml").exists());
}
