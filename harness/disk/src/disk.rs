//! A disk as its owner sees it: options, marks, freeze, power cut, faults, counters. One lock holds
//! everything that has an order. The guest's side is `session`'s, the wire `server`'s.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::Base;
use crate::cache::{Cache, What};
use crate::cut::{CutReport, Draw, Policy};
use crate::error::{Error, Fault};
use crate::event::{Event, Next, Phase, Stats};
use crate::journal::Journal;
use crate::layer::Layer;
use crate::log::{Kind, LogEvent, Record, WriteLog};
use crate::present::SECTOR;
use crate::profile::{Discard, Profile};

/// Bytes the host reads or writes at a time.
const CHUNK: u64 = 64 << 10;

/// Called on every request of the guest, under the disk's lock: be quick, and do not call the disk.
pub type OnEvent = Box<dyn FnMut(&Event) -> Next + Send>;

/// Called once, on the first fault, under the disk's lock: be quick, and do not call the disk.
pub type OnFault = Box<dyn FnOnce(&Fault) + Send>;

/// Where a disk records what happens to it.
#[derive(Debug)]
pub struct DiskLog {
    /// The run's log, shared by all its disks.
    pub log: WriteLog,
    /// This disk's number in it.
    pub disk: u32,
    /// The file that keeps all content written; it is created, and grows with every write.
    pub content: PathBuf,
}

/// How a disk behaves.
pub struct DiskOptions {
    pub profile: Profile,
    pub discard: Discard,
    /// What the medium writes in one go; tears fall on its multiples. A power of two from 512.
    pub atomic_unit: u64,
    /// Bound of the index items kept for requests that are not durable, about two a request. Over
    /// it the oldest become durable; see [`CutReport::destaged`]. 16384 cost at most 3 MB.
    pub cache_items: usize,
    pub log: Option<DiskLog>,
    pub on_event: Option<OnEvent>,
    pub on_fault: Option<OnFault>,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            profile: Profile::default(),
            discard: Discard::default(),
            atomic_unit: SECTOR,
            cache_items: 16384,
            log: None,
            on_event: None,
            on_fault: None,
        }
    }
}

/// A disk: a layer and a cache that forgets. Cloning gives another handle of the same disk.
#[derive(Clone)]
pub struct Disk {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(crate) struct State {
    pub(crate) cache: Cache,
    pub(crate) stats: Stats,
    pub(crate) profile: Profile,
    pub(crate) size: u64,
    pub(crate) discard: Discard,
    /// Sessions of older generations are dead: their guest lost its power.
    pub(crate) generation: u64,
    pub(crate) frozen: bool,
    fault: Option<Fault>,
    atomic_unit: u64,
    destaged_before: u64,
    log: Option<DiskLog>,
    on_event: Option<OnEvent>,
    on_fault: Option<OnFault>,
}

impl Disk {
    /// Makes a disk of a layer.
    pub fn new(layer: Layer, options: DiskOptions) -> Result<Disk, Error> {
        if !options.atomic_unit.is_power_of_two() || options.atomic_unit < SECTOR {
            return Err(Error::AtomicUnit(options.atomic_unit));
        }
        let content = options.log.as_ref().map(|log| log.content.as_path());
        let journal = Journal::create(layer.dir(), content)?;
        let size = layer.size();
        let through = !options.profile.has_cache();
        let limit = options.cache_items.max(64);
        let state = State {
            cache: Cache::new(layer, journal, options.discard, through, limit),
            stats: Stats::default(),
            profile: options.profile,
            size,
            discard: options.discard,
            generation: 0,
            frozen: false,
            fault: None,
            atomic_unit: options.atomic_unit,
            destaged_before: 0,
            log: options.log,
            on_event: options.on_event,
            on_fault: options.on_fault,
        };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
        Ok(Disk { shared: Arc::new(shared) })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// The medium it pretends to be.
    pub fn profile(&self) -> Profile {
        self.lock().profile
    }

    /// Stops serving at this instant: no request is taken and no reply sent from now on, though
    /// connections stay open, so that the guest sees nothing but silence. Kill the emulator next.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Serves new connections again after a [`Disk::freeze`] that no power cut followed. Nothing is
    /// lost; those frozen stay dead.
    pub fn thaw(&self) {
        let mut state = self.lock();
        state.frozen = false;
        state.generation += 1;
    }

    /// Whether the disk is frozen.
    pub fn is_frozen(&self) -> bool {
        self.lock().frozen
    }

    /// Takes the power away: what was not durable survives or not, as `policy` and `seed` say, and
    /// what remains is durable. Connections of before are dead; the next one is the next boot.
    /// The same requests and the same seed give the same disk.
    pub fn power_cut(&self, policy: Policy, seed: u64) -> Result<CutReport, Error> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let destaged = state.cache.destaged() - state.destaged_before;
        let mut draw = Draw::new(policy, seed, state.atomic_unit, destaged);
        let mut fates = Vec::new();
        let logging = state.log.is_some();
        let result = state.cache.cut(|candidate| {
            let upto = draw.fate(candidate);
            if logging {
                let mut fate = Record::new(LogEvent::Fate, None, candidate.seq);
                (fate.offset, fate.len) = (candidate.range.start, upto - candidate.range.start);
                fates.push(fate);
            }
            upto
        });
        result.map_err(|fault| self.shared.fault(state, fault))?;
        self.shared.record_decided(state);
        fates.push(Record::new(LogEvent::Cut, None, 0));
        for fate in fates {
            self.shared.record(state, fate);
        }
        state.destaged_before = state.cache.destaged();
        state.generation += 1;
        state.frozen = false;
        Ok(draw.report)
    }

    /// Makes all that was written durable, and that the read-only base of other disks; this one goes
    /// on with nothing of its own over it. Connections of before are dead, as after a power cut.
    pub fn branch(&self) -> Result<Base, Error> {
        self.power_cut(Policy::KeepAll, 0)?;
        self.lock().cache.layer_mut().branch()
    }

    /// Puts a text in the log, in the order of the requests.
    pub fn mark(&self, text: &str) {
        let mut state = self.lock();
        let mut record = Record::new(LogEvent::Mark, None, 0);
        record.len = text.len() as u64;
        record.text = text.to_owned();
        self.shared.record(&mut state, record);
    }

    /// Reads what the guest would read, at any offset.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        for (index, chunk) in buf.chunks_mut(CHUNK as usize).enumerate() {
            let at = offset + index as u64 * CHUNK;
            let mut state = self.lock();
            if let Err(error) = state.cache.read_at(at, chunk) {
                let dir = state.cache.layer().dir().to_owned();
                let fault = Fault::new("read the disk layer or its image", &dir, &error);
                return Err(self.shared.fault(&mut state, fault).into());
            }
        }
        Ok(())
    }

    /// What is durable and may differ from the base, in bytes and in order. After a power cut that
    /// is everything: with it a disk can be copied back onto its image.
    pub fn written(&self) -> Vec<Range<u64>> {
        self.lock().cache.layer().held()
    }

    /// Writes at any offset. It is durable at once and stands in the log as a FUA write.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let end = offset.saturating_add(data.len() as u64);
        let mut state = self.lock();
        if end > state.size {
            let why = format!("a write to {offset}..{end} goes beyond its end");
            return Err(Error::Size { size: state.size, why });
        }
        let mut at = offset;
        while at < end {
            let start = at / SECTOR * SECTOR;
            let stop = end.min(start + CHUNK);
            let mut chunk = vec![0; (stop.next_multiple_of(SECTOR) - start) as usize];
            let part = &data[(at - offset) as usize..(stop - offset) as usize];
            self.write_chunk(&mut state, start, &mut chunk, (at - start) as usize, part)?;
            at = stop;
        }
        Ok(())
    }

    fn write_chunk(
        &self,
        state: &mut State,
        start: u64,
        chunk: &mut [u8],
        from: usize,
        part: &[u8],
    ) -> Result<(), Error> {
        let place = state.cache.layer().dir().to_owned();
        let fail = |state: &mut State, doing, error: &std::io::Error| {
            Error::from(self.shared.fault(state, Fault::new(doing, &place, error)))
        };
        let len = chunk.len() as u64;
        if let Err(e) = state.cache.read_at(start, chunk) {
            return Err(fail(state, "read the disk layer or its image", &e));
        }
        chunk[from..from + part.len()].copy_from_slice(part);
        let at = state.cache.journal().reserve(len);
        let file = state.cache.journal().file();
        if let Err(e) = std::os::unix::fs::FileExt::write_all_at(&*file, chunk, at) {
            state.cache.journal().release(at);
            return Err(fail(state, "write the disk layer", &e));
        }
        let done = state.cache.submit(What::Data { at }, start..start + len, true);
        let seq = done.map_err(|fault| {
            state.cache.journal().release(at);
            self.shared.fault(state, fault)
        })?;
        let mut record = Record::new(LogEvent::Submitted, Some(Kind::Write), seq);
        (record.offset, record.len, record.at, record.fua) = (start, len, at, true);
        self.shared.record_decided(state);
        self.shared.record(state, record.clone());
        state.cache.replied(seq).map_err(|fault| self.shared.fault(state, fault))?;
        record.event = LogEvent::Replied;
        self.shared.record(state, record);
        Ok(())
    }

    /// The first fault of the host, if there was one. From then on the rack is broken.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    /// Waits for a fault for as long as `timeout`.
    pub fn wait_fault(&self, timeout: Duration) -> Option<Fault> {
        self.wait(timeout, |state| state.fault.clone())
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { destaged: state.cache.destaged(), ..state.stats }
    }

    /// Requests that a power cut at this instant could take.
    pub fn pending(&self) -> usize {
        self.lock().cache.pending()
    }

    /// An upper bound of what the disk's indexes and buffers cost in memory, in bytes.
    pub fn index_bytes(&self) -> usize {
        self.lock().cache.index_bytes()
    }

    /// Disk space taken by content that is not in the layer: what is pending, or, with a log, all.
    pub fn content_space(&self) -> Result<u64, Error> {
        let mut state = self.lock();
        let space = state.cache.journal_space();
        space.map_err(|e| {
            let place = state.cache.journal().place().to_owned();
            Error::Fault(Fault::new("look at the written content", &place, &e))
        })
    }

    /// Waits until `found` finds something, or `timeout` is over.
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        found: impl Fn(&State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(result) = found(&state) {
                return Some(result);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `done` says so of the counters, or `timeout` is over; says which.
    pub fn wait_stats(&self, timeout: Duration, done: impl Fn(&Stats) -> bool) -> bool {
        self.wait(timeout, |state| done(&state.stats).then_some(())).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let State { size, profile, generation, frozen, .. } = &*state;
        write!(f, "Disk {{ {size} bytes, {profile:?}, boot {generation}, frozen: {frozen} }}")
    }
}

impl Shared {
    /// A panic elsewhere must not take the disk of a living guest away.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody may wait for what just changed.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Remembers the first fault, tells its owner, and hands the fault back.
    pub(crate) fn fault(&self, state: &mut State, fault: Fault) -> Fault {
        if state.fault.is_none() {
            state.fault = Some(fault.clone());
            if let Some(tell) = state.on_fault.take() {
                tell(&fault);
            }
            self.wake();
        }
        fault
    }

    /// Writes to the log, if there is one. A log that cannot be written is a fault.
    pub(crate) fn record(&self, state: &mut State, mut record: Record) {
        let Some(log) = &state.log else { return };
        record.disk = log.disk;
        if let Err(error) = log.log.append(record) {
            let fault = Fault::new("write the write log", log.log.path(), &error);
            self.fault(state, fault);
        }
    }

    /// Writes down what a full cache decided on its own.
    pub(crate) fn record_decided(&self, state: &mut State) {
        for (seq, range) in state.cache.take_decided() {
            let mut fate = Record::new(LogEvent::Fate, None, seq);
            (fate.offset, fate.len) = (range.start, range.end - range.start);
            self.record(state, fate);
        }
    }

    /// Tells the owner of a step of a request; says whether the disk is frozen after that.
    pub(crate) fn tell(&self, state: &mut State, phase: Phase, kind: Kind) -> bool {
        self.wake();
        let Stats { writes, flushes, .. } = state.stats;
        if let Some(on_event) = &mut state.on_event {
            let next = on_event(&Event { phase, kind, writes, flushes });
            state.frozen |= next == Next::Freeze;
        }
        state.frozen
    }
}
