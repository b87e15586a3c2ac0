//! JUnit as two parsers that know nothing of each other read it.

use std::collections::BTreeSet;

use hil_core::event::What;
use hil_core::verdict::Verdict;
use hil_report::{junit, report::Report};
use quick_xml::events::Event as Xml;

use crate::fold::report;
use crate::hostile;
use crate::sample::{Run, plan, whole};

/// One testcase as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Read {
    pub(crate) suite: String,
    pub(crate) class: String,
    pub(crate) name: String,
    /// `failure`, `error`, `skipped`, or empty.
    pub(crate) kind: String,
    pub(crate) type_: String,
    pub(crate) message: String,
    pub(crate) cause: String,
    pub(crate) out: String,
}

pub(crate) fn by_roxmltree(xml: &str) -> Vec<Read> {
    let document = roxmltree::Document::parse(xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
    let text = |node: roxmltree::Node<'_, '_>| -> String {
        node.children().filter_map(|child| child.text()).collect()
    };
    let attribute =
        |node: roxmltree::Node<'_, '_>, name| node.attribute(name).unwrap_or_default().to_string();
    let testcases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    testcases
        .map(|node| {
            let mut read = Read {
                suite: attribute(node.parent().unwrap(), "name"),
                class: attribute(node, "classname"),
                name: attribute(node, "name"),
                ..Read::default()
            };
            for child in node.children().filter(|child| child.is_element()) {
                match child.tag_name().name() {
                    "system-out" => read.out = text(child),
                    kind => {
                        read.kind = kind.to_string();
                        read.type_ = attribute(child, "type");
                        read.message = attribute(child, "message");
                        read.cause = text(child);
                    }
                }
            }
            read
        })
        .collect()
}

fn by_quick_xml(xml: &str) -> Vec<Read> {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_comments = true;
    let (mut all, mut suite, mut within) = (Vec::<Read>::new(), String::new(), String::new());
    let mut in_case = false;
    loop {
        let event = reader.read_event().unwrap_or_else(|e| panic!("{e}\n{xml}"));
        let empty = matches!(event, Xml::Empty(_));
        match event {
            Xml::Start(tag) | Xml::Empty(tag) => {
                let attribute = |name: &str| {
                    let found = tag.try_get_attribute(name).unwrap();
                    found
                        .map(|a| {
                            a.normalized_value(quick_xml::XmlVersion::Explicit1_0)
                                .unwrap()
                                .into_owned()
                        })
                        .unwrap_or_default()
                };
                within = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                in_case |= within == "testcase";
                match within.as_str() {
                    "testsuite" => suite = attribute("name"),
                    "testcase" => all.push(Read {
                        suite: suite.clone(),
                        class: attribute("classname"),
                        name: attribute("name"),
                        ..Read::default()
                    }),
                    "failure" | "error" | "skipped" => {
                        let read = all.last_mut().unwrap();
                        read.kind.clone_from(&within);
                        (read.type_, read.message) = (attribute("type"), attribute("message"));
                    }
                    _ => {}
                }
                if empty {
                    in_case &= within != "testcase";
                    within.clear();
                }
            }
            Xml::CData(data) => {
                let text = String::from_utf8(data.into_inner().into_owned()).unwrap();
                match (within.as_str(), all.last_mut()) {
                    // The suite's own system-out comes after its cases.
                    ("system-out", Some(read)) if in_case => read.out.push_str(&text),
                    ("failure" | "error" | "skipped", Some(read)) => read.cause.push_str(&text),
                    _ => {}
                }
            }
            Xml::End(tag) => in_case &= tag.name().as_ref() != b"testcase",
            Xml::Eof => return all,
            _ => {}
        }
    }
}

/// What both parsers agree on.
pub(crate) fn parsed(xml: &str) -> Vec<Read> {
    let bad = |ch: &char| {
        let forbidden = matches!(*ch, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f');
        forbidden || matches!(*ch, '\u{fffe}' | '\u{ffff}')
    };
    assert_eq!(xml.chars().find(bad), None, "a lenient parser would not have told");
    let (one, other) = (by_roxmltree(xml), by_quick_xml(xml));
    assert_eq!(one, other);
    one
}

fn read<'r>(all: &'r [Read], name: &str) -> &'r Read {
    all.iter().find(|read| read.name == name).unwrap_or_else(|| panic!("no {name} in {all:#?}"))
}

#[test]
fn each_standing_has_its_element() {
    let all = parsed(&junit(&[report(whole("qemu-arm"))]));
    let brief = |name: &str| {
        let Read { class, kind, type_, message, .. } = read(&all, name);
        [class.as_str(), kind, type_, message].map(String::from)
    };
    let boot = "qemu-arm.boot";
    let clock = "the clock is 1970-01-01 / expected 2026";
    assert_eq!(brief("ready"), [boot, "", "", ""]);
    assert_eq!(brief("slot"), [boot, "", "", ""]);
    assert_eq!(brief("clock"), [boot, "failure", "fail", clock]);
    let taint = "expected failure: bug 12: tainted: 512";
    assert_eq!(brief("taint"), [boot, "skipped", "expected-failure", taint]);
    let run = brief("run");
    assert_eq!(run, ["qemu-arm.containers", "error", "infra", "QEMU died: signal 9"]);
    let logs = brief("logs");
    assert_eq!(logs[1..], ["skipped", "skip", "not run: QEMU died: signal 9"]);
    assert_eq!(brief("rollback")[1..3], ["skipped", "skip"]);
    assert_eq!(read(&all, "clock").cause, "the clock is 1970-01-01\nexpected 2026");
    assert!(read(&all, "slot").out.contains("expected to fail (bug 13)"));
}

#[test]
fn a_required_skip_and_a_killed_case_are_not_green() {
    let plan = plan("b", &[("os", &["s/a!", "s/b#2"])], &[]);
    let run = Run::of(plan).session("os").skip("s/a", "no network").begin("s/b#2");
    let all = parsed(&junit(&[report(run)]));
    assert_eq!(read(&all, "a").kind, "failure");
    assert_eq!(read(&all, "a").message, "required, but skipped: no network");
    assert_eq!(
        (read(&all, "b#2").kind.as_str(), read(&all, "b#2").type_.as_str()),
        ("error", "infra")
    );
}

#[test]
fn system_out_holds_what_is_known_of_a_case() {
    let all = parsed(&junit(&[report(whole("qemu-arm"))]));
    let out = &read(&all, "run").out;
    let expected = "image: demo-os full\n\
        seed: 7\n\
        kernel oops at byte 512 of the console: Oops: 0002 [#1]\n\
        note: the console was slow\n\
        --- the console's last lines ---\n\
        a\n\
        b\n\
        [[ATTACHMENT|run/strace.txt]]\n";
    assert_eq!(out, expected);
    assert!(read(&all, "ready").out.contains("fact: login = 0.333 s"));
}

#[test]
fn counts_times_and_names_are_the_suites_own() {
    let xml = junit(&[report(whole("qemu-arm"))]);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suites: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name("testsuite")).collect();
    let head = |index: usize| {
        ["name", "tests", "failures", "errors", "timestamp", "time", "hostname"]
            .map(|name| suites[index].attribute(name).unwrap())
    };
    let host = "builder, 2 cores";
    let begun = "2026-11-23T10:00:02Z";
    assert_eq!(head(0), ["qemu-arm.boot", "5", "1", "0", begun, "7.5", host]);
    let begun = "2026-11-23T10:00:07Z";
    assert_eq!(head(1), ["qemu-arm.containers", "2", "0", "1", begun, "3", host]);
    assert_eq!(suites.len(), 3);
}

/// The merged document is the boards' documents, one after the other.
#[test]
fn the_merged_document_is_the_sum_of_the_boards() {
    let boards: Vec<Report> = ["qemu-arm", "qemu-aarch64"].map(|b| report(whole(b))).into();
    let merged = parsed(&junit(&boards));
    let mut sum = parsed(&junit(&boards[1..]));
    sum.extend(parsed(&junit(&boards[..1])));
    assert_eq!(merged, sum);
    let names: BTreeSet<(&str, &str)> =
        merged.iter().map(|read| (read.class.as_str(), read.name.as_str())).collect();
    assert_eq!(names.len(), 16);
}

#[test]
fn names_that_become_equal_are_told_apart() {
    let mut plan = plan("b", &[("os", &["s/a", "s/b", "s/c"])], &[]);
    for (case, name) in plan.sessions[0].cases.iter_mut().zip(["x\ty", "x y", "x\n\ny"]) {
        case.id.name = name.into();
    }
    let all = parsed(&junit(&[report(Run::of(plan).finished())]));
    let names: Vec<&str> = all.iter().map(|read| read.name.as_str()).collect();
    assert_eq!(names, ["x y", "x y (2)", "x / y"]);
}

#[test]
fn hostile_text_parses_and_can_be_recognised() {
    for seed in 0..1500 {
        let run = hostile::run(seed);
        let reports = [report(run.clone())];
        let xml = junit(&reports);
        assert_eq!(xml, junit(&[report(run)]), "seed {seed}");
        let all = parsed(&xml);
        assert_eq!(all.len(), reports[0].cases.len(), "seed {seed}");
        let unique: BTreeSet<(&str, &str)> = all.iter().map(|r| (&*r.class, &*r.name)).collect();
        assert_eq!(unique.len(), all.len(), "seed {seed}");
        for case in reports[0].cases.iter().filter(|case| case.verdict == Verdict::Fail) {
            let read = read(&all, &case.id.name);
            let words = |text: &str| text.matches("plain words").count();
            let why = case.why.as_deref().unwrap();
            if read.kind == "failure" {
                assert_eq!(words(&read.cause), words(why), "seed {seed}");
                assert_eq!(read.cause.matches("]]>").count(), why.matches("]]>").count());
            }
            let console = case.console.join("\n");
            assert!(words(&read.out) >= words(&console), "seed {seed}");
            // Those hil writes itself, and none that a guest has printed.
            let marks = read.out.matches("[[ATTACHMENT|").count();
            assert_eq!(marks, case.attachments.len(), "seed {seed}");
        }
    }
}

#[test]
fn the_classic_five_are_visible() {
    let why = "ESC \x1b NUL \0 BEL \x07 end ]]> FFFE \u{fffe} bad \u{fffd}";
    let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os");
    let all = parsed(&junit(&[report(run.fail("s/a", why).finished())]));
    let shown = r"ESC \x1b NUL \x00 BEL \x07 end ]]> FFFE \u{fffe} bad �";
    assert_eq!((all[0].cause.as_str(), all[0].message.as_str()), (shown, shown));
}

#[test]
fn a_gigantic_reason_is_bounded() {
    let why = "x".repeat(10 << 20);
    let run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os").begin("s/a");
    let run = run.end("s/a", Verdict::Fail, Some(&why), &[&why, &why]).note(&why).finished();
    let xml = junit(&[report(run)]);
    assert!(xml.len() < 100_000, "{}", xml.len());
    assert!(parsed(&xml)[0].cause.contains("bytes left out"));
}

/// A start that is no moment, or one that would be past what a date can say.
#[test]
fn an_impossible_clock_gives_a_document_all_the_same() {
    let (last, first) = ("9999-12-31T23:59:59Z", "0000-01-01T00:00:00+01:00");
    for (started, t) in [("yesterday", 1.0), (last, 1e18), (first, 0.0), ("\0", f64::MAX)] {
        let mut run = Run::of(plan("b", &[("os", &["s/a"])], &[])).session("os").begin("s/a");
        let index = run.events.len() - 1;
        run.events[index].t = t;
        if let What::RunStarted { started: at, .. } = &mut run.events[0].what {
            *at = started.into();
        }
        let mut run = run.pass("s/a").finished();
        for event in &mut run.events {
            if let What::CaseFinished { took, .. } = &mut event.what {
                *took = -t;
            }
        }
        let xml = junit(&[report(run)]);
        assert_eq!(parsed(&xml).len(), 2, "{started}");
        assert!(!xml.contains("time=\"-"), "{xml}");
    }
}
