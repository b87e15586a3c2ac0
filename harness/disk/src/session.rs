//! The guest's side of a disk, without a wire: requests are begun and finished, in any overlap. The
//! server is its one user besides the tests of the model.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, MutexGuard};

use crate::cache::What;
use crate::disk::{Disk, Shared, State};
use crate::error::{Fault, FaultKind};
use crate::event::Phase;
use crate::log::{Kind, LogEvent, Record};
use crate::present::SECTOR;
use crate::profile::Discard;

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The disk is frozen or lost its power: there is no reply at all.
    Frozen,
    /// The request makes no sense for this disk.
    Invalid,
    /// The host has no space for it; the disk's owner was told.
    NoSpace,
    /// The host cannot read or write; the disk's owner was told.
    Io,
}

impl From<&Fault> for Refused {
    fn from(fault: &Fault) -> Refused {
        match fault.kind {
            FaultKind::NoSpace => Refused::NoSpace,
            FaultKind::Io => Refused::Io,
        }
    }
}

/// One connection's life, from power-on to power-off at most.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    generation: u64,
    size: u64,
}

/// A request that changes something.
#[derive(Debug)]
pub enum Request {
    Write { offset: u64, content: Content, fua: bool },
    Zeroes { offset: u64, len: u64, fua: bool, no_hole: bool },
    Trim { offset: u64, len: u64, fua: bool },
    Flush,
}

/// The content of a write as it comes in. Dropping it unsubmitted gives it up.
pub struct Content {
    shared: Arc<Shared>,
    file: Arc<File>,
    at: u64,
    len: u64,
    filled: u64,
    submitted: bool,
}

/// A request in flight. Dropping it without [`Ticket::finish`] says that its client is gone: it is
/// then no longer in flight, and like any other completed request.
pub struct Ticket {
    shared: Arc<Shared>,
    generation: u64,
    record: Record,
    kind: Kind,
    /// Of a flush: what it covers.
    covers: u64,
    finished: bool,
}

impl Disk {
    /// Begins a session, unless the disk is frozen.
    pub fn session(&self) -> Result<Session, Refused> {
        let mut state = self.shared.lock();
        if state.frozen {
            return Err(Refused::Frozen);
        }
        state.stats.connections += 1;
        let (generation, size) = (state.generation, state.size);
        Ok(Session { shared: self.shared.clone(), generation, size })
    }
}

impl Session {
    /// Whether the request lies on the disk and on its sectors.
    pub fn check(&self, offset: u64, len: u64) -> Result<(), Refused> {
        let end = offset.checked_add(len).ok_or(Refused::Invalid)?;
        let whole = offset.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR);
        if len > 0 && whole && end <= self.size { Ok(()) } else { Err(Refused::Invalid) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Refused> {
        let state = self.shared.lock();
        alive(&state, self.generation)?;
        Ok(state)
    }

    /// Counts a read that [`Session::read_at`] then serves in parts.
    pub fn begin_read(&self, offset: u64, len: u64) -> Result<(), Refused> {
        self.check(offset, len)?;
        let mut state = self.lock()?;
        state.stats.reads += 1;
        state.stats.bytes_read += len;
        Ok(())
    }

    /// Reads the newest content.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Refused> {
        self.check(offset, buf.len() as u64)?;
        let mut state = self.lock()?;
        let Err(error) = state.cache.read_at(offset, buf) else { return Ok(()) };
        let dir = state.cache.layer().dir().to_owned();
        let fault = Fault::new("read the disk layer or its image", &dir, &error);
        Err(Refused::from(&self.shared.fault(&mut state, fault)))
    }

    /// Makes room for the content of a write.
    pub fn content(&self, len: u64) -> Result<Content, Refused> {
        let mut state = self.lock()?;
        let journal = state.cache.journal();
        let (at, file) = (journal.reserve(len), journal.file());
        let shared = self.shared.clone();
        Ok(Content { shared, file, at, len, filled: 0, submitted: false })
    }

    /// Begins a request: it takes effect, and is in flight from now on.
    pub fn begin(&self, request: Request) -> Result<Ticket, Refused> {
        let (kind, range, what, fua, content) = match request {
            Request::Flush => return self.begin_flush(),
            Request::Write { offset, content, fua } => {
                let what = What::Data { at: content.at };
                (Kind::Write, (offset, content.len), what, fua, Some(content))
            }
            Request::Zeroes { offset, len, fua, no_hole } => {
                let what = What::Zeroes { provision: no_hole };
                (Kind::Zeroes, (offset, len), what, fua, None)
            }
            Request::Trim { offset, len, fua } => {
                (Kind::Trim, (offset, len), What::Trim, fua, None)
            }
        };
        self.check(range.0, range.1)?;
        if content.as_ref().is_some_and(|content| content.filled != content.len) {
            return Err(Refused::Invalid);
        }
        let (ticket, content) = (self.submit(kind, range.0..range.0 + range.1, what, fua), content);
        if let (Ok(_), Some(mut content)) = (&ticket, content) {
            content.submitted = true;
        }
        ticket
    }

    fn submit(
        &self,
        kind: Kind,
        range: Range<u64>,
        what: What,
        fua: bool,
    ) -> Result<Ticket, Refused> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        let submitted = state.cache.submit(what, range.clone(), fua);
        let seq = submitted.map_err(|fault| Refused::from(&self.shared.fault(state, fault)))?;
        let len = range.end - range.start;
        let mut record = Record::new(LogEvent::Submitted, Some(kind), seq);
        (record.offset, record.len, record.fua) = (range.start, len, fua);
        match what {
            What::Data { at } => record.at = at,
            What::Zeroes { provision } => record.no_hole = provision,
            What::Trim => record.old_or_zero = state.discard == Discard::OldOrZero,
        }
        state.stats.fua += u64::from(fua);
        match kind {
            Kind::Write => {
                state.stats.writes += 1;
                state.stats.bytes_written += len;
            }
            Kind::Zeroes => state.stats.zeroes += 1,
            Kind::Trim => state.stats.trims += 1,
            Kind::Flush => {}
        }
        Ok(self.ticket(state, kind, record, 0))
    }

    fn begin_flush(&self) -> Result<Ticket, Refused> {
        let mut guard = self.lock()?;
        let state = &mut *guard;
        let covers = state.cache.flush_arrived();
        let record = Record::new(LogEvent::Submitted, Some(Kind::Flush), state.cache.number());
        state.stats.flushes += 1;
        Ok(self.ticket(state, Kind::Flush, record, covers))
    }

    fn ticket(&self, state: &mut State, kind: Kind, record: Record, covers: u64) -> Ticket {
        state.stats.in_flight += 1;
        self.shared.record_decided(state);
        self.shared.record(state, record.clone());
        self.shared.tell(state, Phase::Submitted, kind);
        let shared = self.shared.clone();
        Ticket { shared, generation: self.generation, record, kind, covers, finished: false }
    }
}

impl Content {
    /// Appends what came in.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if self.filled + bytes.len() as u64 > self.len {
            return Err(Refused::Invalid);
        }
        let Err(error) = self.file.write_all_at(bytes, self.at + self.filled) else {
            self.filled += bytes.len() as u64;
            return Ok(());
        };
        let mut state = self.shared.lock();
        let place = state.cache.journal().place().to_owned();
        let fault = Fault::new("write the disk layer", &place, &error);
        Err(Refused::from(&self.shared.fault(&mut state, fault)))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // Once submitted, the cache has released it in the same step.
        if !self.submitted {
            self.shared.lock().cache.journal().release(self.at);
        }
    }
}

impl Ticket {
    /// The request is complete: call this, then send the reply if it says so. From here on a flush
    /// that arrives covers it.
    pub fn finish(mut self) -> Result<(), Refused> {
        self.finished = true;
        let shared = self.shared.clone();
        let mut guard = shared.lock();
        let state = &mut *guard;
        state.stats.in_flight -= 1;
        alive(state, self.generation)?;
        let result = match self.kind {
            Kind::Flush => state.cache.flush(self.covers),
            Kind::Write | Kind::Zeroes | Kind::Trim => state.cache.replied(self.record.number),
        };
        let mut record = self.record.clone();
        record.event = LogEvent::Replied;
        record.failed = result.is_err();
        shared.record(state, record);
        let result = result.map_err(|fault| Refused::from(&shared.fault(state, fault)));
        if shared.tell(state, Phase::Replied, self.kind) { Err(Refused::Frozen) } else { result }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut state = self.shared.lock();
        state.stats.in_flight -= 1;
        if alive(&state, self.generation).is_ok() && self.kind != Kind::Flush {
            state.cache.retire(self.record.number);
        }
        self.shared.wake();
    }
}

/// A session outlives neither a freeze nor a power cut.
fn alive(state: &State, generation: u64) -> Result<(), Refused> {
    let same = state.generation == generation && !state.frozen;
    if same { Ok(()) } else { Err(Refused::Frozen) }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content {{ {} of {} bytes }}", self.filled, self.len)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket {{ {:?} }}", self.record)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
