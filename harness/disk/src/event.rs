//! What a disk tells its owner as it goes: counters, and a step of a request at a time. Nothing here
//! decides anything.

use crate::log::Kind;

/// Counters since the disk was made. Requests that were refused as invalid are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub reads: u64,
    /// Writes, also those with FUA.
    pub writes: u64,
    pub zeroes: u64,
    pub trims: u64,
    /// Flushes, when they arrive.
    pub flushes: u64,
    /// Writes, write-zeroes and trims with FUA.
    pub fua: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Requests submitted, flushes among them, whose reply has not been sent.
    pub in_flight: u64,
    /// Requests that became durable because the cache was full.
    pub destaged: u64,
    /// Connections that reached the point where requests are served.
    pub connections: u64,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It came in whole and has taken effect; it is in flight.
    Submitted,
    /// It is complete; its reply is about to be sent.
    Replied,
}

/// A step of a write, write-zeroes, trim or flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub phase: Phase,
    pub kind: Kind,
    /// How many writes were submitted so far, this one included.
    pub writes: u64,
    /// How many flushes arrived so far, this one included.
    pub flushes: u64,
}

/// What the owner wants after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Continue,
    /// Freeze at exactly this point, as [`crate::Disk::freeze`] does: of a request that was just
    /// submitted, no reply will be sent.
    Freeze,
}
