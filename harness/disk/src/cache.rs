//! The volatile write cache: which requests a power cut may still take, what a read sees meanwhile,
//! and what becomes durable when. The rules are POWERCUT's "Events and the legal images". It does
//! not choose what a cut takes (`cut` does), and knows neither clients nor threads.
//!
//! Requests are numbered as they come in. Durable content lives in the layer; the content of every
//! other request in the journal. `newest` says where reads find what is not in the layer. Once a
//! request is settled, older pending ones are clipped by it, so that no older version resurfaces.
//!
//! Memory is bounded by `limit` index items. A guest that goes over it without a flush has its
//! oldest requests *destaged*: they become durable on their own, as a real device's cache evicts.
//! That only shrinks the set of images a cut may show, and is counted, so that a report can say so.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::error::Fault;
use crate::journal::Journal;
use crate::layer::Layer;
use crate::profile::Discard;
use crate::ranges::{RangeMap, subtract};

/// Bytes copied at a time from the journal to the layer.
const COPY: usize = 64 << 10;

/// What a request does to its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Content that lies at this offset of the journal.
    Data {
        at: u64,
    },
    Zeroes {
        provision: bool,
    },
    Trim,
}

/// A request that is not settled.
#[derive(Debug)]
struct Op {
    what: What,
    range: Range<u64>,
    /// What newer settled requests left of the range; `None` is all of it.
    clipped: Option<Vec<Range<u64>>>,
    fua: bool,
    /// When its reply was sent, counted in replies; `None` while it is in flight.
    replied: Option<u64>,
}

impl Op {
    fn pieces(&self) -> &[Range<u64>] {
        self.clipped.as_deref().unwrap_or(std::slice::from_ref(&self.range))
    }
}

/// Where a range's newest content is, if not in the layer.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: u64,
    /// Journal offset minus disk offset; `None` reads as zero.
    delta: Option<u64>,
}

/// A request as a cut sees it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) seq: u64,
    pub(crate) range: Range<u64>,
    pub(crate) in_flight: bool,
    /// A trim that a flush has passed: old or zero for good.
    pub(crate) flushed_trim: bool,
}

#[derive(Debug)]
pub(crate) struct Cache {
    layer: Layer,
    journal: Journal,
    pending: BTreeMap<u64, Op>,
    newest: RangeMap<Newest>,
    /// Trims that were flushed under [`Discard::OldOrZero`], by the number of the request.
    trimmed: RangeMap<u64>,
    next: u64,
    replies: u64,
    /// Pieces of clipped requests, for the bound.
    clips: usize,
    limit: usize,
    destaged: u64,
    /// Flushed trims that were made zero because the bound was reached, for the log.
    decided: Vec<(u64, Range<u64>)>,
    discard: Discard,
    write_through: bool,
    scratch: Vec<u8>,
}

impl Cache {
    pub(crate) fn new(
        layer: Layer,
        journal: Journal,
        discard: Discard,
        write_through: bool,
        limit: usize,
    ) -> Cache {
        Cache {
            layer,
            journal,
            pending: BTreeMap::new(),
            newest: RangeMap::new(),
            trimmed: RangeMap::new(),
            next: 1,
            replies: 0,
            clips: 0,
            limit,
            destaged: 0,
            decided: Vec::new(),
            discard,
            write_through,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The layer, of which nothing may be pending.
    pub(crate) fn layer_mut(&mut self) -> &mut Layer {
        &mut self.layer
    }

    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    pub(crate) fn journal_space(&self) -> io::Result<u64> {
        self.journal.space()
    }

    /// Requests and flushed trims that a cut may still take.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len() + self.trimmed.len()
    }

    /// Requests that became durable because the bound was reached.
    pub(crate) fn destaged(&self) -> u64 {
        self.destaged
    }

    /// Flushed trims that became zero for good since this was last asked.
    pub(crate) fn take_decided(&mut self) -> Vec<(u64, Range<u64>)> {
        std::mem::take(&mut self.decided)
    }

    /// An upper bound of what all indexes and buffers cost in memory. Tree nodes may be half empty.
    pub(crate) fn index_bytes(&self) -> usize {
        let ops = self.pending.len() * size_of::<(u64, Op)>();
        let newest = self.newest.len() * size_of::<(u64, u64, Newest)>();
        let trimmed = self.trimmed.len() * size_of::<(u64, u64, u64)>();
        let clips = self.clips * size_of::<Range<u64>>();
        2 * (ops + newest + trimmed + clips) + self.scratch.capacity() + self.layer.index_bytes()
    }

    /// The next request's number.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A request came in whole. Its effect is what reads see from now on.
    pub(crate) fn submit(
        &mut self,
        what: What,
        range: Range<u64>,
        fua: bool,
    ) -> Result<u64, Fault> {
        self.bound()?;
        let seq = self.number();
        let delta = match what {
            What::Data { at } => {
                self.journal.release(at);
                Some(at.wrapping_sub(range.start))
            }
            What::Zeroes { .. } | What::Trim => None,
        };
        self.newest.insert(range.clone(), Newest { seq, delta });
        self.pending.insert(seq, Op { what, range, clipped: None, fua, replied: None });
        Ok(seq)
    }

    /// The reply to a request is about to be sent.
    pub(crate) fn replied(&mut self, seq: u64) -> Result<(), Fault> {
        self.replies += 1;
        let Some(op) = self.pending.get_mut(&seq) else { return Ok(()) };
        // Should settling fail, the request stays pending like any completed one.
        op.replied = Some(self.replies);
        if op.fua || self.write_through { self.settle(&[seq]) } else { Ok(()) }
    }

    /// The client of a request is gone: nobody will be told, and a later flush covers it.
    pub(crate) fn retire(&mut self, seq: u64) {
        self.replies += 1;
        if let Some(op) = self.pending.get_mut(&seq) {
            op.replied = Some(self.replies);
        }
    }

    /// A flush arrived: what it will cover is told by the returned number.
    pub(crate) fn flush_arrived(&self) -> u64 {
        self.replies
    }

    /// A flush completes: everything replied before it arrived is durable.
    pub(crate) fn flush(&mut self, arrived: u64) -> Result<(), Fault> {
        let covered = |op: &Op| op.replied.is_some_and(|replied| replied <= arrived);
        let seqs: Vec<u64> =
            self.pending.iter().filter(|(_, op)| covered(op)).map(|(seq, _)| *seq).collect();
        self.settle(&seqs)
    }

    /// Reads what the guest sees: the newest version of everything. `offset` may be any.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        let mut rest = buf;
        let mut at = offset;
        for (range, newest) in self.newest.overlapping(offset..end) {
            let (gap, after) = rest.split_at_mut((range.start - at) as usize);
            let (part, after) = after.split_at_mut((range.end - range.start) as usize);
            self.layer.read_at(at, gap)?;
            match newest.delta {
                None => part.fill(0),
                Some(delta) => self.journal.read_at(range.start.wrapping_add(delta), part)?,
            }
            at = range.end;
            rest = after;
        }
        self.layer.read_at(at, rest)
    }

    /// Makes requests durable, in ascending order of their numbers.
    fn settle(&mut self, seqs: &[u64]) -> Result<(), Fault> {
        let mut done: Vec<(u64, Range<u64>)> = Vec::new();
        let mut result = Ok(());
        for &seq in seqs {
            let Some(op) = self.pending.remove(&seq) else { continue };
            if op.what == What::Trim && self.discard == Discard::OldOrZero {
                self.soften(seq, &op);
            } else if let Err(fault) = self.put(&op, op.range.end) {
                self.pending.insert(seq, op);
                result = Err(fault);
                break;
            } else {
                self.newest.remove_where(op.range.clone(), |newest| newest.seq == seq);
                self.trimmed.remove_where(op.range.clone(), |trim| trim < seq);
                done.push((seq, op.range.clone()));
            }
            self.clips -= op.clipped.as_ref().map_or(0, Vec::len);
        }
        self.clip_older(&done);
        self.reclaim();
        result
    }

    /// A flushed trim stays old or zero until something newer is durable.
    fn soften(&mut self, seq: u64, op: &Op) {
        for piece in op.pieces() {
            let held = self.trimmed.carve(piece.clone());
            self.trimmed.insert(piece.clone(), seq);
            for (range, newer) in held.into_iter().filter(|(_, other)| *other > seq) {
                self.trimmed.insert(range, newer);
            }
        }
    }

    /// Writes what is left of a request, below the offset `upto`, to the layer.
    fn put(&mut self, op: &Op, upto: u64) -> Result<(), Fault> {
        for piece in op.pieces() {
            let piece = piece.start..piece.end.min(upto);
            if piece.start >= piece.end {
                continue;
            }
            match op.what {
                What::Data { at } => self.copy(at + (piece.start - op.range.start), piece)?,
                What::Zeroes { provision } => self.zero(piece, provision)?,
                What::Trim => self.zero(piece, false)?,
            }
        }
        Ok(())
    }

    fn copy(&mut self, from: u64, to: Range<u64>) -> Result<(), Fault> {
        if self.scratch.is_empty() {
            self.scratch.resize(COPY, 0);
        }
        let mut at = to.start;
        while at < to.end {
            let count = (to.end - at).min(COPY as u64) as usize;
            let chunk = &mut self.scratch[..count];
            self.journal.read_at(from + (at - to.start), chunk).map_err(|e| {
                Fault::new("read back a disk's written content", self.journal.place(), &e)
            })?;
            self.layer
                .write_sectors(at, chunk)
                .map_err(|e| Fault::new("write the disk layer", self.layer.dir(), &e))?;
            at += count as u64;
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>, provision: bool) -> Result<(), Fault> {
        self.layer
            .zero(range, provision)
            .map_err(|e| Fault::new("write the disk layer", self.layer.dir(), &e))
    }

    /// Older pending requests lose what newer, now durable ones cover.
    fn clip_older(&mut self, done: &[(u64, Range<u64>)]) {
        let Some((last, _)) = done.last() else { return };
        let mut gone = Vec::new();
        for (&seq, op) in self.pending.range_mut(..last) {
            for (_, range) in done.iter().filter(|(newer, _)| *newer > seq) {
                if range.end <= op.range.start || op.range.end <= range.start {
                    continue;
                }
                let left = subtract(op.pieces(), range);
                self.clips += left.len();
                self.clips -= op.clipped.as_ref().map_or(0, Vec::len);
                op.clipped = Some(left);
            }
            if op.pieces().is_empty() {
                gone.push(seq);
            }
        }
        for seq in gone {
            self.pending.remove(&seq);
        }
    }

    /// Keeps the indexes within the bound, a batch at a time.
    fn bound(&mut self) -> Result<(), Fault> {
        if self.items() < self.limit {
            return Ok(());
        }
        let target = self.limit - self.limit / 8;
        let before = self.pending();
        while self.items() > target {
            if let Some((range, seq)) = self.trimmed.first() {
                self.zero(range.clone(), false)?;
                self.trimmed.carve(range.clone());
                self.newest.remove_where(range.clone(), |newest| newest.seq == seq);
                self.decided.push((seq, range.clone()));
                self.clip_older(&[(seq, range)]);
                continue;
            }
            // Trims among these are only softened by it, and go in the next round.
            let batch: Vec<u64> = self.pending.keys().take(64).copied().collect();
            if batch.is_empty() {
                break;
            }
            self.settle(&batch)?;
        }
        self.destaged += before.saturating_sub(self.pending()) as u64;
        Ok(())
    }

    fn items(&self) -> usize {
        self.pending.len() + self.newest.len() + self.trimmed.len() + self.clips
    }

    /// Everything pending meets its fate: `choose` says up to which offset of its range each
    /// request is kept. What remains is durable.
    pub(crate) fn cut(&mut self, mut choose: impl FnMut(&Candidate) -> u64) -> Result<(), Fault> {
        for candidate in self.candidates() {
            let upto = choose(&candidate);
            if candidate.flushed_trim {
                let kept = candidate.range.start..upto.min(candidate.range.end);
                if kept.start < kept.end {
                    self.zero(kept, false)?;
                }
                continue;
            }
            let Some(op) = self.pending.remove(&candidate.seq) else { continue };
            self.put(&op, upto)?;
        }
        self.trimmed.clear();
        self.newest.clear();
        self.clips = 0;
        self.reclaim();
        Ok(())
    }

    /// In the order of the requests; the parts of a flushed trim in that of their offsets.
    fn candidates(&self) -> Vec<Candidate> {
        let ops = self.pending.iter().map(|(&seq, op)| Candidate {
            seq,
            range: op.range.clone(),
            in_flight: op.replied.is_none(),
            flushed_trim: false,
        });
        let trims = self.trimmed.iter().map(|(range, seq)| Candidate {
            seq,
            range,
            in_flight: false,
            flushed_trim: true,
        });
        let mut all: Vec<Candidate> = ops.chain(trims).collect();
        all.sort_by_key(|candidate| (candidate.seq, candidate.range.start));
        all
    }

    fn reclaim(&mut self) {
        let Cache { journal, pending, .. } = self;
        journal.reclaim(pending.is_empty(), || {
            let places = pending.values().filter_map(|op| match op.what {
                What::Data { at } => Some(at),
                What::Zeroes { .. } | What::Trim => None,
            });
            places.min()
        });
    }
}
