//! Puts files into a partition of the run's own layer, before the boot.
//!
//! The partition is copied out, changed with the file system's own tools (`filesystem`), and what
//! differs is written back: the image is never touched, and a partition in use by nobody needs no
//! mount and no root.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hil_core::image::{Image, Inject};
use hil_core::located::ConfigError;

use super::artefact::at;
use super::partitions::{self, Partition};
use super::{PrepareError, filesystem, secrets};

/// Where injected bytes go: a rig's layer. Byte offsets in the disk.
pub trait Medium {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

const CHUNK: usize = 64 * 1024;

/// Only its owner can read a file that may hold secrets.
const PRIVATE: u32 = 0o600;

/// The mode that a text gets in the image; a file keeps its own.
const TEXT_MODE: u32 = 0o100_644;

/// Every inject names a partition that exists; told before anything is booted.
pub(super) fn check(image: &Image, disk: &Path) -> Result<(), ConfigError> {
    for inject in &image.inject {
        find(image, inject, disk)?;
    }
    Ok(())
}

fn find(image: &Image, inject: &Inject, disk: &Path) -> Result<Partition, ConfigError> {
    let found = partitions::read(disk).map_err(|error| at(image, "disk.file", error))?;
    let number = inject.partition.parse().ok();
    let fits = |p: &&Partition| p.name == inject.partition || Some(p.number) == number;
    if let Some(partition) = found.iter().find(fits) {
        return Ok(partition.clone());
    }
    let there: Vec<String> = found.iter().map(|p| format!("{} {}", p.number, p.name)).collect();
    let why =
        format!("the disk has no partition `{}`; it has: {}", inject.partition, there.join(", "));
    Err(at(image, "inject", why))
}

/// Applies all of the image's injects to `medium`. Blocks.
///
/// What is written meanwhile, secrets among it, is in `scratch`: a folder that somebody removes
/// even if this process is killed, and in memory perhaps. A partition may be larger than that: its
/// copy is a file without a name in `room`, which is gone with this process at the latest.
pub fn apply(
    image: &Image,
    disk: &Path,
    medium: &dyn Medium,
    scratch: &Path,
    room: &Path,
) -> Result<(), PrepareError> {
    for inject in &image.inject {
        let partition = find(image, inject, disk)?;
        let what = format!("{} in partition {}", inject.path, inject.partition);
        let failed = |why: &dyn std::fmt::Display| PrepareError::host(&what, why);
        let dir = tempfile::tempdir_in(scratch).map_err(|error| failed(&error))?;
        let content = content(image, inject, dir.path()).map_err(|error| failed(&error))?;
        let copy = copy_out(medium, &partition, room).map_err(|error| {
            failed(&format!("copy the partition to {}: {error}", room.display()))
        })?;
        let mode = inject.file.is_none().then_some(TEXT_MODE);
        filesystem::put(&path_of(&copy), &content, &inject.path, mode)
            .map_err(|error| failed(&error))?;
        copy_back(medium, &partition, &copy).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn content(image: &Image, inject: &Inject, dir: &Path) -> io::Result<PathBuf> {
    match (&inject.file, &inject.text) {
        (Some(file), _) => Ok(std::path::absolute(image.path(file))?),
        (None, text) => {
            let path = dir.join("content");
            let text = secrets::filled(image, text.as_deref().unwrap_or(""));
            private(&path)?.write_all(text.as_bytes())?;
            Ok(path)
        }
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)
}

/// The partition in a sparse file that only its owner can read and that has no name.
fn copy_out(medium: &dyn Medium, partition: &Partition, room: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(room)?;
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    file.set_len(partition.size)?;
    let mut chunk = vec![0; CHUNK];
    for_chunks(partition.size, |offset, length| {
        let chunk = &mut chunk[..length];
        medium.read_at(partition.start + offset, chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            file.write_all_at(chunk, offset)?;
        }
        Ok(())
    })?;
    Ok(file)
}

/// By this path the tools open a file that has no name.
fn path_of(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn copy_back(medium: &dyn Medium, partition: &Partition, file: &File) -> io::Result<()> {
    let (mut new, mut old) = (vec![0; CHUNK], vec![0; CHUNK]);
    for_chunks(partition.size, |offset, length| {
        let (new, old) = (&mut new[..length], &mut old[..length]);
        file.read_exact_at(new, offset)?;
        medium.read_at(partition.start + offset, old)?;
        if new != old { medium.write_at(partition.start + offset, new) } else { Ok(()) }
    })
}

fn for_chunks(size: u64, mut each: impl FnMut(u64, usize) -> io::Result<()>) -> io::Result<()> {
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(CHUNK as u64) as usize;
        each(offset, length)?;
        offset += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{filesystem::run, tools};
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;
    use std::sync::Mutex;

    struct Memory(Mutex<Vec<u8>>);

    impl Medium for Memory {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let offset = offset as usize;
            buffer.copy_from_slice(&self.0.lock().unwrap()[offset..offset + buffer.len()]);
            Ok(())
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let offset = offset as usize;
            self.0.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    fn injected(mkfs: &[&str], path: &str) -> (PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("fs");
        File::create(&part).unwrap().set_len(4 << 20).unwrap();
        run(tools::command(mkfs[0]).args(&mkfs[1..]).arg(&part), "mkfs", None).unwrap();
        let disk = dir.path().join("d.img");
        File::create(&disk).unwrap().set_len(8 << 20).unwrap();
        let table = "label: gpt\nstart=2048,size=8192,name=boot\n";
        run(tools::command("sfdisk").arg("-q").arg(&disk), "fdisk", Some(table)).unwrap();
        let mut bytes = fs::read(&disk).unwrap();
        bytes[1 << 20..5 << 20].copy_from_slice(&fs::read(&part).unwrap());
        fs::write(&disk, &bytes).unwrap();
        let manifest = dir.path().join("image.toml");
        let text = format!(
            "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d.img\"\n\
             [[inject]]\npartition = \"boot\"\npath = \"{path}\"\ntext = \"hello\"\n"
        );
        fs::write(&manifest, text).unwrap();
        let image = super::super::load(&manifest).unwrap();
        let before = bytes.clone();
        let medium = Memory(Mutex::new(bytes));
        let scratch = dir.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let room = dir.path().join("room");
        fs::create_dir(&room).unwrap();
        apply(&image, &disk, &medium, &scratch, &room).unwrap();
        for folder in [&scratch, &room] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "something was left over");
        }
        assert!(fs::read(&disk).unwrap() == before, "the image itself was changed");
        fs::write(&part, &medium.0.lock().unwrap()[1 << 20..5 << 20]).unwrap();
        (part, dir)
    }

    fn said(command: &mut Command) -> String {
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    #[test]
    fn a_file_lands_in_a_fat_partition() {
        let (part, _dir) = injected(&["mkfs.vfat"], "a/b/config.json");
        let text = said(tools::command("mtype").arg("-i").arg(part).arg("::a/b/config.json"));
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_file_lands_in_an_ext4_partition() {
        let (part, _dir) = injected(&["mke2fs", "-q", "-t", "ext4"], "/root/.ssh/key");
        let text = said(tools::command("debugfs").args(["-R", "cat /root/.ssh/key"]).arg(part));
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_text_can_be_read_in_the_image_by_all() {
        let (part, _dir) = injected(&["mke2fs", "-q", "-t", "ext4"], "/etc/app.conf");
        let text = said(tools::command("debugfs").args(["-R", "stat /etc/app.conf"]).arg(part));
        assert!(text.contains("Mode:  0644"), "{text}");
    }

    /// Looks at what is on disk in the middle of the work.
    struct Watching<'m> {
        memory: &'m Memory,
        scratch: PathBuf,
        room: PathBuf,
        /// Names and modes in the scratch folder.
        scratched: Mutex<Vec<(PathBuf, u32)>>,
        /// Mode, length and bytes on disk of our open files in the other folder.
        open: Mutex<Vec<(u32, u64, u64)>>,
    }

    impl Medium for Watching<'_> {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.memory.read_at(offset, buffer)
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mode = |data: &fs::Metadata| data.permissions().mode() & 0o777;
            let (mut scratched, mut open) = (Vec::new(), Vec::new());
            for dir in fs::read_dir(&self.scratch)?.flatten() {
                for file in fs::read_dir(dir.path())?.flatten() {
                    scratched.push((file.file_name().into(), mode(&file.metadata()?)));
                }
            }
            for fd in fs::read_dir("/proc/self/fd")?.flatten() {
                let to = fs::read_link(fd.path()).unwrap_or_default();
                if to.starts_with(&self.room) {
                    let data = fs::metadata(fd.path())?;
                    open.push((mode(&data), data.len(), data.blocks() * 512));
                }
            }
            assert_eq!(fs::read_dir(&self.room)?.count(), 0, "the copy has a name");
            *self.scratched.lock().unwrap() = scratched;
            *self.open.lock().unwrap() = open;
            self.memory.write_at(offset, bytes)
        }
    }

    #[test]
    fn what_may_hold_secrets_is_private_and_a_partitions_copy_has_neither_name_nor_holes_filled() {
        let (_part, dir) = injected(&["mkfs.vfat"], "a");
        let image = super::super::load(&dir.path().join("image.toml")).unwrap();
        let disk = dir.path().join("d.img");
        let memory = Memory(Mutex::new(fs::read(&disk).unwrap()));
        let (scratch, room) = (dir.path().join("scratch"), dir.path().join("room"));
        let watching = Watching {
            memory: &memory,
            scratch: scratch.clone(),
            room: room.clone(),
            scratched: Mutex::default(),
            open: Mutex::default(),
        };
        apply(&image, &disk, &watching, &scratch, &room).unwrap();
        assert_eq!(watching.scratched.into_inner().unwrap(), [("content".into(), 0o600)]);
        let open = watching.open.into_inner().unwrap();
        let [(0o600, len, on_disk)] = open[..] else { panic!("{open:?}") };
        assert_eq!(len, 4 << 20);
        assert!(on_disk < 1 << 20, "{on_disk} bytes on disk for a file system with one small file");
    }

    #[test]
    fn no_room_for_the_copy_names_the_folder() {
        let (_part, dir) = injected(&["mkfs.vfat"], "a");
        let image = super::super::load(&dir.path().join("image.toml")).unwrap();
        let disk = dir.path().join("d.img");
        let memory = Memory(Mutex::new(fs::read(&disk).unwrap()));
        let (scratch, room) = (dir.path().join("scratch"), dir.path().join("no-room"));
        let error = apply(&image, &disk, &memory, &scratch, &room).unwrap_err().to_string();
        assert!(error.contains("copy the partition to") && error.contains("/no-room: "), "{error}");
    }

    #[test]
    fn a_plain_users_path_is_enough() {
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "prepare::inject::tests::a_file_lands_in_an_ext4_partition"])
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(said.contains("1 passed"), "{said}");
    }
}
