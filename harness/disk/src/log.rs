//! The write log: everything that happened to a run's disks, in one total order, for exploring crash
//! states later. Its reader is `logread`; what the order means is POWERCUT's.
//!
//! # Format, version 1
//! All numbers are little-endian. A file starts with the 12 bytes `hil-disk-log` and a `u32`, the
//! version. Then come records, each 48 bytes:
//!
//! | offset | type | |
//! |---|---|---|
//! | 0 | u8 | event: 1 submitted, 2 replied, 3 mark, 4 fate, 5 cut |
//! | 1 | u8 | request: 0 none, 1 write, 2 write-zeroes, 3 trim, 4 flush |
//! | 2 | u8 | flags: 1 FUA, 2 NO_HOLE, 4 the reply is an error, 8 a trim that is old or zero |
//! | 3 | u8 | 0 |
//! | 4 | u32 | disk, as numbered by whoever made the log |
//! | 8 | u64 | the request's number, ascending with each submission, per disk |
//! | 16 | u64 | nanoseconds since the log was made, monotonic |
//! | 24 | u64 | offset on the disk |
//! | 32 | u64 | length; of a mark: bytes of UTF-8 text that follow the record |
//! | 40 | u64 | of a write: where its content lies in the disk's content file |
//!
//! A *reply* repeats the request's numbers; it stands in the log before it is sent. A *cut* is
//! preceded by one *fate* for each request that was pending, whose length is what was kept of it.
//! After the cut nothing is pending: a request without a fate is durable. Only a trim with flag 8
//! took effect just where its fates say so; it may have several, also before the cut, when a full
//! cache decided early. Applied in the order of their numbers, the requests of a boot make the
//! image that the next one starts from.
//!
//! The log of a disk starts from the layer as it stood when the disk was made. Host-side writes
//! appear as FUA writes. An incomplete last record was cut short by a kill and is no error.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::error::Error;

pub(crate) const MAGIC: &[u8; 12] = b"hil-disk-log";
pub(crate) const VERSION: u32 = 1;
pub(crate) const RECORD: usize = 48;

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEvent {
    Submitted,
    Replied,
    Mark,
    Fate,
    Cut,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write,
    Zeroes,
    Trim,
    Flush,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub event: LogEvent,
    /// `None` for marks and cuts.
    pub kind: Option<Kind>,
    pub fua: bool,
    pub no_hole: bool,
    /// The reply was an error.
    pub failed: bool,
    /// A trim that leaves old content or zero, even when flushed.
    pub old_or_zero: bool,
    pub disk: u32,
    pub number: u64,
    /// Nanoseconds since the log was made.
    pub time: u64,
    pub offset: u64,
    pub len: u64,
    /// Where a write's content lies in the disk's content file.
    pub at: u64,
    /// The text of a mark.
    pub text: String,
}

impl Record {
    pub(crate) fn new(event: LogEvent, kind: Option<Kind>, number: u64) -> Record {
        Record {
            event,
            kind,
            fua: false,
            no_hole: false,
            failed: false,
            old_or_zero: false,
            disk: 0,
            number,
            time: 0,
            offset: 0,
            len: 0,
            at: 0,
            text: String::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD + self.text.len());
        let event = match self.event {
            LogEvent::Submitted => 1,
            LogEvent::Replied => 2,
            LogEvent::Mark => 3,
            LogEvent::Fate => 4,
            LogEvent::Cut => 5,
        };
        let kind = match self.kind {
            None => 0,
            Some(Kind::Write) => 1,
            Some(Kind::Zeroes) => 2,
            Some(Kind::Trim) => 3,
            Some(Kind::Flush) => 4,
        };
        let flags = u8::from(self.fua)
            | u8::from(self.no_hole) << 1
            | u8::from(self.failed) << 2
            | u8::from(self.old_or_zero) << 3;
        out.extend([event, kind, flags, 0]);
        out.extend(self.disk.to_le_bytes());
        for number in [self.number, self.time, self.offset, self.len, self.at] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.text.as_bytes());
        out
    }
}

/// A log that one or more disks of a run write to. Cloning gives another handle of the same log.
#[derive(Debug, Clone)]
pub struct WriteLog {
    file: Arc<Mutex<File>>,
    path: PathBuf,
    start: Instant,
}

impl WriteLog {
    /// Creates the file; it must not exist.
    pub fn create(path: impl AsRef<Path>) -> Result<WriteLog, Error> {
        let path = path.as_ref().to_owned();
        let made = File::options().append(true).create_new(true).open(&path);
        let made = made.and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                Ok(WriteLog { file: Arc::new(Mutex::new(file)), path, start: Instant::now() })
            }
            Err(source) => Err(Error::Create { what: "write log", path, source }),
        }
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record, stamped within the lock that gives it its place in the order.
    pub(crate) fn append(&self, mut record: Record) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        record.time = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        file.write_all(&record.encode())
    }
}
