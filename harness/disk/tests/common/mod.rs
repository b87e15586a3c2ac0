//! What the tests of the disk service share: images, disks, a seeded generator. The reference model
//! is in `model.rs`, the hand-made client in `client.rs`.

#![expect(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod client;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hil_disk::{Base, Disk, DiskOptions, Layer, Request, Session, Ticket};

/// Long enough for any event on a loaded machine; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const SECTOR: usize = 512;

/// A directory with an image whose every sector is told apart from every other.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) image: PathBuf,
    pub(crate) content: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(bytes: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("base.img");
        let content: Vec<u8> = (0..bytes).map(|at| 0x80 | (at / SECTOR % 97) as u8).collect();
        std::fs::write(&image, &content).unwrap();
        Bench { dir, image, content }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn disk(&self, size: usize, options: DiskOptions) -> Disk {
        let base = Base::open(&self.image).unwrap();
        let layer = Layer::create(self.path(), &base, size as u64).unwrap();
        Disk::new(layer, options).unwrap()
    }

    /// The base must be as it was made, whatever a test did.
    pub(crate) fn check_base(&self) {
        assert!(std::fs::read(&self.image).unwrap() == self.content, "the base image changed");
    }
}

pub(crate) fn read_all(disk: &Disk) -> Vec<u8> {
    let mut all = vec![0xee; disk.size() as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

/// Begins a write of the given bytes.
pub(crate) fn begin_write(session: &Session, offset: usize, bytes: &[u8], fua: bool) -> Ticket {
    let mut content = session.content(bytes.len() as u64).unwrap();
    content.append(bytes).unwrap();
    session.begin(Request::Write { offset: offset as u64, content, fua }).unwrap()
}

pub(crate) fn write(session: &Session, offset: usize, bytes: &[u8]) {
    begin_write(session, offset, bytes, false).finish().unwrap();
}

pub(crate) fn flush(session: &Session) {
    session.begin(Request::Flush).unwrap().finish().unwrap();
}

/// An xorshift generator, on purpose another one than the product's.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }
}
