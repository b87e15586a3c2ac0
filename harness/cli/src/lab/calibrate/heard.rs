//! What came over a line and when: each read with the time at which it came, for measuring. The
//! capture behind it notices and records as ever.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hil_core::event::Clock;
use hil_lab::serial::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads kept: some seconds of a busy line.
const MOST: usize = 1 << 14;

/// A pause as long as this is no gap of a board that talks.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// One read.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Since the clock's start.
    pub(super) at: Duration,
    pub(super) bytes: Vec<u8>,
}

/// The reads of one line, the newest last.
#[derive(Clone)]
pub(super) struct Heard {
    chunks: Arc<Mutex<VecDeque<Chunk>>>,
    clock: Clock,
}

impl Heard {
    pub(super) fn new(clock: Clock) -> Heard {
        Heard { chunks: Arc::default(), clock }
    }

    /// The same line, overheard.
    pub(super) fn listen(&self, line: Box<dyn Stream>) -> Overheard {
        Overheard { line, heard: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Chunk>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn since(&self, from: Duration) -> Vec<Chunk> {
        self.lock().iter().filter(|chunk| chunk.at >= from).cloned().collect()
    }

    fn note(&self, bytes: &[u8]) {
        let mut chunks = self.lock();
        if chunks.len() == MOST {
            chunks.pop_front();
        }
        chunks.push_back(Chunk { at: self.clock.now(), bytes: bytes.to_vec() });
    }
}

/// A line whose reads are noted.
pub(super) struct Overheard {
    line: Box<dyn Stream>,
    heard: Heard,
}

impl AsyncRead for Overheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.line).poll_read(context, buffer);
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            self.heard.note(fresh);
        }
        done
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(context)
    }
}

pub(super) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// The pauses between reads, and from the last one to `until`. Milliseconds.
pub(super) fn gaps(chunks: &[Chunk], until: Duration) -> Vec<f64> {
    let next = chunks.iter().skip(1).map(|chunk| chunk.at).chain([until]);
    chunks.iter().zip(next).map(|(chunk, next)| ms(next.saturating_sub(chunk.at))).collect()
}

/// When the last byte came before the line fell silent for longer than `quiet` after `asked`;
/// `None` where none came after that.
pub(super) fn last_byte(chunks: &[Chunk], asked: Duration, quiet: Duration) -> Option<Duration> {
    let mut last = None;
    for chunk in chunks.iter().filter(|chunk| chunk.at >= asked) {
        if last.is_some_and(|last| chunk.at - last > quiet) {
            break;
        }
        last = Some(chunk.at);
    }
    last
}

/// When a board that was saying nothing but `words` died, after `asked`: before a silence, or
/// before it said anything else, which is another boot. `None`: it talks on at `until`.
pub(super) fn death(
    chunks: &[Chunk],
    asked: Duration,
    until: Duration,
    words: &[u8],
) -> Option<Duration> {
    let mut last = asked;
    for chunk in chunks.iter().filter(|chunk| chunk.at >= asked) {
        if chunk.at - last > QUIET || chunk.bytes.iter().any(|byte| !words.contains(byte)) {
            return Some(last);
        }
        // Line ends alone may be those that a new boot begins with.
        if chunk.bytes.iter().any(|byte| !byte.is_ascii_whitespace()) {
            last = chunk.at;
        }
    }
    (until.saturating_sub(last) > QUIET).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(all: &[(u64, &str)]) -> Vec<Chunk> {
        let chunk = |(at, bytes): &(u64, &str)| Chunk {
            at: Duration::from_millis(*at),
            bytes: bytes.as_bytes().to_vec(),
        };
        all.iter().map(chunk).collect()
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn silence_begins_after_the_last_byte_before_it() {
        let heard = chunks(&[(10, "~"), (20, "~"), (30, "~"), (500, "U-Boot")]);
        assert_eq!(last_byte(&heard, at(15), QUIET), Some(at(30)));
        assert_eq!(last_byte(&heard, at(600), QUIET), None);
        assert_eq!(gaps(&heard[..3], at(45)), [10.0, 10.0, 15.0]);
    }

    #[test]
    fn a_death_shows_as_silence_or_as_another_boot() {
        let lives = chunks(&[(10, "~~\r\n"), (20, "~~"), (90, "\r\n~"), (150, "~")]);
        assert_eq!(death(&lives, at(15), at(160), b"~\r\n"), None);
        assert_eq!(death(&lives, at(15), at(300), b"~\r\n"), Some(at(150)));
        let reset = chunks(&[(10, "~"), (20, "~"), (28, "\r\n"), (30, "U-Boot"), (40, "~")]);
        assert_eq!(death(&reset, at(15), at(60), b"~\r\n"), Some(at(20)));
        let silent = chunks(&[(10, "~"), (20, "~"), (190, "~")]);
        assert_eq!(death(&silent, at(15), at(200), b"~\r\n"), Some(at(20)));
    }
}
