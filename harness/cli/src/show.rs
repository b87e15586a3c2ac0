//! The commands that only show something: boards, suites, reports, completions.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;

use clap::CommandFactory;
use clap_complete::Shell;
use hil_qemu::catalogue::Catalogue;
use hil_report::Merged;

use crate::args::{Args, BoardsArgs, ReportArgs, SuitesArgs};
use crate::catalogue;
use crate::explain;
use crate::failure::Failure;
use crate::suites;

/// The first thing that went wrong with stdout.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes to stdout; what cannot be written is told by `all_written`.
pub(crate) fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    // Flushed at once: what waits in a buffer fails at the end, when nobody listens.
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader who has gone (`| head`) is no error.
        if error.kind() != ErrorKind::BrokenPipe {
            let _ = LOST.set(error.to_string());
        }
    }
}

/// Whether everything shown so far has arrived; a command that lost its output has failed.
pub(crate) fn all_written() -> Result<(), Failure> {
    match LOST.get() {
        Some(why) => Err(Failure::host(format!("failed to write to stdout: {why}"))),
        None => Ok(()),
    }
}

pub(crate) fn boards(args: &BoardsArgs) -> Result<u8, Failure> {
    let catalogue = catalogue::load(args.board_dir.as_deref())?;
    if let Some(name) = &args.explain {
        return explain(&catalogue, name);
    }
    put(&listed(&catalogue));
    Ok(0)
}

/// The boards, emulated and physical apart.
fn listed(catalogue: &Catalogue) -> String {
    let width = catalogue.boards().map(|board| board.name.len()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    for (kind, emulated) in [("emulated", true), ("physical", false)] {
        let mut boards =
            catalogue.boards().filter(|board| board.is_emulated() == emulated).peekable();
        if boards.peek().is_none() {
            continue;
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{kind:width$}  {:7}  about", "arch");
        for board in boards {
            let (name, arch) = (&board.name, board.arch.name());
            let _ = writeln!(text, "{name:width$}  {arch:7}  {}", board.title);
        }
    }
    text
}

fn explain(catalogue: &Catalogue, name: &str) -> Result<u8, Failure> {
    let board = catalogue::board(catalogue, name)?;
    let machine = board.qemu.as_ref().and_then(|on| catalogue.machine(&on.machine));
    let file = catalogue.board_file(name).unwrap_or(Path::new("")).display().to_string();
    put(&explain::board(&board, machine, &file));
    Ok(0)
}

pub(crate) fn suites(args: &SuitesArgs) -> Result<u8, Failure> {
    let mut text = String::new();
    for suite in suites::all(args.suite_dir.as_deref())? {
        let _ = writeln!(text, "{} - {}", suite.name, suite.about);
        for case in suite.cases {
            let needs: Vec<String> = case.needs.iter().map(ToString::to_string).collect();
            let needs = match needs.is_empty() {
                true => String::new(),
                false => format!(" [needs {}]", needs.join(", ")),
            };
            let _ = writeln!(text, "  {}/{}: {}{needs}", suite.name, case.name, case.about);
        }
    }
    put(&text);
    Ok(0)
}

pub(crate) fn report(args: &ReportArgs) -> Result<u8, Failure> {
    let rebuilt = hil_report::rebuild(&args.dir)
        .map_err(|error| Failure::usage(format!("failed to {error}")))?;
    put(&hil_report::table(&rebuilt.reports, hil_report::live::colour_on_stdout()));
    for file in &rebuilt.written {
        put(&format!("{}\n", file.display()));
    }
    Ok(Merged::new(&rebuilt.reports).exit_code())
}

pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "hil", &mut script);
    put(&String::from_utf8_lossy(&script));
    Ok(0)
}
