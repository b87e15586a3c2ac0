//! Writes `console.log`: each line stamped with the run's clock, masked, valid UTF-8. What a
//! line is, is decided in `lines`.

use std::io;
use std::io::Write;
use std::path::Path;

use hil_core::mask::Masker;

use super::lines::Line;
use super::store::Store;
use crate::ansi;

pub(crate) struct Log {
    store: Store,
    masker: Masker,
    pending: Vec<u8>,
}

impl Log {
    pub(crate) fn create(path: &Path, limit: u64, masker: Masker) -> io::Result<Log> {
        Ok(Log { store: Store::create(path, limit)?, masker, pending: Vec::new() })
    }

    /// Stamps a line; [`Log::flush`] writes it.
    pub(crate) fn write(&mut self, line: &Line<'_>) {
        let seconds = line.at.as_secs_f64();
        let more = if line.continues { "… " } else { "" };
        let pending = &mut self.pending;
        // Writing to a vector cannot fail.
        let _ = write!(pending, "[{seconds:>12.6}] {more}");
        if self.masker.is_empty() && line.text.is_ascii() {
            pending.extend_from_slice(line.text);
        } else {
            pending.extend_from_slice(self.masker.text(&ansi::text(line.text)).as_bytes());
        }
        pending.push(b'\n');
    }

    /// How much waits to be written.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn flush(&mut self) {
        if self.store.append(&self.pending) {
            self.note_gap();
        }
        self.pending.clear();
        self.pending.shrink_to(64 << 10);
    }

    /// Says in the log itself what is not kept; it stands behind the segment's first lines.
    fn note_gap(&mut self) {
        if let Some(lost) = self.store.lost() {
            let bytes = lost.end - lost.start;
            let note = format!("[ hil ] {bytes} bytes of this log before here were not kept\n");
            self.store.append(note.as_bytes());
        }
    }

    pub(crate) fn fault(&self) -> Option<&str> {
        self.store.fault()
    }
}
