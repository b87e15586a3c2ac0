//! `Capture`: the lossless capture of a serial line over all power cycles of a rig. It reads,
//! records and notices; it does not log in and knows nothing of what is at the line's other end.
//!
//! On disk: `console.raw`, the bytes as they came, secrets masked by stars of their own length,
//! so that offsets in the stream are offsets in the file; `console.log`, lines stamped on the
//! run's clock. Both are bounded (`store`) and written at least every [`TICK`] while bytes come.
//! Offsets and `read` are of the unmasked stream as long as it is in memory, masked after that.

mod lines;
mod log;
mod pump;
mod ring;
mod scan;
mod state;
mod store;
mod tail;
mod watch;

use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hil_core::deadline::Deadline;
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::{Console, Match, Sighting};
use hil_core::stage::StageMarks;
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::Regex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use pump::Pump;
use scan::{Found, Scan, WINDOW};
use state::{RECENT, State};
use tail::Own;

/// How often what has come is written, and how long a line must rest before its unended rest is
/// looked at for marks.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// While bytes stream in, a pattern is looked for this often: cheap, and soon enough.
const SCAN_PAUSE: Duration = Duration::from_millis(2);

/// What a capture may use.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions {
    /// Bytes of `console.raw`, and of `console.log`, that are kept on disk: head and tail.
    pub disk_limit: u64,
    /// Bytes of the stream held in memory; older ones are read back from disk.
    pub memory: usize,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        CaptureOptions { disk_limit: 256 << 20, memory: 256 << 10 }
    }
}

/// What the pump and the readers share.
struct Inner {
    state: Mutex<State>,
    clock: Clock,
    grown: Notify,
    seen: Notify,
    masker: Masker,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The capture of one serial line.
pub struct Capture {
    inner: Arc<Inner>,
    writer: tokio::sync::Mutex<Option<Writer>>,
    pump: Mutex<Option<Pump>>,
}

impl Capture {
    /// Begins `console.raw` and `console.log` in `dir`, which is made if it is missing.
    pub fn open(
        dir: &Path,
        clock: Clock,
        marks: &StageMarks,
        masker: Masker,
        options: CaptureOptions,
    ) -> Outcome<Arc<Capture>> {
        let state = State::open(dir, marks, &masker, options)
            .map_err(|why| Trouble::rack(format!("capture the console: {why}")))?;
        let state = Mutex::new(state);
        let (grown, seen) = (Notify::new(), Notify::new());
        let inner = Arc::new(Inner { state, clock, grown, seen, masker });
        let writer = tokio::sync::Mutex::new(None);
        Ok(Arc::new(Capture { inner, writer, pump: Mutex::new(None) }))
    }

    /// Looks for other marks from now on: the same board boots another image.
    pub fn set_marks(&self, marks: &StageMarks) -> Outcome {
        let set = self.inner.state().set_marks(marks);
        set.map_err(|why| Trouble::rack(format!("look for the image's stage marks: {why}")))
    }

    /// Captures from `stream` until it ends; the stream of offsets goes on from where it was.
    /// A stream attached before is let go of; [`Capture::detach`] first takes what it still has.
    pub async fn attach<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let mut at = self.writer.lock().await;
        *at = Some(Box::new(writer));
        *self.pump() = Some(Pump::start(self.inner.clone(), reader));
    }

    /// Lets go of the stream: what it still holds is taken for at most `linger` (until its end, if
    /// the other side has closed it), an unended line is ended, all is written.
    pub async fn detach(&self, linger: Duration) {
        let pump = self.pump().take();
        if let Some(pump) = pump {
            pump.finish(linger).await;
        }
        *self.writer.lock().await = None;
        self.inner.state().end();
        self.inner.grown.notify_waiters();
    }

    /// Whether a stream is attached that has not ended.
    pub fn attached(&self) -> bool {
        self.pump().as_ref().is_some_and(Pump::runs)
    }

    /// Which bytes of the stream are neither on disk nor in memory any more.
    pub fn lost(&self) -> Option<Range<u64>> {
        self.inner.state().lost()
    }

    /// Why the capture on disk is incomplete: a full disk, say. Matching goes on in memory.
    pub fn fault(&self) -> Option<Trouble> {
        self.inner.state().fault().map(Trouble::rack)
    }

    fn pump(&self) -> MutexGuard<'_, Option<Pump>> {
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unmet(&self, pattern: &Regex, deadline: Deadline) -> Trouble {
        let mut why = Vec::new();
        // Writing to a vector cannot fail.
        let _ = write!(why, "/{pattern}/ did not appear on the console within {deadline}");
        let tail = self.tail(3).join(" / ");
        let _ = match tail.is_empty() {
            true => write!(why, "; the console is silent"),
            false => write!(why, "; its last lines: {tail}"),
        };
        Trouble::unmet(self.inner.masker.text(&String::from_utf8_lossy(&why)))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        *self.pump() = None;
        self.inner.state().end();
    }
}

#[async_trait]
impl Console for Capture {
    fn position(&self) -> u64 {
        self.inner.state().position()
    }

    /// Waits while the line takes no more; callers bound it with their deadline.
    async fn send(&self, bytes: &[u8]) -> Outcome {
        let mut writer = self.writer.lock().await;
        let Some(writer) = writer.as_mut() else {
            return Err(Trouble::rack("the console is not connected: the board is off"));
        };
        let sent = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        sent.await.map_err(|why| Trouble::rack(format!("write to the console: {why}")))
    }

    async fn expect(&self, from: u64, pattern: &Regex, deadline: Deadline) -> Outcome<Match> {
        let mut scan = Scan::new(from);
        let mut raw = Vec::new();
        loop {
            let grown = self.inner.grown.notified();
            tokio::pin!(grown);
            // Registered before the look, so that no byte comes unnoticed between the two.
            grown.as_mut().enable();
            let looked_at = Instant::now();
            let last = self.inner.state().window(scan.from(), WINDOW, &mut raw)?;
            match scan.look(&raw, last, pattern) {
                Found::Match(range, groups) => {
                    let at = self.inner.state().arrival(range.end.saturating_sub(1));
                    return Ok(Match { start: range.start, end: range.end, groups, at });
                }
                Found::More => tokio::task::yield_now().await,
                Found::Nothing => {
                    if timeout_at(deadline.instant(), grown).await.is_err() {
                        return Err(self.unmet(pattern, deadline));
                    }
                    sleep_until((looked_at + SCAN_PAUSE).min(deadline.instant())).await;
                }
            }
        }
    }

    fn read(&self, from: u64, most: usize) -> Outcome<Vec<u8>> {
        let mut out = Vec::new();
        let state = self.inner.state();
        while out.len() < most && from + (out.len() as u64) < state.position() {
            state.copy(from + out.len() as u64, most - out.len(), &mut out)?;
        }
        Ok(out)
    }

    fn tail(&self, lines: usize) -> Vec<String> {
        let look = |reach, own| {
            let (from, raw) = self.inner.state().recent(reach);
            (from == 0, tail::tail(&raw, from == 0, lines, &self.inner.masker, own))
        };
        let (whole, near) = look(RECENT, Own::Hidden);
        if near.len() == lines || (whole && !near.is_empty()) {
            return near;
        }
        // The shell may have spoken for long; better its words than to call a console silent.
        match look(u64::MAX, Own::Hidden).1 {
            none if none.is_empty() => look(RECENT, Own::Shown).1,
            far => far,
        }
    }

    fn sightings(&self) -> u64 {
        self.inner.state().watch().sightings()
    }

    async fn sighting(&self, cursor: &mut u64) -> Sighting {
        loop {
            let seen = self.inner.seen.notified();
            tokio::pin!(seen);
            seen.as_mut().enable();
            let next = self.inner.state().watch().next(cursor);
            match next {
                Some(sighting) => return sighting,
                None => seen.await,
            }
        }
    }
}
