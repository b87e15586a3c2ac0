//! What a disk costs: memory by its own accounting, and disk space.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, Dice, begin_write, flush, write};
use hil_disk::{Disk, DiskLog, DiskOptions, Policy, Request, Session, WriteLog};

const MIB: usize = 1 << 20;
/// As many scattered writes as a guest could have in 1 GiB of dirty pages.
const MANY: usize = 40_000;

fn scatter(session: &Session, disk: &Disk, flush_every: Option<usize>) -> usize {
    let mut dice = Dice::new(1);
    let mut peak = 0;
    for at in 0..MANY {
        let block = dice.below(4 << 18);
        write(session, block * 4096, &[at as u8; 512]);
        if flush_every.is_some_and(|every| at % every == 0) {
            flush(session);
        }
        peak = peak.max(disk.index_bytes());
    }
    peak
}

#[test]
fn four_gibibytes_of_scattered_writes_without_a_flush_stay_in_bounds() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(4096 * MIB, DiskOptions::default());
    let session = disk.session().unwrap();
    let peak = scatter(&session, &disk, None);
    // 3 MB for what is pending, 1 MiB and its top level for what is durable, one copy buffer.
    assert!(peak < 5 << 20, "{peak} bytes of index");
    let evicted = disk.stats().destaged;
    assert!(evicted > 20_000, "the bound was not even reached: {evicted}");
    assert!(disk.pending() > 4000, "far too much was evicted: {} left", disk.pending());
    let report = disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!(report.destaged, evicted, "a milder cut must say so");
    assert!(disk.index_bytes() < 2 << 20, "{}", disk.index_bytes());
    assert_eq!(disk.power_cut(Policy::DropAll, 0).unwrap().destaged, 0);
    bench.check_base();
}

#[test]
fn fragments_of_one_discard_stay_in_bounds() {
    let bench = Bench::new(MIB);
    let options = DiskOptions { cache_items: 1024, ..DiskOptions::default() };
    let disk = bench.disk(4096 * MIB, options);
    let session = disk.session().unwrap();
    let trim = Request::Trim { offset: 0, len: 4 << 30, fua: false };
    session.begin(trim).unwrap().finish().unwrap();
    flush(&session);
    // Everything is flushed, so only what the discard left undecided can fill the index.
    let mut peak = 0;
    for at in 0..20_000 {
        begin_write(&session, at * 8192, &[1; 4096], true).finish().unwrap();
        peak = peak.max(disk.index_bytes());
    }
    assert!(peak < 2 << 20, "{peak} bytes of index");
}

#[test]
fn space_of_settled_content_is_given_back() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(64 * MIB, DiskOptions::default());
    let session = disk.session().unwrap();
    let block = vec![7; MIB];
    let mut peak = 0;
    // One write is always in flight, so the file is never idle and holes have to be punched.
    let mut flying = begin_write(&session, 0, &block, false);
    for at in 0..256 {
        let next = begin_write(&session, at % 64 * MIB, &block, false);
        flying.finish().unwrap();
        flying = next;
        flush(&session);
        peak = peak.max(disk.content_space().unwrap());
    }
    assert!(peak < 40 << 20, "{peak} bytes of space for what is pending");
    flying.finish().unwrap();
    flush(&session);
    assert!(disk.content_space().unwrap() < 1 << 20);
}

#[test]
fn content_that_is_still_coming_in_is_not_given_back() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(64 * MIB, DiskOptions::default());
    let session = disk.session().unwrap();
    let slow: Vec<u8> = (0..MIB).map(|at| (at / 99) as u8).collect();
    let mut content = session.content(MIB as u64).unwrap();
    content.append(&slow[..MIB / 2]).unwrap();
    // Once with nothing pending, when the file would start over, once with holes being punched.
    for flying in [false, true] {
        let held = flying.then(|| begin_write(&session, 0, &[1; 512], false));
        for at in 0..40 {
            write(&session, (at + 1) * MIB, &vec![2; MIB]);
            flush(&session);
        }
        drop(held);
        flush(&session);
    }
    content.append(&slow[MIB / 2..]).unwrap();
    let request = Request::Write { offset: 50 * MIB as u64, content, fua: false };
    session.begin(request).unwrap().finish().unwrap();
    let mut seen = vec![0; MIB];
    disk.read_at(50 * MIB as u64, &mut seen).unwrap();
    assert!(seen == slow, "the content was overwritten or punched away");
}

#[test]
fn with_a_log_all_content_is_kept() {
    let bench = Bench::new(MIB);
    let log = WriteLog::create(bench.path().join("w.log")).unwrap();
    let log = DiskLog { log, disk: 0, content: bench.path().join("content") };
    let disk = bench.disk(MIB, DiskOptions { log: Some(log), ..DiskOptions::default() });
    let session = disk.session().unwrap();
    for at in 0..48u8 {
        write(&session, 0, &vec![at; MIB]);
        flush(&session);
    }
    let content = std::fs::read(bench.path().join("content")).unwrap();
    assert_eq!(content.len(), 48 * MIB);
    assert!((0..48).all(|at| content[at * MIB] == at as u8));
}
