//! JUnit, as CI systems really read it: one testcase a case, under a name that no other has.
//!
//! A product's failure is `<failure>`, the rack's trouble is `<error type="infra">`. `junit-report`
//! writes the XML but passes on characters that no parser takes, so every text is made safe first.

use std::collections::BTreeSet;

use junit_report::{Duration, OffsetDateTime, TestCase, TestResult, TestSuite};
use time::format_description::well_known::Rfc3339;

use crate::report::{Attempt, CaseReport, Merged, Placed, Report, Session, Standing};
use crate::safe_text::{block, cdata, figure, last_lines, one_line, visible};

/// Bounds that keep some hundred failures with their consoles within the 30 MB GitLab reads.
const MOST_NAME: usize = 200;
const MOST_MESSAGE: usize = 1000;
const MOST_WHY: usize = 16 << 10;
const MOST_CONSOLE: usize = 32 << 10;
const MOST_LINE: usize = 1000;
const MOST_NOTES: usize = 8 << 10;

/// The reports as one JUnit document, with attachments relative to the board's directory.
pub fn junit(reports: &[Report]) -> String {
    let merged = Merged::new(reports);
    let placed: Vec<Placed<'_>> =
        merged.reports.iter().map(|&report| Placed { report, under: "" }).collect();
    junit_of(&placed)
}

/// The same, with each board's attachments where they lie from the document's point of view.
pub(crate) fn junit_of(placed: &[Placed<'_>]) -> String {
    let mut names = BTreeSet::new();
    let mut document = junit_report::Report::new();
    for placed in placed {
        document.add_testsuites(testsuites(*placed, &mut names));
    }
    let mut xml = Vec::new();
    match document.write_xml(&mut xml) {
        Ok(()) => xml.push(b'\n'),
        // It writes to memory, where nothing can fail; if something does, no half a document.
        Err(error) => {
            xml = format!("<!-- no JUnit: {} -->\n", one_line(&error.to_string(), 200)).into();
        }
    }
    String::from_utf8_lossy(&xml).into_owned()
}

/// One testsuite for each suite of a board, in the order of their first cases.
fn testsuites(placed: Placed<'_>, names: &mut BTreeSet<(String, String)>) -> Vec<TestSuite> {
    let report = placed.report;
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in &report.cases {
        let name = one_line(&format!("{}.{}", report.board, case.id.suite), MOST_NAME);
        let index = suites.iter().position(|suite| suite.name == name).unwrap_or_else(|| {
            suites.push(testsuite(report, &case.id.suite, name.clone()));
            suites.len() - 1
        });
        suites[index].add_testcase(testcase(placed, case, &name, names));
        for (nth, attempt) in case.attempts.iter().enumerate() {
            suites[index].add_testcase(attempted(case, nth + 1, attempt, &name, names));
        }
    }
    if let (Some(suite), Some(text)) = (suites.first_mut(), about_the_run(report)) {
        suite.set_system_out(&cdata(&text));
    }
    suites
}

fn testsuite(report: &Report, suite: &str, name: String) -> TestSuite {
    let cases = report.cases.iter().filter(|case| case.id.suite == suite);
    let began = cases.filter_map(|case| case.started).reduce(f64::min);
    TestSuite {
        name,
        package: one_line(&report.board, MOST_NAME),
        timestamp: moment(&report.started, began.unwrap_or_default()),
        hostname: one_line(&report.host, MOST_NAME),
        testcases: Vec::new(),
        system_out: None,
        system_err: None,
    }
}

fn testcase(
    placed: Placed<'_>,
    case: &CaseReport,
    class: &str,
    names: &mut BTreeSet<(String, String)>,
) -> TestCase {
    TestCase {
        name: unique(class, own_name(case), names),
        time: duration(case.took),
        result: result(case),
        classname: Some(class.to_string()),
        filepath: None,
        system_out: system_out(placed, case).map(|text| cdata(&text)),
        system_err: None,
    }
}

/// A failed attempt at a case that was run again. No reader knows of retries (Jenkins ignores
/// Surefire's `flakyFailure`), but each counts and shows what was skipped, with its message.
fn attempted(
    case: &CaseReport,
    nth: usize,
    attempt: &Attempt,
    class: &str,
    names: &mut BTreeSet<(String, String)>,
) -> TestCase {
    let text = format!("attempt {nth} failed, the case was run again: {}", attempt.why);
    let console = last_lines(&attempt.console, MOST_LINE, MOST_CONSOLE).join("\n");
    TestCase {
        name: unique(class, format!("{} (attempt {nth})", own_name(case)), names),
        time: duration(attempt.took),
        result: TestResult::SkippedWithCause {
            type_: "retried".into(),
            message: one_line(&text, MOST_MESSAGE),
            cause: Some(cdata(&no_attachment(&block(&text, MOST_WHY)))),
        },
        classname: Some(class.to_string()),
        filepath: None,
        system_out: (!console.is_empty()).then(|| cdata(&no_attachment(&console))),
        system_err: None,
    }
}

fn own_name(case: &CaseReport) -> String {
    let round = if case.id.round > 1 { format!("#{}", case.id.round) } else { String::new() };
    format!("{}{round}", one_line(&case.id.name, MOST_NAME))
}

/// Readers count only the first of equal names; making text safe can make names equal.
fn unique(class: &str, own: String, names: &mut BTreeSet<(String, String)>) -> String {
    let mut name = own.clone();
    let mut again = 1;
    while !names.insert((class.to_string(), name.clone())) {
        again += 1;
        name = format!("{own} ({again})");
    }
    name
}

fn result(case: &CaseReport) -> TestResult {
    let text = case.message().unwrap_or_default();
    let message = one_line(&text, MOST_MESSAGE);
    let cause = Some(cdata(&no_attachment(&block(&text, MOST_WHY))));
    let type_ = |word: &str| word.to_string();
    match case.standing {
        Standing::Passed | Standing::UnexpectedPass | Standing::Flaky => TestResult::Success,
        Standing::FlakyFailure => TestResult::Failure { type_: type_("flaky"), message, cause },
        Standing::Failed => TestResult::Failure { type_: type_("fail"), message, cause },
        Standing::RequiredSkip => {
            TestResult::Failure { type_: type_("required-skip"), message, cause }
        }
        Standing::Broken => TestResult::Error { type_: type_("infra"), message, cause },
        Standing::Skipped => {
            TestResult::SkippedWithCause { type_: type_("skip"), message, cause: None }
        }
        Standing::ExpectedFailure => {
            TestResult::SkippedWithCause { type_: type_("expected-failure"), message, cause }
        }
    }
}

/// What else is known of a case.
fn system_out(placed: Placed<'_>, case: &CaseReport) -> Option<String> {
    let mut lines = Vec::new();
    if let Some(session) = placed.report.session_of(case) {
        lines.push(format!("image: {}", session.image));
    }
    lines.extend(case.seed.map(|seed| format!("seed: {seed}")));
    if matches!(case.standing, Standing::UnexpectedPass | Standing::Flaky) {
        lines.extend(case.message());
    }
    for fact in &case.facts {
        lines.push(format!("fact: {} = {} {}", fact.name, figure(fact.value), fact.unit));
    }
    for seen in &case.alarms {
        let (alarm, offset) = (seen.alarm.name(), seen.offset);
        lines.push(format!("{alarm} at byte {offset} of the console: {}", seen.line));
    }
    lines.extend(case.notes.iter().map(|note| format!("note: {note}")));
    let mut text = bounded(&lines);
    if !case.console.is_empty() {
        text.push_str("--- the console's last lines ---\n");
        for line in last_lines(&case.console, MOST_LINE, MOST_CONSOLE) {
            text.push_str(&no_attachment(&line));
            text.push('\n');
        }
    }
    for path in &case.attachments {
        let path = no_attachment(&one_line(&placed.path(path), MOST_LINE)).replace("]]", "] ]");
        text.push_str(&format!("[[ATTACHMENT|{path}]]\n"));
    }
    (!text.is_empty()).then_some(text)
}

/// The board's sessions and notes, said once, with its first suite.
fn about_the_run(report: &Report) -> Option<String> {
    let mut lines: Vec<String> = report.sessions.iter().flat_map(session_lines).collect();
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let text = bounded(&lines);
    (!text.is_empty()).then_some(text)
}

fn session_lines(session: &Session) -> Vec<String> {
    let mut lines = vec![format!("session: {}, {}", session.image, session.about())];
    if let Some(boot) = session.first_boot() {
        let stages: Vec<String> =
            boot.stages.iter().map(|(stage, took)| format!("{stage} {took:.3} s")).collect();
        lines.push(format!("boot: {}", stages.join(", ")));
    }
    for cut in &session.cuts {
        let (policy, seed, did) = (cut.policy.name(), cut.seed, &cut.report);
        let point = cut.point.as_ref().map(|point| format!(" at {point}")).unwrap_or_default();
        lines.push(format!(
            "power cut{point}: {policy}, seed {seed}: of {} writes pending {} kept, {} dropped, \
             {} torn",
            did.pending, did.kept, did.dropped, did.torn
        ));
    }
    for seen in &session.alarms {
        let (alarm, offset) = (seen.alarm.name(), seen.offset);
        lines.push(format!("{alarm} at byte {offset} of the console: {}", seen.line));
    }
    for fact in &session.facts {
        lines.push(format!("fact: {} = {} {}", fact.name, figure(fact.value), fact.unit));
    }
    lines
}

fn bounded(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| one_line(line, MOST_LINE)).collect();
    let mut text = no_attachment(&block(&lines.join("\n"), MOST_NOTES));
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// GitLab and Jenkins publish the file such a mark names: a guest must not be able to print one.
fn no_attachment(text: &str) -> String {
    text.replace("[[ATTACHMENT", "[ [ATTACHMENT")
}

fn duration(seconds: f64) -> Duration {
    // Bounded, since the type panics where ours does not end.
    let bounded = if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 };
    Duration::microseconds((bounded * 1e6).round() as i64)
}

/// A wall-clock moment of the run; 1970 where the start is none, since JUnit demands one.
fn moment(started: &str, after: f64) -> OffsetDateTime {
    let whole_seconds = Duration::seconds(duration(after).whole_seconds());
    OffsetDateTime::parse(&visible(started), &Rfc3339)
        .ok()
        .and_then(|start| start.checked_add(whole_seconds))
        .and_then(|moment| moment.checked_to_offset(time::UtcOffset::UTC))
        .filter(|moment| (0..=9999).contains(&moment.year()))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
