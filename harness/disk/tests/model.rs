//! The disk against a naive model of POWERCUT's legal images: random requests, overlapping and in
//! flight, then a cut by each policy, over several boots. The log is replayed on the side.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Bench, Dice, SECTOR, begin_write, flush, read_all, write};
use hil_disk::{
    CutReport, Discard, Disk, DiskLog, DiskOptions, Kind, LogEvent, LogReader, Policy, Profile,
    Record, Request, Session, Ticket, WriteLog,
};

const SECTORS: usize = 24;

/// What the model knows of a request.
struct Op {
    sectors: std::ops::Range<usize>,
    /// What its first sector is filled with, the others counting up; `None` is zeros.
    fill: Option<u16>,
    trim: bool,
    completed: bool,
    durable: bool,
}

impl Op {
    fn value(&self, sector: usize) -> u16 {
        self.fill.map_or(0, |fill| fill + (sector - self.sectors.start) as u16)
    }
}

/// Every version of everything since the last cut.
struct Model {
    start: Vec<u16>,
    ops: Vec<Op>,
    discard: Discard,
}

impl Model {
    fn covering(&self, sector: usize) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(move |op| op.sectors.contains(&sector))
    }

    fn newest(&self, sector: usize) -> u16 {
        self.covering(sector).last().map_or(self.start[sector], |op| op.value(sector))
    }

    fn durable(&self, sector: usize) -> u16 {
        self.covering(sector)
            .filter(|op| op.durable)
            .last()
            .map_or(self.start[sector], |op| op.value(sector))
    }

    /// The newest durable version and all newer ones.
    fn legal(&self, sector: usize) -> BTreeSet<u16> {
        let mut legal = BTreeSet::from([self.start[sector]]);
        for op in self.covering(sector) {
            if op.durable {
                legal.clear();
            }
            legal.insert(op.value(sector));
        }
        legal
    }

    fn make_durable(&mut self, index: usize) {
        let op = &mut self.ops[index];
        op.durable = !op.trim || self.discard == Discard::Zero;
    }
}

/// A request in flight.
struct InFlight {
    ticket: Ticket,
    /// Of a change: its index. Of a flush: what it covers.
    index: Option<usize>,
    covers: Vec<usize>,
    fua: bool,
}

struct Run {
    bench: Bench,
    disk: Disk,
    model: Model,
    profile: Profile,
    dice: Dice,
    fills: u16,
}

/// What each sector is filled with.
fn fills(image: &[u8]) -> Vec<u16> {
    let fill = |sector: &[u8]| {
        assert!(sector.chunks(2).all(|pair| pair == &sector[..2]), "a sector is torn within");
        u16::from_le_bytes([sector[0], sector[1]])
    };
    image.chunks(SECTOR).map(fill).collect()
}

impl Run {
    fn new(seed: u64, profile: Profile, discard: Discard, cache_items: usize) -> Run {
        // The disk is larger than its image, by an odd number of sectors.
        let bench = Bench::new((SECTORS - 5) * SECTOR);
        let log = WriteLog::create(bench.path().join("w.log")).unwrap();
        let log = DiskLog { log, disk: 9, content: bench.path().join("content") };
        let options =
            DiskOptions { profile, discard, cache_items, log: Some(log), ..DiskOptions::default() };
        let disk = bench.disk(SECTORS * SECTOR, options);
        let model = Model { start: fills(&read_all(&disk)), ops: Vec::new(), discard };
        Run { bench, disk, model, profile, dice: Dice::new(seed), fills: 0 }
    }

    /// Random requests of one boot; what is left in flight is returned.
    fn boot(&mut self, steps: usize) -> Vec<InFlight> {
        let session = self.disk.session().unwrap();
        let mut flying: Vec<InFlight> = Vec::new();
        for _ in 0..steps {
            match self.dice.below(10) {
                0..=4 => flying.push(self.submit(&session)),
                5 if self.profile.has_cache() => flying.push(self.submit_flush(&session)),
                6 if self.dice.below(8) == 0 => {
                    // The client vanishes: nothing of it is in flight any more.
                    for lost in flying.drain(..) {
                        lost.index.into_iter().for_each(|at| self.model.ops[at].completed = true);
                    }
                }
                _ if !flying.is_empty() => {
                    let chosen = self.dice.below(flying.len());
                    self.finish(flying.swap_remove(chosen));
                }
                _ => {}
            }
            let newest: Vec<u16> = (0..SECTORS).map(|s| self.model.newest(s)).collect();
            assert_eq!(fills(&read_all(&self.disk)), newest, "reads see the newest");
        }
        flying
    }

    fn submit(&mut self, session: &Session) -> InFlight {
        let start = self.dice.below(SECTORS);
        let count = 1 + self.dice.below((SECTORS - start).min(8));
        let fua = self.profile.has_cache() && self.dice.below(5) == 0;
        let (offset, len) = ((start * SECTOR) as u64, (count * SECTOR) as u64);
        let no_hole = self.dice.below(2) == 0;
        let (fill, trim, ticket) = match self.dice.below(6) {
            0 => (None, true, session.begin(Request::Trim { offset, len, fua })),
            1 => (None, false, session.begin(Request::Zeroes { offset, len, fua, no_hole })),
            _ => {
                // Never what the image holds, whose values are above 0x8000.
                self.fills += 8;
                let words = (self.fills..).take(count).flat_map(|fill| [fill; SECTOR / 2]);
                let bytes: Vec<u8> = words.flat_map(u16::to_le_bytes).collect();
                (Some(self.fills), false, Ok(begin_write(session, offset as usize, &bytes, fua)))
            }
        };
        let sectors = start..start + count;
        self.model.ops.push(Op { sectors, fill, trim, completed: false, durable: false });
        let index = Some(self.model.ops.len() - 1);
        InFlight { ticket: ticket.unwrap(), index, covers: Vec::new(), fua }
    }

    fn submit_flush(&mut self, session: &Session) -> InFlight {
        let completed = |(at, op): (usize, &Op)| op.completed.then_some(at);
        let covers = self.model.ops.iter().enumerate().filter_map(completed).collect();
        let ticket = session.begin(Request::Flush).unwrap();
        InFlight { ticket, index: None, covers, fua: false }
    }

    fn finish(&mut self, flight: InFlight) {
        flight.ticket.finish().unwrap();
        flight.covers.into_iter().for_each(|at| self.model.make_durable(at));
        let Some(index) = flight.index else { return };
        self.model.ops[index].completed = true;
        if flight.fua || !self.profile.has_cache() {
            self.model.make_durable(index);
        }
    }

    /// Cuts, checks the image against the model, and makes it the start of the next boot.
    fn cut(&mut self, flying: Vec<InFlight>, policy: Policy, seed: u64) -> CutReport {
        let in_flight = flying.iter().filter(|f| f.index.is_some()).count() as u64;
        self.disk.freeze();
        for flight in flying {
            assert!(flight.ticket.finish().is_err(), "a frozen disk answered");
        }
        let report = self.disk.power_cut(policy, seed).unwrap();
        let image = fills(&read_all(&self.disk));
        assert!(report.in_flight <= in_flight);
        assert_eq!(report.pending, report.kept + report.dropped + report.torn);
        for (sector, value) in image.iter().enumerate() {
            let legal = self.model.legal(sector);
            assert!(legal.contains(value), "sector {sector} is {value:#x}, legal: {legal:x?}");
            match policy {
                Policy::KeepAll => assert_eq!(*value, self.model.newest(sector)),
                Policy::DropAll if report.destaged == 0 => {
                    assert_eq!(*value, self.model.durable(sector), "sector {sector}");
                }
                _ => {}
            }
        }
        self.model.start = image;
        self.model.ops.clear();
        report
    }
}

/// The image after the last cut, from the base and the log alone.
fn replay(run: &Run) -> Vec<u8> {
    let mut image = run.bench.content.clone();
    image.resize(SECTORS * SECTOR, 0);
    let content = std::fs::read(run.bench.path().join("content")).unwrap();
    let records: Vec<Record> =
        LogReader::open(run.bench.path().join("w.log")).unwrap().map(Result::unwrap).collect();
    let mut boot: Vec<&Record> = Vec::new();
    for record in &records {
        assert_eq!(record.disk, 9);
        boot.push(record);
        if record.event != LogEvent::Cut {
            continue;
        }
        for submitted in boot.iter().filter(|r| r.event == LogEvent::Submitted) {
            if submitted.kind == Some(Kind::Flush) {
                continue;
            }
            // A request without a fate is durable; where it was superseded does not matter.
            let same = |r: &&&Record| r.number == submitted.number && r.event == LogEvent::Fate;
            let fates: Vec<_> = boot.iter().filter(same).map(|r| (r.offset, r.len)).collect();
            let whole = if submitted.old_or_zero {
                vec![]
            } else {
                vec![(submitted.offset, submitted.len)]
            };
            for (offset, len) in if fates.is_empty() { whole } else { fates } {
                let target = &mut image[offset as usize..(offset + len) as usize];
                let from = (submitted.at + offset - submitted.offset) as usize;
                match submitted.kind {
                    Some(Kind::Write) => target.copy_from_slice(&content[from..][..target.len()]),
                    _ => target.fill(0),
                }
            }
        }
        boot.clear();
    }
    image
}

#[test]
fn every_image_after_a_cut_is_legal() {
    let mut torn = 0;
    for seed in 0..240 {
        for policy in [Policy::KeepAll, Policy::DropAll, Policy::Subset] {
            for profile in [Profile::VirtioWb, Profile::EmmcCacheOff] {
                let discard = if seed % 3 == 0 { Discard::Zero } else { Discard::OldOrZero };
                let mut run = Run::new(seed, profile, discard, 16384);
                for boot in 0..3 {
                    let flying = run.boot(40);
                    torn += run.cut(flying, policy, seed * 8 + boot).torn;
                }
                assert!(replay(&run) == read_all(&run.disk), "seed {seed} {policy:?}: replay");
                run.bench.check_base();
            }
        }
    }
    assert!(torn > 100, "hardly anything tore: {torn}");
}

#[test]
fn a_full_cache_still_gives_legal_images() {
    let mut evicted = 0;
    for seed in 0..60 {
        let mut run = Run::new(seed, Profile::VirtioWb, Discard::OldOrZero, 64);
        // Long enough for evictions, in spite of the requests that get flushed or superseded.
        let flying = run.boot(200);
        run.cut(flying, Policy::Subset, seed);
        assert!(replay(&run) == read_all(&run.disk), "seed {seed}: replay");
        evicted += run.disk.stats().destaged;
    }
    assert!(evicted > 300, "the cache was hardly ever full: {evicted}");
}

#[test]
fn what_a_full_cache_decides_about_discards_stands_in_the_log() {
    let run = Run::new(0, Profile::VirtioWb, Discard::OldOrZero, 64);
    let session = run.disk.session().unwrap();
    let trim = Request::Trim { offset: 0, len: SECTOR as u64, fua: false };
    session.begin(trim).unwrap().finish().unwrap();
    flush(&session);
    for at in 0..100 {
        write(&session, (2 + at % 20) * SECTOR, &[1; SECTOR]);
    }
    assert!(run.disk.stats().destaged > 0);
    run.disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!(fills(&read_all(&run.disk))[0], 0);
    assert!(replay(&run) == read_all(&run.disk));
}

#[test]
fn a_seed_repeats_exactly_and_seeds_differ() {
    let image = |seed| {
        let mut run = Run::new(5, Profile::VirtioWb, Discard::OldOrZero, 16384);
        let flying = run.boot(60);
        let report = run.cut(flying, Policy::Subset, seed);
        (read_all(&run.disk), report)
    };
    let mut images = BTreeSet::new();
    for seed in 0..20 {
        assert_eq!(image(seed), image(seed));
        images.insert(image(seed).0);
    }
    assert!(images.len() > 5, "20 seeds gave {} images", images.len());
}

#[test]
fn seeds_reach_every_subset_and_every_prefix() {
    let bench = Bench::new(16 * SECTOR);
    let (mut subsets, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let disk = bench.disk(16 * SECTOR, DiskOptions::default());
        let session = disk.session().unwrap();
        for at in [0, 2, 4] {
            write(&session, at * SECTOR, &[1; SECTOR]);
        }
        write(&session, 8 * SECTOR, &[1; 8 * SECTOR]);
        disk.power_cut(Policy::Subset, seed).unwrap();
        let ones: Vec<bool> = fills(&read_all(&disk)).iter().map(|f| *f == 0x0101).collect();
        subsets.insert([ones[0], ones[2], ones[4]]);
        prefixes.insert(ones[8..].to_vec());
    }
    assert_eq!(subsets.len(), 8);
    let expected: BTreeSet<Vec<bool>> =
        (0..=8).map(|kept| (0..8).map(|at| at < kept).collect()).collect();
    assert_eq!(prefixes, expected);
}

#[test]
fn what_was_in_flight_when_the_flush_arrived_is_not_covered() {
    let bench = Bench::new(8 * SECTOR);
    let disk = bench.disk(8 * SECTOR, DiskOptions::default());
    let session = disk.session().unwrap();
    let early = begin_write(&session, 0, &[1; SECTOR], false);
    let late = begin_write(&session, SECTOR, &[2; SECTOR], false);
    early.finish().unwrap();
    let flushing = session.begin(Request::Flush).unwrap();
    late.finish().unwrap();
    flushing.finish().unwrap();
    let report = disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!((report.pending, report.dropped, report.in_flight), (1, 1, 0));
    let image = read_all(&disk);
    assert_eq!(image[..SECTOR], [1; SECTOR]);
    assert_eq!(image[SECTOR..], bench.content[SECTOR..]);
}

#[test]
fn without_a_cut_nothing_is_lost_and_the_next_boot_can_flush_it() {
    let bench = Bench::new(8 * SECTOR);
    let disk = bench.disk(8 * SECTOR, DiskOptions::default());
    let session = disk.session().unwrap();
    write(&session, 0, &[1; SECTOR]);
    // Never finished: the emulator is killed here.
    drop(begin_write(&session, SECTOR, &[2; SECTOR], false));
    disk.freeze();
    assert!(disk.session().is_err(), "a frozen disk took a new guest");
    disk.thaw();
    assert!(session.begin(Request::Flush).is_err(), "the old guest lives on");
    let next = disk.session().unwrap();
    assert_eq!(read_all(&disk)[..2 * SECTOR], [[1; SECTOR], [2; SECTOR]].concat());
    flush(&next);
    disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!(read_all(&disk)[..2 * SECTOR], [[1; SECTOR], [2; SECTOR]].concat());
    assert!(next.begin(Request::Flush).is_err(), "a guest outlived its power");
    flush(&disk.session().unwrap());
}
