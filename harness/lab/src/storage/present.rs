//! Whether a medium is there, and waiting until it comes or goes.
//!
//! It is asked, not listened for: a card reader without a media-change interrupt tells the kernel
//! nothing, and it is the opening of its device that makes the kernel look at the slot.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hil_core::deadline::Deadline;
use rustix::fs::OFlags;

use crate::error::DriverError;

const ASK_EVERY: Duration = Duration::from_millis(100);

/// What is at a device's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing at all: no such path.
    Nowhere,
    /// A reader without a medium.
    Empty,
    /// A medium of so many bytes.
    There(u64),
}

impl Presence {
    pub fn is_there(self) -> bool {
        matches!(self, Presence::There(_))
    }
}

/// Looks once.
pub fn look(path: &Path) -> Result<Presence, DriverError> {
    let failed = |why: io::Error| {
        let mut why = format!("look at {}: {why}", path.display());
        if why.contains("ermission denied") {
            why += "; a udev rule or the group `disk` gives access";
        }
        DriverError::new(why)
    };
    let kind = match path.metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Presence::Nowhere),
        Err(why) => return Err(failed(why)),
    };
    if !kind.is_block_device() && !kind.is_file() {
        return Err(DriverError::new(format!(
            "look at {}: it is neither a block device nor a file",
            path.display()
        )));
    }
    match size(path) {
        Ok(0) => Ok(Presence::Empty),
        Ok(size) => Ok(Presence::There(size)),
        Err(why) if is_empty_slot(&why) => Ok(Presence::Empty),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Presence::Nowhere),
        Err(why) => Err(failed(why)),
    }
}

fn size(path: &Path) -> io::Result<u64> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut device: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    device.seek(SeekFrom::End(0))
}

fn is_empty_slot(why: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOMEDIUM, Errno::NXIO, Errno::NODEV];
    gone.iter().any(|errno| why.raw_os_error() == Some(errno.raw_os_error()))
}

/// Waits until what is at `path` is as `wanted`; what is there when it is, or when time is up.
pub fn wait(
    path: &Path,
    wanted: impl Fn(Presence) -> bool,
    deadline: Deadline,
    cancel: &AtomicBool,
) -> Result<Presence, DriverError> {
    loop {
        let now = look(path)?;
        if wanted(now) || deadline.passed() {
            return Ok(now);
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(DriverError::new(format!("wait for {}: stopped", path.display())));
        }
        sleep(deadline.left().min(ASK_EVERY));
    }
}
