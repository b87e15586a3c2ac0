//! A copy-on-write layer: a sparse file that holds what differs from its base, sector for sector at
//! the same offset, and the bitmap that says what it holds. It holds only what is durable; what a
//! power cut may still take is the cache's.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::base::Base;
use crate::error::{Error, Fault};
use crate::present::{SECTOR, Sectors};

/// A file cannot be larger than this on Linux.
const LARGEST: u64 = i64::MAX as u64 / SECTOR * SECTOR;

/// What a disk has that its base has not.
///
/// The file has no name: it is gone with the last process that has it open, however that ends.
#[derive(Debug)]
pub struct Layer {
    parent: Base,
    file: File,
    dir: PathBuf,
    present: Sectors,
    size: u64,
}

impl Layer {
    /// Creates an empty layer of `size` bytes, its file in the directory `dir`. A `size` beyond
    /// the base's reads as zero there: some machines want an SD card of a power of two.
    pub fn create(dir: impl AsRef<Path>, base: &Base, size: u64) -> Result<Layer, Error> {
        let dir = dir.as_ref().to_owned();
        if !size.is_multiple_of(SECTOR) || size > LARGEST {
            return Err(Error::Size {
                size,
                why: "it must be a multiple of 512, below 8 EiB".into(),
            });
        }
        if size < base.size() {
            let why = format!("the image behind it has {} bytes", base.size());
            return Err(Error::Size { size, why });
        }
        let file = tempfile::tempfile_in(&dir).map_err(|source| Error::Create {
            what: "disk layer",
            path: dir.clone(),
            source,
        })?;
        Ok(Layer { parent: base.clone(), file, dir, present: Sectors::new(size / SECTOR), size })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the layer holds itself, in bytes and in order: all else is as in its base.
    pub fn held(&self) -> Vec<Range<u64>> {
        self.present.ranges(self.size / SECTOR)
    }

    /// The directory that the layer's space is taken from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes this layer the read-only base of others.
    pub fn freeze(self) -> Base {
        Base::from_layer(self)
    }

    /// Makes what it holds the read-only base of others, and goes on as an empty layer over that.
    pub(crate) fn branch(&mut self) -> Result<Base, Error> {
        let empty = Layer::create(&self.dir, &self.parent, self.size)?;
        let base = std::mem::replace(self, empty).freeze();
        self.parent = base.clone();
        Ok(base)
    }

    /// A layer whose content is in `file` already, never to be written.
    pub(crate) fn kept(
        parent: Base,
        file: File,
        dir: PathBuf,
        present: Sectors,
        size: u64,
    ) -> Layer {
        Layer { parent, file, dir, present, size }
    }

    pub(crate) fn parent(&self) -> &Base {
        &self.parent
    }

    /// Reads at any offset. Everything beyond the end reads as zero.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (held, end) = if at >= self.size {
                (false, u64::MAX)
            } else {
                let limit = self.size.min(at + rest.len() as u64).div_ceil(SECTOR);
                let (held, end) = self.present.run(at / SECTOR, limit);
                (held, end * SECTOR)
            };
            let count = (end - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(count);
            if held {
                read_sparse(&self.file, at, now)?;
            } else {
                self.parent.read_at(at, now)?;
            }
            at += count as u64;
            rest = later;
        }
        Ok(())
    }

    /// Writes at any offset, for the host's preparation of a disk (a key, a `config.json`). It is
    /// durable at once.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let end = offset.saturating_add(data.len() as u64);
        if end > self.size {
            let why = format!("a write to {offset}..{end} goes beyond its end");
            return Err(Error::Size { size: self.size, why });
        }
        self.write_bytes(offset, data)
            .map_err(|e| Error::Fault(Fault::new("write the disk layer", &self.dir, &e)))
    }

    /// Sectors that are written in part get their other part from below first.
    fn write_bytes(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for edge in [offset, end] {
            let start = edge / SECTOR * SECTOR;
            if edge != start && !self.present.contains(start / SECTOR) {
                let mut sector = [0; SECTOR as usize];
                self.parent.read_at(start, &mut sector)?;
                self.file.write_all_at(&sector, start)?;
                self.present.insert(start / SECTOR..start / SECTOR + 1);
            }
        }
        self.file.write_all_at(data, offset)?;
        self.present.insert(offset / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    /// Writes whole sectors.
    pub(crate) fn write_sectors(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        let end = offset + data.len() as u64;
        self.present.insert(offset / SECTOR..end / SECTOR);
        Ok(())
    }

    /// Makes whole sectors read as zero, and keeps their space if `provision` says so.
    pub(crate) fn zero(&mut self, range: Range<u64>, provision: bool) -> io::Result<()> {
        let len = range.end - range.start;
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = fallocate(&self.file, punch, range.start, len);
        let provisioned = match (punched, provision) {
            (Ok(()), true) => fallocate(&self.file, FallocateFlags::empty(), range.start, len),
            (result, _) => result,
        };
        match provisioned {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&self.file, range.clone())?,
            result => result?,
        }
        self.present.insert(range.start / SECTOR..range.end / SECTOR);
        Ok(())
    }

    /// What the indexes of the layer and of those below it cost in memory.
    pub(crate) fn index_bytes(&self) -> usize {
        self.present.bytes() + self.parent.index_bytes()
    }
}

/// For file systems that cannot punch holes.
fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = [0u8; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..count as usize], at)?;
        at += count;
    }
    Ok(())
}

/// Reads from a file that may end early because what follows was only ever zeroed.
fn read_sparse(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => {
                buf[done..].fill(0);
                return Ok(());
            }
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(dir: &Path) -> Base {
        let path = dir.join("base.img");
        std::fs::write(&path, vec![0xbb; 8192]).unwrap();
        Base::open(path).unwrap()
    }

    fn read(layer: &Layer, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xee; len];
        layer.read_at(offset, &mut buf).unwrap();
        buf
    }

    #[test]
    fn unaligned_host_writes_keep_their_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let mut layer = Layer::create(dir.path(), &base(dir.path()), 65536).unwrap();
        layer.write_at(1000, &[1; 1500]).unwrap();
        layer.write_at(1200, &[2; 3]).unwrap();
        assert_eq!((layer.held().len(), layer.held().first()), (1, Some(&(512..2560))));
        let mut expected = vec![0xbb; 8192];
        expected.resize(65536, 0);
        expected[1000..2500].fill(1);
        expected[1200..1203].fill(2);
        assert_eq!(read(&layer, 0, 65536), expected);
        assert_eq!(read(&layer, 999, 700), expected[999..1699]);
        assert_eq!(read(&layer, 65000, 2000)[536..], [0; 1464]);
        assert!(layer.write_at(65535, &[1, 2]).is_err());
    }

    #[test]
    fn zeroed_sectors_hide_the_base_whether_provisioned_or_not() {
        let dir = tempfile::tempdir().unwrap();
        for provision in [false, true] {
            let mut layer = Layer::create(dir.path(), &base(dir.path()), 8192).unwrap();
            layer.write_at(0, &[1; 4096]).unwrap();
            layer.zero(512..5120, provision).unwrap();
            let all = read(&layer, 0, 8192);
            assert!(all[..512].iter().all(|b| *b == 1));
            assert!(all[512..5120].iter().all(|b| *b == 0));
            assert!(all[5120..].iter().all(|b| *b == 0xbb));
        }
    }

    #[test]
    fn a_frozen_layer_is_the_base_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut parent = Layer::create(dir.path(), &base(dir.path()), 16384).unwrap();
        parent.write_at(4096, &[1; 512]).unwrap();
        let frozen = parent.freeze();
        let mut a = Layer::create(dir.path(), &frozen, 16384).unwrap();
        let b = Layer::create(dir.path(), &frozen, 16384).unwrap();
        a.write_at(4096, &[2; 256]).unwrap();
        assert_eq!(read(&a, 4096, 512), [[2; 256], [1; 256]].concat());
        assert_eq!(read(&b, 4096, 512), [1; 512]);
        assert_eq!(read(&b, 0, 512), [0xbb; 512]);
        assert!(Layer::create(dir.path(), &frozen, 8192).is_err());
    }
}
