//! Puts files into a partition of the run's own layer, before the boot.
//!
//! The partition is copied out, changed with the file system's own tools (mtools for FAT, debugfs
//! for ext2/3/4), and what differs is written back: the image is never touched, and a partition
//! in use by nobody needs no mount and no root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use hil_core::image::{Image, Inject};
use hil_core::located::ConfigError;

use super::artefact::at;
use super::partitions::{self, Partition};
use super::{PrepareError, secrets, tools};

/// Where injected bytes go: a rig's layer. Byte offsets in the disk.
pub trait Medium {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

const CHUNK: usize = 64 * 1024;

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
/// even if this process is killed.
pub fn apply(
    image: &Image,
    disk: &Path,
    medium: &dyn Medium,
    scratch: &Path,
) -> Result<(), PrepareError> {
    for inject in &image.inject {
        let partition = find(image, inject, disk)?;
        let what = format!("{} in partition {}", inject.path, inject.partition);
        let failed = |why: &dyn std::fmt::Display| PrepareError::host(&what, why);
        let dir = tempfile::tempdir_in(scratch).map_err(|error| failed(&error))?;
        let copy = dir.path().join("partition");
        let content = content(image, inject, dir.path()).map_err(|error| failed(&error))?;
        copy_out(medium, &partition, &copy).map_err(|error| failed(&error))?;
        let mode = inject.file.is_none().then_some(TEXT_MODE);
        put(&copy, &content, &inject.path, mode).map_err(|error| failed(&error))?;
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

/// A new file that only its owner can read: there may be secrets in it.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn copy_out(medium: &dyn Medium, partition: &Partition, to: &Path) -> io::Result<()> {
    let file = private(to)?;
    file.set_len(partition.size)?;
    let mut chunk = vec![0; CHUNK];
    for_chunks(partition.size, |offset, length| {
        let chunk = &mut chunk[..length];
        medium.read_at(partition.start + offset, chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            file.write_all_at(chunk, offset)?;
        }
        Ok(())
    })
}

fn copy_back(medium: &dyn Medium, partition: &Partition, from: &Path) -> io::Result<()> {
    let file = File::open(from)?;
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

/// Puts one file into a file system image, with that file system's own tools.
fn put(partition: &Path, content: &Path, path: &str, mode: Option<u32>) -> io::Result<()> {
    let mut sector = [0; 2048];
    File::open(partition)?.read_exact_at(&mut sector, 0)?;
    let path = path.trim_start_matches('/');
    if sector[1024 + 0x38..1024 + 0x3a] == [0x53, 0xef] {
        return put_ext(partition, content, path, mode);
    }
    let fat = [&sector[54..57], &sector[82..85]].contains(&b"FAT".as_slice());
    if fat {
        return put_fat(partition, content, path);
    }
    Err(io::Error::other("the file system is neither FAT nor ext2/3/4"))
}

fn put_fat(partition: &Path, content: &Path, path: &str) -> io::Result<()> {
    let mut folder = String::from("::");
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts[..parts.len() - 1] {
        folder = format!("{folder}/{part}");
        let mut exists = tools::command("mdir");
        exists.args(["-b", "-i"]).arg(partition).arg(&folder);
        if !exists.output().map_err(|error| missing("mdir", "mtools", error))?.status.success() {
            let mut make = tools::command("mmd");
            make.arg("-i").arg(partition).arg(&folder);
            run(&mut make, "mtools", None)?;
        }
    }
    let mut copy = tools::command("mcopy");
    copy.args(["-o", "-i"]).arg(partition).arg(content).arg(format!("::{path}"));
    run(&mut copy, "mtools", None)
}

fn put_ext(partition: &Path, content: &Path, path: &str, mode: Option<u32>) -> io::Result<()> {
    let mut script = String::new();
    let mut folder = String::new();
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts[..parts.len() - 1] {
        folder = format!("{folder}/{part}");
        // Harmless where it exists already: debugfs says so and goes on.
        script += &format!("mkdir \"{folder}\"\n");
    }
    script += &format!("rm \"/{path}\"\nwrite \"{}\" \"/{path}\"\n", content.display());
    script += &format!("sif \"/{path}\" uid 0\nsif \"/{path}\" gid 0\n");
    if let Some(mode) = mode {
        script += &format!("sif \"/{path}\" mode 0{mode:o}\n");
    }
    // A journal still to be replayed would undo what debugfs writes.
    let mut check = tools::command("e2fsck");
    let output = ended(check.arg("-p").arg(partition), "e2fsprogs", None)?;
    if !is_sound(output.status) {
        return Err(told(&check, &output));
    }
    let mut write = tools::command("debugfs");
    run(write.args(["-w", "-f", "-"]).arg(partition), "e2fsprogs", Some(&script))?;
    // debugfs ends with 0 whatever happened; ask the file system.
    let mut stat = tools::command("debugfs");
    stat.arg("-R").arg(format!("stat \"/{path}\"")).arg(partition);
    let output = stat.output().map_err(|error| missing("debugfs", "e2fsprogs", error))?;
    let size = format!("Size: {}", fs::metadata(content)?.len());
    match String::from_utf8_lossy(&output.stdout).contains(&size) {
        true => Ok(()),
        false => Err(io::Error::other("debugfs could not write it; is the partition full?")),
    }
}

/// Whether e2fsck left a good file system: 0 is untouched, 1 is repaired, and its other codes
/// are sums that may hold the bit of 1.
fn is_sound(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 1))
}

fn run(command: &mut Command, package: &str, input: Option<&str>) -> io::Result<()> {
    let output = ended(command, package, input)?;
    if output.status.success() { Ok(()) } else { Err(told(command, &output)) }
}

fn ended(command: &mut Command, package: &str, input: Option<&str>) -> io::Result<Output> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(&name_of(command), package, error))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

fn told(command: &Command, output: &Output) -> io::Error {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    io::Error::other(format!("{} ended with {}: {said}", name_of(command), output.status))
}

/// The tool's name without folders.
fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn missing(tool: &str, package: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::other(format!("{tool} is not installed; install the package {package}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
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
        apply(&image, &disk, &medium, &scratch).unwrap();
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "something was left over");
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

    #[test]
    fn what_may_hold_secrets_is_private_and_in_the_scratch_folder() {
        /// Looks at the scratch folder in the middle of the work.
        struct Watching<'m>(&'m Memory, PathBuf, Mutex<Vec<(PathBuf, u32)>>);
        impl Medium for Watching<'_> {
            fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
                let mut seen = self.2.lock().unwrap();
                if seen.is_empty() {
                    for dir in fs::read_dir(&self.1)?.flatten() {
                        for file in fs::read_dir(dir.path())?.flatten() {
                            let mode = file.metadata()?.permissions().mode() & 0o777;
                            seen.push((file.file_name().into(), mode));
                        }
                    }
                }
                self.0.read_at(offset, buffer)
            }
            fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
                self.0.write_at(offset, bytes)
            }
        }
        let (_part, dir) = injected(&["mkfs.vfat"], "a");
        let image = super::super::load(&dir.path().join("image.toml")).unwrap();
        let disk = dir.path().join("d.img");
        let memory = Memory(Mutex::new(fs::read(&disk).unwrap()));
        let scratch = dir.path().join("scratch");
        let watching = Watching(&memory, scratch.clone(), Mutex::default());
        apply(&image, &disk, &watching, &scratch).unwrap();
        let mut seen = watching.2.into_inner().unwrap();
        seen.sort();
        assert_eq!(seen, [("content".into(), 0o600), ("partition".into(), 0o600)]);
    }

    #[test]
    fn only_a_repaired_file_system_is_as_good_as_a_sound_one() {
        let sound = |code: i32| is_sound(ExitStatus::from_raw(code << 8));
        assert_eq!(
            [0, 1, 2, 4, 8, 12, 16, 128].map(sound),
            [true, true, false, false, false, false, false, false]
        );
        assert!(!is_sound(ExitStatus::from_raw(9)), "a killed e2fsck has checked nothing");
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
