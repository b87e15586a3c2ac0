//! Refuses to write what is not a board's medium: a disk of this host, a partition, a disk that is
//! in use, one of another size than the lab file says. The kernel is asked, by its /proc and /sys.
//!
//! It is the first of two guards: `device` opens the medium exclusively, which the kernel refuses
//! for whatever is mounted, swapped to or held by another device at that moment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::StorageSpec;
use crate::error::DriverError;

/// A card or stick larger than this is taken for a mistake unless the lab file gives its size.
const LARGEST: u64 = 256 << 30;

/// Where the kernel tells of its devices: `/proc` and `/sys`, or a copy.
pub struct Kernel {
    proc: PathBuf,
    sys: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Kernel { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// What the guard let pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Without symlinks.
    pub path: PathBuf,
    /// Major and minor number; none of a regular file.
    pub number: Option<(u32, u32)>,
    /// Bytes.
    pub size: u64,
}

/// Why a device is not written; finishes "it …".
type Refusal = String;

impl Kernel {
    /// As told by other trees than the real ones.
    pub fn rooted(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Kernel {
        Kernel { proc: proc.into(), sys: sys.into() }
    }

    /// Lets a board's medium pass and nothing else.
    pub fn guard(&self, spec: &StorageSpec) -> Result<Target, DriverError> {
        let Some(device) = &spec.device else {
            return Err(DriverError::new("write the medium: the lab file gives no `device`"));
        };
        let failed = |why: &dyn std::fmt::Display| {
            DriverError::new(format!("write {}: {why}", device.display()))
        };
        let path = device.canonicalize().map_err(|why| failed(&why))?;
        let metadata = path.metadata().map_err(|why| failed(&why))?;
        let kind = metadata.file_type();
        let (number, size) = if kind.is_block_device() {
            let number = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            (Some(number), self.check(number, spec).map_err(|why| failed(&format!("it {why}")))?)
        } else if kind.is_file() {
            if metadata.permissions().readonly() {
                return Err(failed(&"the file is read-only"));
            }
            (None, metadata.len())
        } else {
            return Err(failed(&"it is neither a block device nor a file"));
        };
        check_size(size, spec).map_err(|why| failed(&format!("it {why}")))?;
        Ok(Target { path, number, size })
    }

    /// The size of a block device that may be written.
    pub fn check(&self, number: (u32, u32), spec: &StorageSpec) -> Result<u64, Refusal> {
        let (major, minor) = number;
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        let Ok(disk) = link.canonicalize() else {
            return Err(format!("has gone: the kernel knows no block device {major}:{minor}"));
        };
        let name = name(&disk);
        if disk.join("partition").exists() {
            let whole = disk.parent().map(self::name).unwrap_or_default();
            return Err(format!("is the partition {name}: give the whole disk, {whole}"));
        }
        let parts = Parts::of(&disk);
        self.check_use(&parts)?;
        if text(&disk.join("ro")) == "1" {
            return Err("is read-only: check the card's lock, and its adapter's".into());
        }
        if !spec.fixed && !is_removable(&disk) {
            return Err(format!(
                "is {name}, a fixed disk of this host and no card or stick: if it really is the \
                 board's medium, say `fixed = true` beside `device`"
            ));
        }
        let sectors: u64 = text(&disk.join("size")).parse().unwrap_or(0);
        match sectors {
            0 => Err("holds no medium".into()),
            // Sectors of sysfs have 512 bytes, whatever those of the device have.
            sectors => Ok(sectors * 512),
        }
    }

    /// Nothing of a disk is mounted, swapped to, or part of another device.
    fn check_use(&self, parts: &Parts) -> Result<(), Refusal> {
        for (part, path) in &parts.0 {
            let held = fs::read_dir(path.join("holders")).ok();
            if let Some(holder) = held.and_then(|mut holders| holders.next()?.ok()) {
                let holder = holder.file_name().to_string_lossy().into_owned();
                return Err(format!("is in use: {part} is part of {holder} (LVM, RAID, …)"));
            }
        }
        let read = |file: &str| {
            let path = self.proc.join(file);
            fs::read_to_string(&path)
                .map_err(|why| format!("may be in use: {} cannot be read: {why}", path.display()))
        };
        let mounts = read("self/mountinfo")?;
        let mut mounted: Vec<(String, &str)> = mounts.lines().filter_map(|l| parts.at(l)).collect();
        // The root file system is the worst to lose: it is told first.
        mounted.sort_by_key(|(at, _)| at != "/");
        match mounted.first() {
            Some((at, part)) if at == "/" => {
                return Err(format!("holds this host's root file system, on {part}"));
            }
            Some((at, part)) => {
                return Err(format!(
                    "is in use: {part} is mounted at {at}: unmount it, and keep the automounter \
                     off it"
                ));
            }
            None => {}
        }
        let swaps = read("swaps")?;
        let swap = swaps.lines().skip(1).find_map(|line| {
            let path = line.split_whitespace().next()?;
            parts.named(path)
        });
        match swap {
            Some(part) => Err(format!("is in use: this host swaps to {part}")),
            None => Ok(()),
        }
    }
}

fn check_size(size: u64, spec: &StorageSpec) -> Result<(), Refusal> {
    match spec.size {
        Some(want) if want != size => {
            Err(format!("has {size} bytes, and the lab file says {want}: it is another medium"))
        }
        None if size > LARGEST => Err(format!(
            "has {size} bytes, which is more than a card has: if it is the right one, say \
             `size = {size}` in the lab file"
        )),
        _ => Ok(()),
    }
}

/// Cards and sticks: what says so itself, whatever hangs on USB, and SD cards in a slot, of which
/// the kernel does not say that they can be taken out.
fn is_removable(disk: &Path) -> bool {
    let on_usb = disk.components().any(|part| {
        part.as_os_str()
            .to_str()
            .and_then(|part| part.strip_prefix("usb"))
            .is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
    });
    text(&disk.join("removable")) == "1" || text(&disk.join("device/type")) == "SD" || on_usb
}

/// A disk and its partitions: the kernel's names, and where sysfs has them.
struct Parts(BTreeMap<String, PathBuf>);

impl Parts {
    fn of(disk: &Path) -> Parts {
        let mut parts = BTreeMap::from([(name(disk), disk.to_path_buf())]);
        let entries = fs::read_dir(disk).into_iter().flatten().flatten();
        let partitions = entries.map(|entry| entry.path());
        let partitions = partitions.filter(|path| path.join("partition").exists());
        parts.extend(partitions.map(|path| (name(&path), path)));
        Parts(parts)
    }

    /// Where a line of mountinfo mounts one of them. By number, or by the source's name: some
    /// file systems (btrfs) show numbers of their own.
    fn at<'p>(&'p self, line: &str) -> Option<(String, &'p str)> {
        let (mount, source) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (number, at) = (fields.get(2)?, fields.get(4)?);
        let source = source.split(' ').nth(1)?;
        let by_number = || {
            let part = self.0.iter().find(|(_, path)| text(&path.join("dev")) == **number)?;
            Some(part.0.as_str())
        };
        let part = by_number().or_else(|| self.named(source))?;
        Some((at.replace("\\040", " "), part))
    }

    /// The one a path such as `/dev/sda2` or `/dev/disk/by-uuid/…` names.
    fn named(&self, path: &str) -> Option<&str> {
        let path = Path::new(path);
        if !path.is_absolute() {
            return None;
        }
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let (part, _) = self.0.get_key_value(&name(&path))?;
        Some(part)
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file of sysfs; empty where there is none.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}
