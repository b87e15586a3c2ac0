//! The reader of `events.jsonl`: strict in the middle, forgiving about a torn end.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use hil_core::event::{Event, SCHEMA};
use serde_json::Value;

/// What a file of events holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub events: Vec<Event>,
    /// The last line was cut short, as a killed run may leave it.
    pub torn: Option<Torn>,
}

/// A last line that is no whole event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// From 1.
    pub line: usize,
    pub bytes: usize,
}

impl std::fmt::Display for Torn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Torn { line, bytes } = self;
        write!(f, "line {line} of events.jsonl is cut short after {bytes} bytes and was left out")
    }
}

/// Finishes the sentence "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("read {} line {line}: no event of hil: {why}", path.display())]
    Garbage { path: PathBuf, line: usize, why: String },
    #[error(
        "read {}: its events have schema {found}, this hil reads schema {SCHEMA}; \
         use the hil that wrote them",
        path.display()
    )]
    Schema { path: PathBuf, found: u64 },
}

/// Reads a file of events.
///
/// A last line without its newline that does not parse is told in [`Recorded::torn`]; garbage
/// anywhere else is an error, since what follows it cannot be trusted to be complete.
pub fn read_events(path: &Path) -> Result<Recorded, ReadError> {
    let at_file = |error| ReadError::File { path: path.into(), error };
    let mut reader = BufReader::new(File::open(path).map_err(at_file)?);
    let mut recorded = Recorded { events: Vec::new(), torn: None };
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(at_file)? == 0 {
            break;
        }
        let whole = bytes.last() == Some(&b'\n');
        match serde_json::from_slice(&bytes) {
            Ok(event) => recorded.events.push(event),
            Err(_) if !whole => recorded.torn = Some(Torn { line, bytes: bytes.len() }),
            Err(error) => return Err(not_an_event(path, line, &bytes, &error)),
        }
        if line == 1 {
            check_schema(path, &bytes)?;
        }
    }
    Ok(recorded)
}

/// A schema of the future may differ in its first line already, which then parses as JSON only:
/// that the hil is too old is the better message.
fn not_an_event(path: &Path, line: usize, bytes: &[u8], error: &serde_json::Error) -> ReadError {
    let ahead = if line == 1 { check_schema(path, bytes).err() } else { None };
    // Its "at line 1 column 7" speaks of the one line it was given.
    let why = error.to_string().replace(" at line 1 column", ", column");
    ahead.unwrap_or(ReadError::Garbage { path: path.into(), line, why })
}

fn check_schema(path: &Path, first_line: &[u8]) -> Result<(), ReadError> {
    let value: Value = serde_json::from_slice(first_line).unwrap_or_default();
    match value.pointer("/what/run-started/schema").and_then(Value::as_u64) {
        Some(found) if found != u64::from(SCHEMA) => {
            Err(ReadError::Schema { path: path.into(), found })
        }
        _ => Ok(()),
    }
}
