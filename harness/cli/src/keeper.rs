//! `hil keeper RUN FOLDER…` and `hil lab-keeper RUN`: the processes that outlive hil and leave
//! nothing behind.
//!
//! hil starts them itself; nobody types them, so they are no subcommands of the command line's.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use hil_lab::Places;
use hil_lab::keeper::{READY, serve};
use hil_qemu::keeper::{end_run, keeper_main};

/// The keeper's exit code, if this process was started as one.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let kind = words.next().filter(|kind| kind == "keeper" || kind == "lab-keeper")?;
    let Some(run) = words.next().and_then(|run| run.into_string().ok()) else {
        return Some(ExitCode::from(2));
    };
    if kind == "lab-keeper" {
        return Some(lab_keeper(&run));
    }
    let folders: Vec<PathBuf> = words.map(PathBuf::from).collect();
    Some(keeper_main(&run, &folders))
}

/// Holds the lab's boards for a run, and makes them safe when it ends.
fn lab_keeper(run: &str) -> ExitCode {
    let Ok(places) = Places::of_host() else { return ExitCode::FAILURE };
    let mut output = std::io::stdout();
    let begun = writeln!(output, "{READY}").and_then(|()| output.flush());
    if begun.is_err() {
        return ExitCode::FAILURE;
    }
    // What still writes to a board's medium is ended before the board is touched.
    let before = || {
        end_run(run);
    };
    match serve(&places, std::io::stdin().lock(), output, before) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
