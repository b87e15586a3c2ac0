//! A frozen disk in one file, for later processes: all that its layers hold over the image below
//! them. Which image that was is for the caller to know.
//!
//! The file is sparse: content lies at its own offset in the disk, and behind the disk's end the
//! ranges that are held, as pairs of little-endian u64 (start, end in bytes), their number, the
//! disk's size, and [`MAGIC`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::Base;
use crate::error::Error;
use crate::layer::Layer;
use crate::present::{SECTOR, Sectors};

const MAGIC: u64 = u64::from_le_bytes(*b"hil-disk");

/// Number of ranges, size of the disk, [`MAGIC`].
const TRAILER: u64 = 24;

/// Bytes copied at a time.
const COPY: u64 = 128 << 10;

impl Base {
    /// Writes all that was changed over the image below to a new file.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        self.write_to(path).map_err(|source| Error::Create {
            what: "saved disk",
            path: path.to_owned(),
            source,
        })
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let held = self.held();
        let mut buffer = vec![0; COPY as usize];
        for range in &held {
            let mut at = range.start;
            while at < range.end {
                let part = &mut buffer[..(range.end - at).min(COPY) as usize];
                self.read_at(at, part)?;
                file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
        }
        let numbers = held.iter().flat_map(|range| [range.start, range.end]);
        let numbers = numbers.chain([held.len() as u64, self.size(), MAGIC]);
        let index: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        file.write_all_at(&index, self.size())
    }

    /// What all layers above the image hold, in bytes and in order.
    fn held(&self) -> Vec<Range<u64>> {
        let mut held = Sectors::new(self.size() / SECTOR);
        let mut base = self;
        while let Some(layer) = base.layer() {
            for range in layer.held() {
                held.insert(range.start / SECTOR..range.end / SECTOR);
            }
            base = layer.parent();
        }
        held.ranges(self.size() / SECTOR)
    }

    /// Opens what [`Base::save`] wrote, over the same image.
    pub fn load(path: &Path, image: &Base) -> Result<Base, Error> {
        let fail = |source| Error::Open { what: "saved disk", path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let (ranges, size) = index(&file).map_err(fail)?;
        let mut present = Sectors::new(size / SECTOR);
        for range in ranges {
            present.insert(range.start / SECTOR..range.end / SECTOR);
        }
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Layer::kept(image.clone(), file, dir, present, size).freeze())
    }
}

/// The ranges that a saved disk holds, and its size.
fn index(file: &File) -> io::Result<(Vec<Range<u64>>, u64)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or no saved disk");
    let end = file.metadata()?.len().checked_sub(TRAILER).ok_or_else(damaged)?;
    let trailer = numbers(file, end, TRAILER)?;
    let [count, size, MAGIC] = trailer[..] else { return Err(damaged()) };
    let bytes = count.checked_mul(16).filter(|bytes| size.checked_add(*bytes) == Some(end));
    let pairs = numbers(file, size, bytes.ok_or_else(damaged)?)?;
    let ranges: Vec<Range<u64>> = pairs.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
    let sound = |range: &Range<u64>| range.start < range.end && range.end <= size;
    if ranges.iter().all(sound) { Ok((ranges, size)) } else { Err(damaged()) }
}

fn numbers(file: &File, at: u64, bytes: u64) -> io::Result<Vec<u64>> {
    let mut buffer = vec![0; bytes as usize];
    file.read_exact_at(&mut buffer, at)?;
    let words = buffer.chunks_exact(8);
    Ok(words.map(|word| word.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(base: &Base) -> Vec<u8> {
        let mut all = vec![0xee; base.size() as usize];
        base.read_at(0, &mut all).unwrap();
        all
    }

    #[test]
    fn what_was_saved_is_there_again_and_nothing_else_of_it_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, vec![0xaa; 1 << 20]).unwrap();
        let image = Base::open(image).unwrap();
        let mut lower = Layer::create(dir.path(), &image, 2 << 20).unwrap();
        lower.write_at(4096, &[1; 8192]).unwrap();
        lower.write_at(1 << 19, &[9; 512]).unwrap();
        let mut upper = Layer::create(dir.path(), &lower.freeze(), 2 << 20).unwrap();
        upper.write_at(8192, &[2; 512]).unwrap();
        upper.zero(1 << 19..(1 << 19) + 512, false).unwrap();
        upper.write_at((2 << 20) - 512, &[3; 512]).unwrap();
        let frozen = upper.freeze();
        let path = dir.path().join("saved");
        frozen.save(&path).unwrap();
        let loaded = Base::load(&path, &image).unwrap();
        assert_eq!(content(&loaded), content(&frozen));
        assert_eq!(loaded.held(), frozen.held());
        assert_eq!(loaded.held().len(), 3);
        assert!(frozen.save(&path).is_err(), "a saved disk in use must not be written over");
    }

    #[test]
    fn a_damaged_file_is_told_and_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, vec![0; 65536]).unwrap();
        let image = Base::open(image).unwrap();
        let mut layer = Layer::create(dir.path(), &image, 65536).unwrap();
        layer.write_at(0, &[1; 512]).unwrap();
        let path = dir.path().join("saved");
        layer.freeze().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Base::load(&path, &image).unwrap_err().to_string()
        };
        let mut beyond = whole.clone();
        beyond[65536 + 8..65536 + 16].copy_from_slice(&(1u64 << 40).to_le_bytes());
        let mut many = whole.clone();
        many[65536 + 16..65536 + 24].copy_from_slice(&u64::MAX.to_le_bytes());
        for bad in [&whole[..whole.len() - 1], &whole[..10], &beyond, &many, &vec![0; 4096]] {
            let why = refused(bad);
            assert!(why.contains("damaged"), "{why}");
        }
    }
}
