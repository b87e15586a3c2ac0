//! GitHub Actions: the step summary and the annotations.
//!
//! Whether a run is in Actions, and where the summary goes, is the command line's business.

use std::fmt::Write;

use crate::report::{CaseReport, Fact, Merged, Report, Standing};
use crate::safe_text::{block, figure, last_lines, markdown, one_line, seconds};

/// GitHub takes 1 MiB a step; other steps of the job do not share it, but the table must fit.
const MOST_BYTES: usize = 900 << 10;
const MOST_CONSOLE: usize = 8 << 10;
const MOST_FACTS: usize = 200;

/// The step summary: a table a board, then each trouble with its console.
pub fn github_summary(reports: &[Report]) -> String {
    summary_of(&Merged::new(reports))
}

pub(crate) fn summary_of(merged: &Merged<'_>) -> String {
    let mut text = format!("## hil: {}\n\n", merged.totals());
    for report in &merged.reports {
        board(&mut text, report);
    }
    text
}

/// Writing to a String cannot fail, which `write!` does not know.
macro_rules! put {
    ($into:expr, $($what:tt)*) => {{ let _ = writeln!($into, $($what)*); }};
}

fn board(text: &mut String, report: &Report) {
    put!(text, "### {}\n", markdown(&one_line(&report.board, 100)));
    put!(text, "{}, in {}.\n", report.totals(), seconds(report.took));
    put!(text, "| case | verdict | time | |\n|---|---|---:|---|");
    for (index, case) in report.cases.iter().enumerate() {
        if text.len() > MOST_BYTES {
            put!(text, "\n{} more cases: see junit.xml.", report.cases.len() - index);
            return;
        }
        let id = markdown(&one_line(&case.id.to_string(), 200));
        let why = markdown(&one_line(&case.message().unwrap_or_default(), 160));
        put!(text, "| {id} | {} | {} | {why} |", badge(case.standing), seconds(case.took));
    }
    text.push('\n');
    boots(text, report);
    facts(text, report);
    for note in report.notes.iter().take(50) {
        put!(text, "- {}", markdown(&one_line(note, 300)));
    }
    text.push('\n');
    let troubles = report.cases.iter().filter(|case| case.standing.is_trouble());
    for case in troubles {
        if text.len() > MOST_BYTES {
            put!(text, "More failures: see junit.xml.");
            return;
        }
        details(text, case);
    }
}

fn badge(standing: Standing) -> &'static str {
    match standing {
        Standing::Passed => "✅ pass",
        Standing::UnexpectedPass => "⚠️ unexpected pass",
        Standing::Flaky => "⚠️ **flaky**",
        Standing::FlakyFailure => "❌ **flaky**",
        Standing::Failed => "❌ **fail**",
        Standing::RequiredSkip => "❌ **skipped, but required**",
        Standing::ExpectedFailure => "🟡 expected failure",
        Standing::Broken => "💥 **broken** (rack or host)",
        Standing::Skipped => "⏭️ skip",
    }
}

/// When each session's first boot reached its stages.
fn boots(text: &mut String, report: &Report) {
    for session in &report.sessions {
        let Some(boot) = session.first_boot() else { continue };
        let stages: Vec<String> =
            boot.stages.iter().map(|(stage, took)| format!("{stage} {took:.1} s")).collect();
        let about = format!("{}, {}", session.image, session.about());
        put!(text, "Boot of {}: {}.\n", markdown(&one_line(&about, 200)), stages.join(", "));
    }
}

/// The measured figures, of sessions and cases; folded, since there may be many.
fn facts(text: &mut String, report: &Report) {
    let of_sessions = report.sessions.iter().map(|session| (&session.image, &session.facts));
    let of_cases: Vec<(String, &Vec<Fact>)> =
        report.cases.iter().map(|case| (case.id.to_string(), &case.facts)).collect();
    let all = of_sessions.chain(of_cases.iter().map(|(id, facts)| (id, *facts)));
    let all: Vec<(&String, &Fact)> =
        all.flat_map(|(of, facts)| facts.iter().map(move |fact| (of, fact))).collect();
    if all.is_empty() {
        return;
    }
    put!(text, "<details><summary>{} figures</summary>\n", all.len());
    put!(text, "| of | figure | value |\n|---|---|---:|");
    for (of, fact) in all.iter().take(MOST_FACTS) {
        let (of, name) = (markdown(&one_line(of, 100)), markdown(&one_line(&fact.name, 100)));
        let unit = markdown(&one_line(&fact.unit, 20));
        put!(text, "| {of} | {name} | {} {unit} |", figure(fact.value));
    }
    if all.len() > MOST_FACTS {
        put!(text, "\n{} more: see junit.xml.", all.len() - MOST_FACTS);
    }
    put!(text, "\n</details>\n");
}

fn details(text: &mut String, case: &CaseReport) {
    let id = markdown(&one_line(&case.id.to_string(), 200));
    put!(text, "<details><summary>{} {id}</summary>\n", badge(case.standing).replace("**", ""));
    fenced(text, &block(&case.message().unwrap_or_default(), MOST_CONSOLE));
    if !case.console.is_empty() {
        put!(text, "The console's last lines:\n");
        fenced(text, &last_lines(&case.console, 300, MOST_CONSOLE).join("\n"));
    }
    put!(text, "</details>\n");
}

/// Within a fence nothing has a meaning but a fence as long, so ours is longer than any in it.
fn fenced(text: &mut String, content: &str) {
    let longest = content.split(|ch| ch != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    put!(text, "{fence}text\n{content}\n{fence}\n");
}

/// Workflow commands that put each trouble beside the job's log. GitHub shows the first ten of
/// each kind a step, so the gravest kind holds failures only.
pub fn annotations(reports: &[Report]) -> String {
    let mut text = String::new();
    let merged = Merged::new(reports);
    for report in &merged.reports {
        for case in &report.cases {
            annotate(&mut text, report, case);
        }
    }
    for report in &merged.reports {
        for note in &report.notes {
            command(&mut text, "notice", &report.board, note);
        }
    }
    text
}

fn annotate(text: &mut String, report: &Report, case: &CaseReport) {
    let kind = match case.standing {
        Standing::Failed | Standing::FlakyFailure | Standing::RequiredSkip | Standing::Broken => {
            "error"
        }
        Standing::UnexpectedPass | Standing::Flaky => "warning",
        Standing::ExpectedFailure => "notice",
        Standing::Passed | Standing::Skipped => return,
    };
    let broken = if case.standing == Standing::Broken { " (rack or host broken)" } else { "" };
    let title = format!("{} {}{broken}", report.board, case.id);
    command(text, kind, &title, &case.message().unwrap_or_default());
}

fn command(text: &mut String, kind: &str, title: &str, message: &str) {
    let property = data(&one_line(title, 200)).replace(':', "%3A").replace(',', "%2C");
    put!(text, "::{kind} title={property}::{}", data(&block(message, 4000)));
}

/// As the runner's own toolkit escapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
