//! What a capture holds behind its lock: the ring, the files, the lines, the sightings; and how
//! they are kept in step. No tasks and no waiting.

use std::io;
use std::path::Path;
use std::time::Duration;

use hil_core::mask::Masker;
use hil_core::stage::StageMarks;
use hil_core::trouble::{Outcome, Trouble};

use super::CaptureOptions;
use super::lines::Lines;
use super::log::Log;
use super::ring::{Arrivals, Ring};
use super::store::Store;
use super::watch::Watch;
use crate::stars;

/// Unwritten bytes at which the files are written without waiting for the tick.
const BATCH: u64 = 32 << 10;

/// The longest beginning of a secret that is held back from the file.
const HOLD: usize = 16 << 10;

/// How far back the tail is looked for at first.
pub(crate) const RECENT: u64 = 32 << 10;

pub(crate) struct State {
    ring: Ring,
    arrivals: Arrivals,
    raw: Store,
    lines: Lines,
    watch: Watch,
    log: Log,
    masker: Masker,
    /// When the last byte came, while the unended last line has not been looked at since.
    unlooked: Option<Duration>,
    /// Bytes taken since the files were written last.
    unwritten: u64,
}

impl State {
    pub(crate) fn open(
        dir: &Path,
        marks: &StageMarks,
        masker: &Masker,
        options: CaptureOptions,
    ) -> io::Result<State> {
        let named = |error| io::Error::other(format!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(named)?;
        let memory = options.memory.max(8 * BATCH as usize);
        let watch = Watch::new(marks, masker.clone()).map_err(io::Error::other)?;
        let log = dir.join("console.log");
        Ok(State {
            ring: Ring::new(memory),
            arrivals: Arrivals::new(),
            raw: Store::create(&dir.join("console.raw"), options.disk_limit)?,
            lines: Lines::new(),
            watch,
            log: Log::create(&log, options.disk_limit, masker.clone())?,
            masker: masker.clone(),
            unlooked: None,
            unwritten: 0,
        })
    }

    pub(crate) fn position(&self) -> u64 {
        self.ring.end()
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn set_marks(&mut self, marks: &StageMarks) -> Result<(), regex::Error> {
        self.watch.set_marks(marks)
    }

    /// Takes what was read. True when something was seen in it.
    pub(crate) fn take(&mut self, bytes: &[u8], at: Duration) -> bool {
        let State { ring, arrivals, lines, watch, log, masker, .. } = self;
        let base = ring.end();
        ring.push(bytes);
        arrivals.push(ring.end(), at);
        let mut news = false;
        lines.feed(base, at, bytes, masker, |line| {
            news |= watch.take(line);
            log.write(line);
        });
        self.unlooked = Some(at);
        self.unwritten += bytes.len() as u64;
        if self.unwritten >= BATCH || self.log.pending() as u64 >= 2 * BATCH {
            self.write(false);
        }
        news
    }

    /// Whether there is something for [`State::tick`] to do.
    pub(crate) fn is_pending(&self) -> bool {
        self.unlooked.is_some()
    }

    /// Writes what has come; looks at the unended last line once it has rested for `rest`.
    pub(crate) fn tick(&mut self, now: Duration, rest: Duration) -> bool {
        self.write(false);
        if self.unlooked.is_none_or(|last| now.saturating_sub(last) < rest) {
            return false;
        }
        self.unlooked = None;
        self.lines.partial().is_some_and(|line| self.watch.look(&line))
    }

    /// Ends the last line and writes everything: nothing more comes, or another boot does.
    pub(crate) fn end(&mut self) -> bool {
        let State { lines, watch, log, .. } = self;
        let mut news = false;
        lines.end(|line| {
            news = watch.take(line);
            log.write(line);
        });
        self.unlooked = None;
        self.write(true);
        news
    }

    fn write(&mut self, all: bool) {
        self.log.flush();
        self.unwritten = 0;
        if self.raw.fault().is_some() {
            return;
        }
        let from = self.raw.end().max(self.ring.start());
        let mut fresh = Vec::new();
        self.ring.copy(from, self.ring.end(), &mut fresh);
        let held = match all || self.masker.is_empty() {
            true => 0,
            false => self.masker.held_back(&fresh[fresh.len().saturating_sub(HOLD)..]),
        };
        fresh.truncate(fresh.len() - held);
        stars::hide(&self.masker, &mut fresh);
        self.raw.append(&fresh);
    }

    pub(crate) fn lost(&self) -> Option<std::ops::Range<u64>> {
        let lost = self.raw.lost()?;
        let end = lost.end.min(self.ring.start());
        (end > lost.start).then_some(lost.start..end)
    }

    pub(crate) fn fault(&self) -> Option<String> {
        self.raw.fault().or(self.log.fault()).map(String::from)
    }

    /// When the byte at `offset` came.
    pub(crate) fn arrival(&self, offset: u64) -> Duration {
        self.arrivals.at(offset)
    }

    /// Appends to `out` some bytes from `offset` on, at most `most` and at least one.
    pub(crate) fn copy(&self, offset: u64, most: usize, out: &mut Vec<u8>) -> Outcome {
        if offset >= self.ring.start() {
            let to = offset.saturating_add(most as u64);
            self.ring.copy(offset, to, out);
            return Ok(());
        }
        let most = most.min((self.ring.start() - offset) as usize);
        let read = self.raw.read(offset, most, out);
        read.map_err(|why| Trouble::rack(self.fault().unwrap_or_else(|| why.to_string())))
    }

    /// Replaces `out` by a window of the stream from `offset` on; true if nothing follows it yet.
    pub(crate) fn window(&self, offset: u64, most: usize, out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        while out.len() < most && offset + (out.len() as u64) < self.position() {
            self.copy(offset + out.len() as u64, most - out.len(), out)?;
        }
        Ok(offset + out.len() as u64 >= self.position())
    }

    /// The stream's last bytes, at most `most` and no more than are in memory, and the offset of
    /// the first of them.
    pub(crate) fn recent(&self, most: u64) -> (u64, Vec<u8>) {
        let from = self.ring.start().max(self.ring.end().saturating_sub(most));
        let mut out = Vec::new();
        self.ring.copy(from, self.ring.end(), &mut out);
        (from, out)
    }
}
