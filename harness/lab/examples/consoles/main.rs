//! The two ends of `ci/bench --only consoles`: a process that plays the boards on many ptys at a
//! UART's pace, and one that reads them all, as hil does or barely. `ci/bench.d/consoles.py` drives
//! both by lines on stdin and stdout, and judges.
//!
//! - `consoles boards COUNT BAUD SECONDS`: tells `port PATH` for each, then `ready`; on `go`
//!   writes, then tells how it kept its pace.
//! - `consoles hil DIR` and `consoles bare`: take paths up to an empty line, tell `ready`; on
//!   `end BYTES` wait until each port has brought as many, then tell `done`.

mod boards;
mod content;
mod readers;

use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = more_files().and_then(|()| match words.as_slice() {
        ["boards", count, baud, seconds] => boards::play(count, baud, seconds),
        ["hil", dir] => readers::hil(dir.as_ref()),
        ["bare"] => readers::bare(),
        _ => Err("usage: consoles boards COUNT BAUD SECONDS | hil DIR | bare".into()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The soft limit of 1024 open files is for select's sake; a thousand consoles need more.
fn more_files() -> Outcome {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?)
}

/// The next line of stdin without its end; an error at stdin's end, so that nobody outlives the
/// benchmark.
fn heard() -> Outcome<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line)? {
        0 => Err("the benchmark is gone".into()),
        _ => Ok(line.trim_end().to_string()),
    }
}
