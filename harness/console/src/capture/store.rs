//! A bounded append-only record on disk: the head for ever, then segments of which the last two
//! are kept. It is addressed by the offset in what was appended, and knows nothing of its meaning.
//!
//! The head is `NAME` (up to half of the limit); what follows goes to `NAME.OFFSET` in segments of
//! a quarter each, named by where they begin. The oldest segment goes when a third one begins, so
//! that the beginning and the end of a flood are kept, and what is lost is known exactly.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Segment {
    start: u64,
    len: u64,
    cap: u64,
    file: File,
    path: PathBuf,
}

impl Segment {
    fn create(path: PathBuf, start: u64, cap: u64) -> io::Result<Segment> {
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let named = |error| io::Error::other(format!("{}: {error}", path.display()));
        let file = open.map_err(named)?;
        Ok(Segment { start, len: 0, cap, file, path })
    }

    fn end(&self) -> u64 {
        self.start + self.len
    }
}

pub(crate) struct Store {
    base: PathBuf,
    limit: u64,
    /// Head first, then at most two later ones.
    segments: Vec<Segment>,
    /// Why nothing more is written.
    fault: Option<String>,
}

impl Store {
    pub(crate) fn create(path: &Path, limit: u64) -> io::Result<Store> {
        let head = Segment::create(path.to_path_buf(), 0, limit / 2)?;
        Ok(Store { base: path.to_path_buf(), limit, segments: vec![head], fault: None })
    }

    /// Appends in one write; a segment is left by whole appends only. True when a new segment
    /// was begun for it.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() || self.fault.is_some() {
            return false;
        }
        match self.try_append(bytes) {
            Ok(rolled) => rolled,
            Err(error) => {
                let what = error.to_string();
                self.fault = Some(format!("the console capture could not be written: {what}"));
                false
            }
        }
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let end = self.end();
        let full = self.segments.last().is_none_or(|last| last.len >= last.cap);
        if full {
            if self.segments.len() == 3 {
                let gone = self.segments.remove(1);
                std::fs::remove_file(&gone.path)?;
            }
            let mut name = self.base.as_os_str().to_owned();
            name.push(format!(".{end}"));
            self.segments.push(Segment::create(name.into(), end, self.limit / 4)?);
        }
        if let Some(last) = self.segments.last_mut() {
            last.file.write_all(bytes)?;
            last.len += bytes.len() as u64;
        }
        Ok(full)
    }

    /// How much was ever appended.
    pub(crate) fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// What is no longer on disk.
    pub(crate) fn lost(&self) -> Option<Range<u64>> {
        let head = self.segments.first()?.end();
        let tail = self.segments.get(1)?.start;
        (tail > head).then_some(head..tail)
    }

    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Appends to `out` at most `most` bytes from `offset` on, as far as one segment has them.
    pub(crate) fn read(&self, offset: u64, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let holds = |segment: &&Segment| (segment.start..segment.end()).contains(&offset);
        let Some(segment) = self.segments.iter().find(holds) else {
            return Err(io::Error::other(format!(
                "the console's bytes from offset {offset} on are not kept any more"
            )));
        };
        let most = most.min((segment.end() - offset) as usize);
        let old = out.len();
        out.resize(old + most, 0);
        segment.file.read_exact_at(&mut out[old..], offset - segment.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_head_and_tail_and_says_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("raw"), 4000).unwrap();
        let chunk = |n: u64| format!("{n:09}\n").into_bytes();
        for n in 0..10_000 {
            store.append(&chunk(n));
        }
        assert_eq!(store.end(), 100_000);
        let lost = store.lost().unwrap();
        assert_eq!(lost, 2000..98_000);
        let mut out = Vec::new();
        store.read(lost.end, 10, &mut out).unwrap();
        assert_eq!(out, chunk(9_800));
        out.clear();
        store.read(1990, 500, &mut out).unwrap();
        assert_eq!(out, chunk(199), "a read ends with its segment");
        assert!(store.read(2000, 1, &mut out).is_err());
        let size = |e: io::Result<std::fs::DirEntry>| e.unwrap().metadata().unwrap().len();
        let on_disk: u64 = std::fs::read_dir(dir.path()).unwrap().map(size).sum();
        assert!(on_disk <= 4000, "{on_disk}");
    }

    #[test]
    fn a_full_disk_is_a_fault_and_no_panic() {
        let mut store = Store::create(Path::new("/dev/full"), 1000).unwrap();
        store.append(b"x");
        store.append(b"x");
        assert!(store.fault().unwrap().contains("No space left"), "{:?}", store.fault());
    }
}
