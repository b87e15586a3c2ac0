//! `hil`: the command line. Parses, gives words meaning, and ends with a documented exit code.

mod again;
mod args;
mod catalogue;
mod demo;
mod doctor;
mod envelope;
mod explain;
mod failure;
mod heap;
mod images;
mod keeper;
mod lab;
mod lanes;
mod merge;
mod outdir;
mod paths;
mod plan;
mod rack;
mod run;
mod schema;
mod select;
mod show;
mod signals;
mod suites;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use hil_core::verdict::exit;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    // Before anything else of the program is touched: a keeper lives as long as its run does.
    if let Some(code) = keeper::if_asked() {
        return code;
    }
    heap::keep_small();
    let args = Args::parse();
    let done = match args.command {
        Command::Run(run) => run::run(&run),
        Command::Plan(plan) => plan::plan(&plan),
        Command::Envelope(sought) => envelope::find(&sought),
        Command::Boards(boards) => show::boards(&boards),
        Command::Suites(suites) => show::suites(&suites),
        Command::Report(report) => show::report(&report),
        Command::Merge(merge) => merge::merge(&merge),
        Command::Lab(lab) => lab::command::lab(&lab),
        Command::Doctor(doctor) => doctor::doctor(&doctor),
        Command::Schema(schema) => schema::print(&schema),
        Command::Completions { shell } => show::completions(shell),
    };
    let shown = show::all_written();
    let done = match done {
        // A verdict other than a pass is worth more than the trouble in showing it.
        Ok(code) if code == exit::OK => shown.map(|()| code),
        Ok(code) => shown.map(|()| code).map_err(|failure| Failure { code, ..failure }),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            // The reader may be gone already (`hil boards | head`).
            let _ = writeln!(std::io::stderr(), "hil: {message}");
            ExitCode::from(code)
        }
    }
}
