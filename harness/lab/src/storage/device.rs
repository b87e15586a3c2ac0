//! An opened medium: exclusive, bounded, and read back from the medium itself rather than from the
//! host's memory of what was written.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags, fadvise, fallocate, fcntl_lock};
use rustix::io::Errno;

use super::guard::Target;
use crate::error::DriverError;

/// What offsets and lengths must be multiples of to be read past the host's cache.
pub(crate) const ALIGN: u64 = 4096;

/// A medium that may be written. Offsets and sizes are bytes; nothing reaches past its end.
pub struct Device {
    file: File,
    /// The same, read past the host's cache; none where the file system cannot do that.
    direct: Option<File>,
    path: PathBuf,
    size: u64,
    block: bool,
    /// The kernel's quickest way of zeroing that has not failed yet.
    zeroing: Mutex<Zeroing>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Zeroing {
    Punch,
    Range,
    Write,
}

impl Device {
    /// Opens what the guard let pass. The kernel itself refuses a disk that is in use at this very
    /// moment, and nothing else can mount it while it is open.
    pub fn open(target: &Target) -> Result<Device, DriverError> {
        let path = target.path.clone();
        let failed = |why: &dyn std::fmt::Display| {
            DriverError::new(format!("open {} for writing: {why}", path.display()))
        };
        let block = target.number.is_some();
        let flags = if block { OFlags::EXCL } else { OFlags::empty() };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits() as i32);
        let mut file = options.open(&path).map_err(|why| match Errno::from_io_error(&why) {
            Some(Errno::BUSY) => failed(&"it is in use: mounted, or held by another program"),
            Some(Errno::ACCESS) => {
                failed(&format!("{why}; a udev rule or the group `disk` gives access"))
            }
            _ => failed(&why),
        })?;
        let opened = file.metadata().map_err(|why| failed(&why))?.rdev();
        let opened = (rustix::fs::major(opened), rustix::fs::minor(opened));
        if target.number.is_some_and(|number| number != opened) {
            return Err(failed(&"another device took its place meanwhile"));
        }
        let size = file.seek(SeekFrom::End(0)).map_err(|why| failed(&why))?;
        if size != target.size {
            let was = target.size;
            return Err(failed(&format!("it has {size} bytes now, and had {was} a moment ago")));
        }
        if !block {
            // An emulator locks its disks this way, too.
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| failed(&"it is in use: another program holds a lock on it"))?;
        }
        let direct = reopen_direct(&file);
        let zeroing = Mutex::new(Zeroing::Punch);
        Ok(Device { file, direct, path, size: target.size, block, zeroing })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.bound(offset, buffer.len() as u64)?;
        self.file.read_exact_at(buffer, offset)
    }

    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.bound(offset, bytes.len() as u64)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Everything written is on the medium, its own cache flushed, and the host forgets its copy.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    /// Makes `length` bytes read as zeros, by whatever the medium has for that.
    pub(crate) fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.bound(offset, length)?;
        loop {
            let way = *self.zeroing();
            let flags = match way {
                // Of a block device this never falls back to anything slow.
                Zeroing::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                Zeroing::Range => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
                Zeroing::Write => return self.write_zeros(offset, length),
            };
            match fallocate(&self.file, flags, offset, length) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::NODEV) => {
                    let next = if way == Zeroing::Punch { Zeroing::Range } else { Zeroing::Write };
                    *self.zeroing() = next;
                }
                Err(why) => return Err(why.into()),
            }
        }
    }

    fn zeroing(&self) -> std::sync::MutexGuard<'_, Zeroing> {
        self.zeroing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_zeros(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut done = 0;
        while done < length {
            let n = (length - done).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..n as usize], offset + done)?;
            done += n;
        }
        Ok(())
    }

    /// Reads what is on the medium, into `buffer`'s own aligned memory. `offset` is a multiple of
    /// [`ALIGN`]; what was written before must have been synced.
    pub(crate) fn read_back<'b>(
        &self,
        offset: u64,
        length: usize,
        buffer: &'b mut Aligned,
    ) -> io::Result<&'b [u8]> {
        self.bound(offset, length as u64)?;
        if let Some(direct) = &self.direct {
            let whole = length.next_multiple_of(ALIGN as usize);
            // A medium may end in the middle of such a piece; its own blocks are smaller.
            let whole = (whole as u64).min(self.size - offset) as usize;
            match read_whole(direct, buffer.get(whole), offset) {
                Ok(n) if n >= length => return Ok(&buffer.get(whole)[..length]),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(why) if Errno::from_io_error(&why) == Some(Errno::INVAL) => {}
                Err(why) => return Err(why),
            }
        }
        fadvise(&self.file, offset, std::num::NonZeroU64::new(length as u64), Advice::DontNeed)?;
        self.file.read_exact_at(buffer.get(length), offset)?;
        Ok(&buffer.get(length)[..])
    }

    /// For the medium's name in messages: a block device or a file.
    pub(crate) fn is_block(&self) -> bool {
        self.block
    }

    fn bound(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(io::Error::other(format!(
                "{length} bytes at {offset} reach past the end of {}, which has {}",
                self.path.display(),
                self.size
            ))),
        }
    }
}

fn reopen_direct(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).ok()
}

fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(done)
}

/// Memory that begins at a multiple of [`ALIGN`], as reading past the cache asks for.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    from: usize,
}

impl Aligned {
    pub(crate) fn new(most: usize) -> Aligned {
        let most = most.next_multiple_of(ALIGN as usize);
        let memory = vec![0; most + ALIGN as usize];
        let from = memory.as_ptr().align_offset(ALIGN as usize);
        Aligned { memory, from }
    }

    fn get(&mut self, length: usize) -> &mut [u8] {
        &mut self.memory[self.from..self.from + length]
    }
}
