//! The table of cases that a run ends with, for a terminal of 80 columns or more.

use hil_core::stage::Stage;

use crate::report::{CaseReport, Merged, Report, Session, Standing};
use crate::safe_text::{clip, seconds, terminal, width};

const WIDTH: usize = 100;
/// A reason that does not fit its column goes on lines of its own, so many of them.
const MOST_LINES: usize = 4;
const STAGES: [Stage; 5] =
    [Stage::Firmware, Stage::Bootloader, Stage::Kernel, Stage::Userspace, Stage::Ready];

/// One line a case, with its reason; then boot times, notes and the sum.
pub fn table(reports: &[Report], colour: bool) -> String {
    let merged = Merged::new(reports);
    let mut text = String::new();
    cases(&mut text, &merged, colour);
    boots(&mut text, &merged);
    notes(&mut text, &merged);
    let boards = match merged.reports.len() {
        1 => "1 board".to_string(),
        several => format!("{several} boards"),
    };
    text.push_str(&format!("\n{boards}, {}\n", merged.totals()));
    text
}

struct Columns {
    board: usize,
    case: usize,
}

fn cases(text: &mut String, merged: &Merged<'_>, colour: bool) {
    let all = || merged.reports.iter().flat_map(|r| r.cases.iter().map(move |case| (*r, case)));
    let widest = |name: &dyn Fn(&Report, &CaseReport) -> String, least: usize, most: usize| {
        all().map(|(r, c)| width(&terminal(&name(r, c), most))).max().unwrap_or(0).max(least)
    };
    let columns = Columns {
        board: widest(&|report, _| report.board.clone(), 5, 24),
        case: widest(&|_, case| case.id.to_string(), 4, 40),
    };
    let head = format!(
        "{}  {}  {}  {:>6}  why",
        pad("board", columns.board),
        pad("case", columns.case),
        pad("verdict", 7),
        "time"
    );
    text.push_str(&format!("{head}\n"));
    for (report, case) in all() {
        row(text, report, case, &columns, colour);
    }
}

fn row(text: &mut String, report: &Report, case: &CaseReport, columns: &Columns, colour: bool) {
    let start = format!(
        "{}  {}  ",
        pad(&terminal(&report.board, columns.board), columns.board),
        pad(&terminal(&case.id.to_string(), columns.case), columns.case),
    );
    let took = if case.standing == Standing::Skipped { "-".into() } else { seconds(case.took) };
    let verdict = painted(case.standing, &pad(case.standing.word(), 7), colour);
    text.push_str(&format!("{start}{verdict}  {took:>6}"));
    let why = terminal(&case.message().unwrap_or_default(), WIDTH * MOST_LINES);
    let used = width(&start) + 7 + 2 + took.len().max(6) + 2;
    if width(&why) <= WIDTH.saturating_sub(used) {
        text.push_str(if why.is_empty() { "" } else { "  " });
        text.push_str(&format!("{why}\n"));
        return;
    }
    text.push('\n');
    for line in wrapped(&why, WIDTH - 6, MOST_LINES) {
        // The bar keeps a guest's words from being the first of a line, where a CI runner would
        // look for commands.
        text.push_str(&format!("    | {line}\n"));
    }
}

fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// In the colour of its standing: what is wrong red, what is broken magenta.
pub(crate) fn painted(standing: Standing, word: &str, colour: bool) -> String {
    let code = match standing {
        Standing::Passed => "32",
        Standing::UnexpectedPass | Standing::ExpectedFailure => "33",
        Standing::Flaky => "1;33",
        Standing::FlakyFailure | Standing::Failed | Standing::RequiredSkip => "1;31",
        Standing::Broken => "1;35",
        Standing::Skipped => "2",
    };
    if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_string() }
}

/// At words, where they are short enough; the last line ends in an ellipsis if more was to come.
fn wrapped(text: &str, columns: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map(std::mem::take).unwrap_or_default();
        lines.pop();
        let joined = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        if width(&joined) <= columns {
            lines.push(joined);
        } else if line.is_empty() {
            lines.extend(pieces(word, columns));
        } else {
            lines.push(line);
            lines.extend(pieces(word, columns));
        }
    }
    if lines.len() > most {
        let rest = lines.split_off(most - 1).join(" ");
        lines.push(clip(&rest, columns));
    }
    lines
}

fn pieces(word: &str, columns: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for ch in word.chars() {
        let last = pieces.len() - 1;
        if width(&pieces[last]) + width(ch.encode_utf8(&mut [0; 4])) > columns {
            pieces.push(ch.to_string());
        } else {
            pieces[last].push(ch);
        }
    }
    pieces
}

fn boots(text: &mut String, merged: &Merged<'_>) {
    let booted: Vec<(&Report, &Session)> = merged
        .reports
        .iter()
        .flat_map(|report| report.sessions.iter().map(move |session| (*report, session)))
        .filter(|(_, session)| session.first_boot().is_some())
        .collect();
    if booted.is_empty() {
        return;
    }
    let name = |(report, session): &(&Report, &Session)| {
        terminal(&format!("{}  {}", report.board, session.image), 40)
    };
    let widest = booted.iter().map(|one| width(&name(one))).max().unwrap_or(0).max(20);
    text.push_str(&format!("\n{}", pad("seconds to the stage", widest)));
    for stage in STAGES {
        text.push_str(&format!("  {:>10}", stage.name()));
    }
    for one in &booted {
        text.push_str(&format!("\n{}", pad(&name(one), widest)));
        let boot = one.1.first_boot();
        for stage in STAGES {
            let at = boot.and_then(|b| b.stages.iter().find(|(reached, _)| *reached == stage));
            let at = at.map_or("-".to_string(), |(_, took)| format!("{took:.1}"));
            text.push_str(&format!("  {at:>10}"));
        }
    }
    text.push('\n');
}

fn notes(text: &mut String, merged: &Merged<'_>) {
    let mut gap = "\n";
    for report in &merged.reports {
        for note in report.notes.iter().take(20) {
            text.push_str(std::mem::take(&mut gap));
            let note = terminal(note, WIDTH * MOST_LINES);
            let note = format!("note: {}: {note}", terminal(&report.board, 24));
            text.push_str(&format!("{}\n", wrapped(&note, WIDTH - 6, MOST_LINES).join("\n    | ")));
        }
    }
}
