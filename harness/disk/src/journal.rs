//! Where the content of requests is put as it comes in: a file written at its end, which the cache
//! refers to until the content is settled in the layer. With a write log, nothing in it is ever
//! reused, and the log's records point into it; without one, its space is given back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use crate::error::Error;

/// How much dead content is let lie before its space is given back: reusing pages is cheap,
/// punching a hole for every flush is not.
const SLACK: u64 = 16 << 20;

/// The file, and which parts of it are in use.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
    place: PathBuf,
    keep: bool,
    /// Where the next content goes.
    end: u64,
    /// The largest `end` since the file was last cut to nothing.
    high: u64,
    /// Everything below this was given back.
    freed: u64,
    /// Starts of regions whose content is still coming in.
    reserved: Vec<u64>,
}

impl Journal {
    /// A journal without a name in `dir`, or one at `keep` that is never reused.
    pub(crate) fn create(dir: &Path, keep: Option<&Path>) -> Result<Journal, Error> {
        let place = keep.unwrap_or(dir).to_owned();
        let file = match keep {
            None => tempfile::tempfile_in(dir),
            Some(path) => File::options().read(true).write(true).create_new(true).open(path),
        };
        let file = file.map_err(|source| Error::Create {
            what: "file for a disk's written content",
            path: place.clone(),
            source,
        })?;
        Ok(Journal {
            file: Arc::new(file),
            place,
            keep: keep.is_some(),
            end: 0,
            high: 0,
            freed: 0,
            reserved: Vec::new(),
        })
    }

    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Sets `len` bytes aside and says where. [`Journal::release`] must follow.
    pub(crate) fn reserve(&mut self, len: u64) -> u64 {
        let at = self.end;
        self.end += len;
        self.high = self.high.max(self.end);
        self.reserved.push(at);
        at
    }

    /// The content of a reservation is now the cache's to refer to, or was given up.
    pub(crate) fn release(&mut self, at: u64) {
        self.reserved.retain(|start| *start != at);
    }

    pub(crate) fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    /// Gives back what nobody refers to any more. `lowest` finds the lowest offset that is still
    /// referred to; it is asked only when there is something to gain.
    pub(crate) fn reclaim(&mut self, idle: bool, lowest: impl FnOnce() -> Option<u64>) {
        if self.keep {
            return;
        }
        if idle && self.reserved.is_empty() {
            // Should giving back fail, the file is merely larger than it has to be.
            if self.high > SLACK && self.file.set_len(0).is_ok() {
                self.high = 0;
            }
            self.end = 0;
            self.freed = 0;
            return;
        }
        if self.end - self.freed < SLACK {
            return;
        }
        let live = lowest().unwrap_or(self.end);
        let live = self.reserved.iter().copied().fold(live, u64::min);
        if live >= self.freed + SLACK {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system that cannot punch holes keeps the space until the next idle moment.
            let _ = fallocate(&*self.file, punch, self.freed, live - self.freed);
            self.freed = live;
        }
    }

    /// Bytes of disk space the file takes.
    pub(crate) fn space(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.file.metadata()?.blocks() * 512)
    }
}
