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
    file: Box<dyn Write + Send>,
    fault: Option<String>,
}

impl EventsFile {
    /// Begins `events.jsonl` in a board's directory, which must exist. What an earlier run left
    /// there is replaced. The error finishes the sentence "failed to …".
    pub fn create(dir: &Path, masker: Masker) -> io::Result<EventsFile> {
        let path = dir.join(FILE_NAME);
        let file = File::create(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("create {}: {error}", path.display()))
        })?;
        Ok(EventsFile::to(Box::new(file), path, masker))
    }

    fn to(file: Box<dyn Write + Send>, path: PathBuf, masker: Masker) -> EventsFile {
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

    fn append(&self, file: &mut dyn Write, event: &Event) -> Result<(), String> {
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
            state.fault = self.append(&mut *state.file, &event).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_core::event::What;
    use std::sync::Arc;

    /// A disk that takes `room` bytes, and the next write only after a refusal.
    struct Full {
        room: usize,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fits = bytes.len().min(self.room);
            self.room -= fits;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_follows_the_torn_line() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let full = Full { room: 50, taken: Arc::clone(&taken) };
        let file = EventsFile::to(Box::new(full), "o/events.jsonl".into(), Masker::default());
        let event = |t| file.event("b", &Event { t, what: What::PowerOn });
        event(0.0);
        assert_eq!(file.fault(), None);
        event(1.0);
        assert_eq!(file.fault().unwrap(), "write o/events.jsonl: no storage space");
        event(2.0);
        event(3.0);
        assert_eq!(file.fault().unwrap(), "write o/events.jsonl: no storage space");
        let taken = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let line = "{\"t\":0.0,\"what\":\"power-on\"}\n";
        assert_eq!(taken, format!("{line}{}", &line.replace("0.0", "1.0")[..50 - line.len()]));
    }
}
