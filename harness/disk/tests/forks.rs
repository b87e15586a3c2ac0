//! Disks made from another one's state: none sees what the others write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Bench;
use hil_disk::{Base, Disk, DiskOptions, Layer, Policy};

fn read(disk: &Disk, offset: u64) -> u8 {
    let mut byte = [0];
    disk.read_at(offset, &mut byte).unwrap();
    byte[0]
}

#[test]
fn forks_begin_with_what_was_written_and_share_nothing_after_that() {
    let bench = Bench::new(1 << 20);
    let parent = bench.disk(1 << 20, DiskOptions::default());
    let session = parent.session().unwrap();
    common::write(&session, 4096, &[1; 4096]);
    let saved = parent.branch().unwrap();
    let fork = |base: &Base| {
        let layer = Layer::create(bench.path(), base, base.size()).unwrap();
        Disk::new(layer, DiskOptions::default()).unwrap()
    };
    // What no flush had covered was in the machine's world, too: a fork must find it.
    let (a, b) = (fork(&saved), fork(&saved));
    assert_eq!((read(&a, 4096), read(&a, 8192)), (1, bench.content[8192]));
    a.write_at(4096, &[2; 512]).unwrap();
    parent.write_at(4096, &[3; 512]).unwrap();
    assert_eq!((read(&a, 4096), read(&b, 4096), read(&parent, 4096)), (2, 1, 3));
    // A cut of a fork takes nothing from what it began with.
    b.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!(read(&b, 4096), 1);
    assert!(session.begin_read(0, 512).is_err(), "the saved machine's connection is dead");
    bench.check_base();
}
