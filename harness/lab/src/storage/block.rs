//! Writes an image onto a medium and reads it back. Between two chunks it looks whether it is to
//! stop; a medium that answers nothing holds it up inside the kernel, and only its own thread.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hil_core::deadline::{Deadline, Span};
use hil_core::parts::Progress;
use sha2::{Digest, Sha256};

use super::bmap::{Sha, hex};
use super::device::{ALIGN, Aligned, Device};
use super::source::{Piece, Source};
use crate::error::DriverError;

/// What is read, written and compared at a time; the place of a bad byte is told to this.
const CHUNK: u64 = 4 << 20;

/// After so many bytes the host waits for the medium, so that progress is the medium's and the
/// last wait is short.
const SYNC_EVERY: u64 = 32 << 20;

/// How the caller follows and stops the work.
#[derive(Clone, Copy)]
pub struct Watch<'w> {
    /// Bytes done of bytes to do, writing and reading back together.
    pub progress: Progress<'w>,
    /// Raised to stop between two chunks.
    pub cancel: &'w AtomicBool,
    pub deadline: Deadline,
}

/// What was done to a medium. Bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub data: u64,
    /// Holes of the image, made to read as zeros.
    pub zeroed: u64,
    /// Parts that the image's block map leaves out: untouched.
    pub skipped: u64,
    pub writing: Duration,
    /// Reading it all back and comparing.
    pub verifying: Duration,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "{} MiB written", mib(self.data))?;
        if self.zeroed > 0 {
            write!(f, ", {} MiB zeroed", mib(self.zeroed))?;
        }
        if self.skipped > 0 {
            write!(f, ", {} MiB left out by the block map", mib(self.skipped))?;
        }
        write!(f, " in {}, read back in {}", Span(self.writing), Span(self.verifying))
    }
}

/// A chunk that was written, for reading it back; no digest stands for zeros.
struct Chunk {
    offset: u64,
    length: usize,
    sha: Option<Sha>,
}

/// Writes all of `source` and compares what the medium then holds with what was written.
pub(crate) fn write(
    source: &Source,
    device: &Device,
    watch: &Watch<'_>,
) -> Result<Written, DriverError> {
    if source.size > device.size() {
        return Err(DriverError::new(format!(
            "write {} onto {}: the image has {} bytes, the medium only {}",
            source.path.display(),
            device.path().display(),
            source.size,
            device.size()
        )));
    }
    let mut work = Work { source, device, watch, done: 0, unsynced: 0, chunks: Vec::new() };
    let begun = Instant::now();
    (watch.progress)(0, work.total());
    let mut written = work.write()?;
    written.writing = begun.elapsed();
    let begun = Instant::now();
    work.verify()?;
    written.verifying = begun.elapsed();
    Ok(written)
}

struct Work<'w> {
    source: &'w Source,
    device: &'w Device,
    watch: &'w Watch<'w>,
    done: u64,
    unsynced: u64,
    chunks: Vec<Chunk>,
}

impl Work<'_> {
    fn total(&self) -> u64 {
        2 * self.source.work()
    }

    fn write(&mut self) -> Result<Written, DriverError> {
        let source = self.source;
        let mut written = Written { skipped: source.size - source.work(), ..Written::default() };
        let mut buffer = vec![0; CHUNK as usize];
        for piece in &source.pieces {
            let mut whole = piece.digest().map(|_| Sha256::new());
            let range = piece.range();
            for offset in (range.start..range.end).step_by(CHUNK as usize) {
                let length = (range.end - offset).min(CHUNK);
                self.go_on("write")?;
                match piece {
                    Piece::Data(..) => {
                        let bytes = &mut buffer[..length as usize];
                        source.read_at(offset, bytes).map_err(|why| self.unreadable(&why))?;
                        whole.iter_mut().for_each(|whole| whole.update(&*bytes));
                        self.data(offset, bytes)?;
                        written.data += length;
                    }
                    Piece::Zeros(_) => {
                        let zeroed = self.device.zero(offset, length);
                        zeroed.map_err(|why| self.failed("zero", offset, &why))?;
                        self.chunks.push(Chunk { offset, length: length as usize, sha: None });
                        written.zeroed += length;
                    }
                }
                self.step(length)?;
            }
            self.compare_with_map(piece, whole)?;
        }
        self.sync()?;
        Ok(written)
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DriverError> {
        let written = self.device.write_at(offset, bytes);
        written.map_err(|why| self.failed("write", offset, &why))?;
        let sha = Some(Sha256::digest(bytes).into());
        self.chunks.push(Chunk { offset, length: bytes.len(), sha });
        Ok(())
    }

    fn step(&mut self, length: u64) -> Result<(), DriverError> {
        self.unsynced += length;
        if self.unsynced >= SYNC_EVERY {
            self.sync()?;
        }
        self.advance(length);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DriverError> {
        self.unsynced = 0;
        self.device.sync().map_err(|why| self.failed("write", 0, &why))
    }

    fn advance(&mut self, length: u64) {
        self.done += length;
        (self.watch.progress)(self.done, self.total());
    }

    fn compare_with_map(&self, piece: &Piece, whole: Option<Sha256>) -> Result<(), DriverError> {
        let (Some(want), Some(whole)) = (piece.digest(), whole) else { return Ok(()) };
        let (range, have) = (piece.range(), Sha::from(whole.finalize()));
        if have == *want {
            return Ok(());
        }
        Err(DriverError::new(format!(
            "read the image {}: its bytes {} to {} are not those that its block map {} was made \
             of (sha256 {}, {} in the map): one of the two is damaged or of another build",
            self.source.path.display(),
            range.start,
            range.end,
            self.source.map.as_deref().unwrap_or(&self.source.path).display(),
            hex(&have),
            hex(want)
        )))
    }

    fn verify(&mut self) -> Result<(), DriverError> {
        let mut buffer = Aligned::new((CHUNK + ALIGN) as usize);
        let chunks = std::mem::take(&mut self.chunks);
        for chunk in &chunks {
            self.go_on("read back")?;
            let (offset, length) = (chunk.offset, chunk.length);
            // A block map may count in blocks smaller than those a medium is read in.
            let before = (offset % ALIGN) as usize;
            let read = self.device.read_back(offset - before as u64, before + length, &mut buffer);
            let bytes = &read.map_err(|why| self.failed("read back", offset, &why))?[before..];
            let same = match chunk.sha {
                Some(sha) => sha == Sha::from(Sha256::digest(bytes)),
                None => bytes.iter().all(|byte| *byte == 0),
            };
            if !same {
                return Err(self.differs(chunk, bytes));
            }
            self.advance(length as u64);
        }
        Ok(())
    }

    /// Names the first byte that differs, where the image can still be read.
    fn differs(&self, chunk: &Chunk, bytes: &[u8]) -> DriverError {
        let mut want = vec![0; bytes.len()];
        if chunk.sha.is_some() && self.source.read_at(chunk.offset, &mut want).is_err() {
            want.clear();
        }
        let first = want.iter().zip(bytes).position(|(want, have)| want != have);
        DriverError::new(format!(
            "verify {}: from byte {} on it does not hold what was written there, though it \
             accepted it: it is worn out, or smaller than it says; take another card",
            self.device.path().display(),
            chunk.offset + first.unwrap_or(0) as u64,
        ))
    }

    fn go_on(&self, doing: &str) -> Result<(), DriverError> {
        let why = if self.watch.cancel.load(Ordering::Relaxed) {
            "stopped".to_string()
        } else if self.watch.deadline.passed() {
            format!("not done within {}", self.watch.deadline)
        } else {
            return Ok(());
        };
        let (path, of) = (self.device.path().display(), self.total());
        let percent = (self.done * 100).checked_div(of).unwrap_or(0);
        Err(DriverError::new(format!("{doing} {path}: {why}, at {percent} %")))
    }

    fn unreadable(&self, why: &io::Error) -> DriverError {
        DriverError::new(format!("read the image {}: {why}", self.source.path.display()))
    }

    fn failed(&self, doing: &str, offset: u64, why: &io::Error) -> DriverError {
        let path = self.device.path().display();
        let place = if offset == 0 { String::new() } else { format!(" at byte {offset}") };
        let hint = match self.device.is_block() {
            true => ": check the card, its contacts and the mux; the kernel's log says more",
            false => "",
        };
        DriverError::new(format!("{doing} {path}{place}: {why}{hint}"))
    }
}
