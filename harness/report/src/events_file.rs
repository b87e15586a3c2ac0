//! The writer of `events.jsonl`: one line an event, on disk before the next thing happens.
//!
//! Reading it back is `read`'s; what it means, `fold`'s.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hil_core::event::{Event, Sink};
use hil_core::mask::Masker;

use crate::mask::fit_to_store;

/// Its name in a board's directory.
pub const FILE_NAME: &str = "events.jsonl";

/// Writes a board's events. Each line goes out in one write as it happens, so that a run killed at
/// any moment leaves whole lines; a machine that loses power may lose the last of them.
pub struct EventsFile {
    path: PathBuf,
    masker: Masker,
    state: Mutex<State>,
}

struct State {
    file: File,
    fault: Option<String>,
}

impl EventsFile {
    /// Begins `events.jsonl` in a board's directory, which must exist. What an earlier run left
    /// there is replaced.
    pub fn create(dir: &Path, masker: Masker) -> io::Result<EventsFile> {
        let path = dir.join(FILE_NAME);
        let file = File::create(&path)?;
        Ok(EventsFile::to(file, path, masker))
    }

    fn to(file: File, path: PathBuf, masker: Masker) -> EventsFile {
        EventsFile { path, masker, state: Mutex::new(State { file, fault: None }) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why events are missing in the file, if they are. A run that has such a fault is broken.
    pub fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, file: &mut File, event: &Event) -> Result<(), String> {
        let said =
            |error: &dyn std::fmt::Display| format!("write {}: {error}", self.path.display());
        let mut line = serde_json::to_vec(event).map_err(|error| said(&error))?;
        line.push(b'\n');
        file.write_all(&line).map_err(|error| said(&error))
    }
}

impl Sink for EventsFile {
    fn event(&self, _board: &str, event: &Event) {
        let event = fit_to_store(event, &self.masker);
        let mut state = self.lock();
        // After the first fault nothing more is written: a line after a torn one would make the
        // whole file unreadable, while a torn end can be told.
        if state.fault.is_none() {
            state.fault = self.append(&mut state.file, &event).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_core::event::What;

    #[test]
    fn a_full_disk_is_kept_as_a_fault_and_told() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let file = EventsFile::to(full, "o/events.jsonl".into(), Masker::default());
        assert_eq!(file.fault(), None);
        file.event("b", &Event { t: 0.0, what: What::PowerOn });
        let fault = file.fault().unwrap();
        assert!(fault.starts_with("write o/events.jsonl: No space left"), "{fault}");
        file.event("b", &Event { t: 1.0, what: What::PowerOff });
        assert_eq!(file.fault().unwrap(), fault);
    }
}
