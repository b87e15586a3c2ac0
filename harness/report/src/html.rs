//! `report.html`: one page that needs nothing beside it, for a CI artefact or a colleague.
//!
//! No scripts: what folds is `<details>`, what is drawn is CSS, and a guest's text stays text.

use std::fmt::{Display, Write};

use hil_core::stage::Stage;

use crate::report::{Boot, CaseReport, End, Merged, Placed, Report, Session, Standing};
use crate::safe_text::{block, figure, html as esc, last_lines, one_line, seconds};

const STYLE: &str = include_str!("report.css");
const MOST_TEXT: usize = 32 << 10;
const MOST_LINE: usize = 1000;

/// The page of several boards, with attachments relative to the board's directory.
pub fn html(reports: &[Report]) -> String {
    let merged = Merged::new(reports);
    let placed: Vec<Placed<'_>> =
        merged.reports.iter().map(|&report| Placed { report, under: "" }).collect();
    html_of(&placed)
}

/// Writing to a String cannot fail, which `write!` does not know.
macro_rules! put {
    ($into:expr, $($what:tt)*) => {{ let _ = writeln!($into, $($what)*); }};
}

pub(crate) fn html_of(placed: &[Placed<'_>]) -> String {
    let merged = Merged::of(placed.iter().map(|placed| placed.report).collect());
    let mut text = String::new();
    put!(text, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    put!(text, "<meta name=\"viewport\" content=\"width=device-width\">");
    put!(text, "<title>hil: {}</title>\n<style>\n{STYLE}</style>\n</head>", merged.totals());
    put!(text, "<body>\n<h1>hil report</h1>\n<p>{}.</p>", merged.totals());
    // The longest boot of all gives the scale, so that bars can be compared.
    let sessions = || placed.iter().flat_map(|placed| &placed.report.sessions);
    let scale = sessions().filter_map(Session::first_boot).map(end_of).fold(0.0, f64::max);
    for placed in placed {
        board(&mut text, *placed, scale);
    }
    text.push_str("</body>\n</html>\n");
    text
}

/// One line of text, safe and short.
fn line(text: impl Display) -> String {
    esc(&one_line(&text.to_string(), MOST_LINE))
}

fn board(text: &mut String, placed: Placed<'_>, scale: f64) {
    let report = placed.report;
    put!(text, "<h2>{}</h2>", line(&report.board));
    let end = match report.end {
        End::Finished => "",
        End::Interrupted => "; interrupted by the user",
        End::Died => "; hil died or was killed",
    };
    put!(
        text,
        "<p>{}, in {}{end}. <span class=\"soft\">{} on {}, hil {}, seed {}</span></p>",
        report.totals(),
        seconds(report.took),
        line(&report.started),
        line(&report.host),
        line(&report.hil),
        report.seed
    );
    for session in &report.sessions {
        session_bar(text, session, scale);
    }
    if !report.notes.is_empty() {
        let notes: Vec<String> =
            report.notes.iter().take(200).map(|note| format!("<li>{}</li>", line(note))).collect();
        put!(text, "<ul>{}</ul>", notes.join("\n"));
    }
    put!(text, "<table>\n<tr><th>case<th>verdict<th class=\"time\">time<th></tr>");
    for case in &report.cases {
        row(text, placed, case);
    }
    put!(text, "</table>");
}

fn end_of(boot: &Boot) -> f64 {
    boot.stages.last().map_or(0.0, |(_, took)| *took)
}

/// How long the board spent in each stage of the session's first boot.
fn phases(boot: &Boot) -> Vec<(Stage, f64)> {
    let mut phases = Vec::new();
    let (mut stage, mut since) = (Stage::Off, 0.0);
    for (next, took) in &boot.stages {
        phases.push((stage, (took - since).max(0.0)));
        (stage, since) = (*next, *took);
    }
    phases
}

fn session_bar(text: &mut String, session: &Session, scale: f64) {
    put!(text, "<div class=\"boot\"><b>{}</b>", line(&session.image));
    put!(text, "<span class=\"soft\">{}", line(session.about()));
    if session.boots.len() > 1 {
        put!(text, ", {} boots; the first:", session.boots.len());
    }
    put!(text, "</span>");
    if let Some(boot) = session.first_boot() {
        bar(text, boot, scale);
    }
    for fact in session.facts.iter().take(100) {
        let (name, value, unit) = (line(&fact.name), figure(fact.value), line(&fact.unit));
        put!(text, "<div class=\"soft\">{name}: {value} {unit}</div>");
    }
    for seen in &session.alarms {
        put!(text, "<div><b>{}</b>: {}</div>", seen.alarm.name(), line(&seen.line));
    }
    put!(text, "</div>");
}

fn bar(text: &mut String, boot: &Boot, scale: f64) {
    let scale = if scale > 0.0 { scale } else { 1.0 };
    text.push_str("<div class=\"bar\">");
    for (stage, took) in phases(boot) {
        let share = took / scale * 100.0;
        let name = phase_name(stage);
        let _ = write!(
            text,
            "<i class=\"s-{stage}\" style=\"width:{share:.2}%\" title=\"{name} {took:.1} s\"></i>"
        );
    }
    text.push_str("</div>\n<div class=\"legend soft\">");
    for (stage, took) in phases(boot) {
        let name = phase_name(stage);
        put!(text, "<span><i class=\"key s-{stage}\"></i> {name} {took:.1} s</span>");
    }
    let reached = boot.stages.last().map_or(Stage::Off, |(stage, _)| *stage);
    put!(text, "<span><b>{reached} after {:.1} s</b></span></div>", end_of(boot));
}

/// Until the first stage shows itself, nothing is known but that there is power.
fn phase_name(stage: Stage) -> &'static str {
    if stage == Stage::Off { "silence" } else { stage.name() }
}

fn row(text: &mut String, placed: Placed<'_>, case: &CaseReport) {
    let (class, word) = match case.standing {
        Standing::Passed => ("pass", "pass"),
        Standing::UnexpectedPass => ("odd", "unexpected pass"),
        Standing::Flaky => ("odd", "flaky"),
        Standing::FlakyFailure => ("fail", "flaky"),
        Standing::Failed => ("fail", "fail"),
        Standing::RequiredSkip => ("fail", "required, skipped"),
        Standing::ExpectedFailure => ("odd", "expected failure"),
        Standing::Broken => ("broken", "broken"),
        Standing::Skipped => ("skip", "skip"),
    };
    put!(text, "<tr><td class=\"case\">{}", line(&case.id));
    put!(text, "<td><span class=\"v {class}\">{word}</span>");
    put!(text, "<td class=\"time\">{}\n<td class=\"what\">", seconds(case.took));
    why(text, case);
    for fact in case.facts.iter().take(100) {
        let (name, value, unit) = (line(&fact.name), figure(fact.value), line(&fact.unit));
        put!(text, "<div class=\"soft\">{name}: {value} {unit}</div>");
    }
    for seen in &case.alarms {
        put!(text, "<div><b>{}</b>: {}</div>", seen.alarm.name(), line(&seen.line));
    }
    for note in case.notes.iter().take(100) {
        put!(text, "<div class=\"soft\">{}</div>", line(note));
    }
    for (nth, attempt) in case.attempts.iter().enumerate() {
        let why = line(&attempt.why);
        put!(text, "<div class=\"soft\">attempt {} failed: {why}</div>", nth + 1);
        console(text, &attempt.console);
    }
    console(text, &case.console);
    for path in &case.attachments {
        put!(text, "<div><a href=\"{}\">{}</a></div>", href(&placed.path(path)), line(path));
    }
    put!(text, "</tr>");
}

fn console(text: &mut String, lines: &[String]) {
    if !lines.is_empty() {
        let console = last_lines(lines, MOST_LINE, MOST_TEXT).join("\n");
        put!(text, "<details><summary>the console's last lines</summary>");
        put!(text, "<pre>{}</pre></details>", esc(&console));
    }
}

fn why(text: &mut String, case: &CaseReport) {
    let Some(message) = case.message() else { return };
    let short = one_line(&message, 300);
    put!(text, "<div>{}</div>", esc(&short));
    if short.ends_with('…') || message.trim_end().contains('\n') {
        put!(text, "<details><summary>in full</summary>");
        put!(text, "<pre>{}</pre></details>", esc(&block(&message, MOST_TEXT)));
    }
}

/// A relative link, whatever the name: `./` keeps `javascript:` from being a scheme.
fn href(path: &str) -> String {
    let mut href = String::from("./");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                href.push(char::from(byte));
            }
            byte => {
                let _ = write!(href, "%{byte:02X}");
            }
        }
    }
    href
}
