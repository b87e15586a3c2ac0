//! `events.jsonl`: written line by line, read back whole, torn or refused.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::event::{Event, Sink, What};
use hil_core::mask::Masker;
use hil_core::plan::CaseId;
use hil_core::verdict::{Verdict, exit};
use hil_report::{EventsFile, Merged, fold, read_events};

use crate::fold::names;
use crate::hostile::Random;
use crate::sample::{Run, id, plan, whole};

fn write(dir: &Path, run: &Run, masker: Masker) -> PathBuf {
    let file = EventsFile::create(dir, masker).unwrap();
    run.events.iter().for_each(|event| file.event("b", event));
    assert_eq!(file.fault(), None);
    file.path().to_path_buf()
}

#[test]
fn events_read_back_as_they_were_written_one_a_line() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..50 {
        let run = crate::hostile::run(seed);
        let path = write(dir.path(), &run, Masker::default());
        let read = read_events(&path).unwrap();
        assert_eq!((&read.events, read.torn), (&run.events, None), "seed {seed}");
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, run.events.len());
    }
}

#[test]
fn figures_come_back_to_the_last_bit_and_impossible_ones_as_notes() {
    let dir = tempfile::tempdir().unwrap();
    let fact = |value| What::Fact { case: None, name: "x".into(), value, unit: "s".into() };
    // Some in a hundred of all figures change in their last bit unless serde_json is told.
    let mut random = Random(7);
    let figures: Vec<f64> =
        (0..2000).map(|_| f64::from_bits(random.next())).filter(|f| f.is_finite()).collect();
    let run = figures.iter().copied().map(fact).fold(Run::of(plan("b", &[], &[])), Run::then);
    let recorded = run.events.len();
    let run = run.then(fact(f64::NAN));
    let read = read_events(&write(dir.path(), &run, Masker::default())).unwrap();
    assert!(read.events[..recorded] == run.events[..recorded], "a figure has changed");
    let text = "the figure x is NaN s: not recorded".to_string();
    assert_eq!(read.events[recorded].what, What::Note { text });
}

/// Cut anywhere, the events still give every case of the plan a place, and never a green run.
#[test]
fn a_run_killed_at_any_byte_gives_a_complete_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = whole("b");
    let path = write(dir.path(), &run, Masker::default());
    let bytes = fs::read(&path).unwrap();
    let first = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let planned = names(&fold(&run.events).unwrap());
    for length in first..bytes.len() - 1 {
        fs::write(&path, &bytes[..length]).unwrap();
        let read = read_events(&path).unwrap();
        let newlines = bytes[..length].iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(
            read.torn.is_some(),
            read.events.len() == newlines && bytes[length - 1] != b'\n'
        );
        let report = fold(&read.events).unwrap();
        let found = names(&report);
        assert!(planned.iter().all(|name| found.contains(name)), "{length}: {found:?}");
        let running = running_at_the_end(&read.events);
        if read.events.len() < run.events.len() {
            assert_ne!(Merged::of(vec![&report]).exit_code(), exit::OK, "{length}");
            let broken = running.unwrap_or(CaseId { suite: "hil".into(), ..id("hil/run") });
            let case = report.cases.iter().find(|case| case.id == broken).unwrap();
            assert_eq!(case.verdict, Verdict::Broken, "{length}");
            assert!(case.why.as_ref().unwrap().starts_with("interrupted: hil died"), "{length}");
        }
    }
}

fn running_at_the_end(events: &[Event]) -> Option<CaseId> {
    events.iter().fold(None, |running, event| match &event.what {
        What::CaseStarted { case } => Some(case.clone()),
        What::CaseFinished { .. } => None,
        _ => running,
    })
}

#[test]
fn garbage_before_the_end_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &whole("b"), Masker::default());
    let mut lines: Vec<String> =
        fs::read_to_string(&path).unwrap().lines().map(String::from).collect();
    lines[3] = "{\"t\": 1.0, \"what\": {\"unheard-of\": {}}}".into();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let error = read_events(&path).unwrap_err().to_string();
    let start = format!("read {} line 4: no event of hil: unknown variant", path.display());
    assert!(error.starts_with(&start), "{error}");
    // A whole last line that is garbage was not torn by a kill.
    fs::write(&path, b"\xff\xfe\0\n").unwrap();
    assert!(read_events(&path).unwrap_err().to_string().contains("line 1"));
}

#[test]
fn events_of_another_schema_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    for line in [
        // One that has changed its shape as well, and one that has not.
        "{\"t\":0,\"what\":{\"run-started\":{\"schema\":2,\"new\":[]}}}\n".to_string(),
        serde_json::to_string(&whole("b").events[0])
            .unwrap()
            .replace("\"schema\":1", "\"schema\":2"),
    ] {
        fs::write(&path, line).unwrap();
        let error = read_events(&path).unwrap_err().to_string();
        assert!(error.contains("schema 2, this hil reads schema 1"), "{error}");
    }
    let error = EventsFile::create(&dir.path().join("none"), Masker::default()).err().unwrap();
    assert!(error.to_string().starts_with("create ") && error.to_string().contains("none"));
    assert!(read_events(&dir.path().join("none")).unwrap_err().to_string().starts_with("read "));
}

#[test]
fn no_secret_reaches_the_file_and_the_format_survives_secrets_that_look_like_it() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = ["hunter2-long", "pass", "kernel", "run-started", "skip"];
    let secret = "hunter2-long";
    let run = Run::of(plan("b", &[("os hunter2-long", &["s/a", "s/b"])], &[("s/c", secret)]))
        .session("os hunter2-long")
        .booted()
        .note(secret)
        .begin("s/a")
        .then(What::Attachment { case: id("s/a"), path: secret.into() })
        .then(What::Alarm { alarm: hil_core::parts::Alarm::Oom, line: secret.into(), offset: 0 })
        .then(What::Fact { case: None, name: secret.into(), value: 1.0, unit: secret.into() })
        .end("s/a", Verdict::Fail, Some(secret), &["x", secret])
        .pass("s/b")
        .failed_bring_up(Verdict::Fail, secret)
        .finished();
    let path = write(dir.path(), &run, Masker::new(secrets));
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret), "{text}");
    let read = read_events(&path).unwrap();
    assert_eq!(read.events.len(), run.events.len());
    let report = fold(&read.events).unwrap();
    assert_eq!(report.totals().passed, 1);
    assert_eq!(report.sessions.len(), 1, "the masked image is still the planned one");
}
