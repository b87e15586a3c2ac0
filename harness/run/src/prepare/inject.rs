//! Puts files into a partition of the run's own layer, before the boot.
//!
//! The partition is copied out, changed with the file system's own tools (mtools for FAT, debugfs
//! for ext2/3/4), and what differs is written back: the image is never touched, and a partition
//! in use by nobody needs no mount and no root.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hil_core::image::{Image, Inject};
use hil_core::located::ConfigError;

use super::PrepareError;
use super::artefact::at;
use super::partitions::{self, Partition};

/// Where injected bytes go: a rig's layer. Byte offsets in the disk.
pub trait Medium {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

const CHUNK: usize = 64 * 1024;

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
pub fn apply(image: &Image, disk: &Path, medium: &dyn Medium) -> Result<(), PrepareError> {
    for inject in &image.inject {
        let partition = find(image, inject, disk)?;
        let what = format!("{} in partition {}", inject.path, inject.partition);
        let failed = |why: &dyn std::fmt::Display| PrepareError::host(&what, why);
        let dir = tempfile::tempdir().map_err(|error| failed(&error))?;
        let copy = dir.path().join("partition");
        let content = content(image, inject, dir.path()).map_err(|error| failed(&error))?;
        copy_out(medium, &partition, &copy).map_err(|error| failed(&error))?;
        put(&copy, &content, &inject.path).map_err(|error| failed(&error))?;
        copy_back(medium, &partition, &copy).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn content(image: &Image, inject: &Inject, dir: &Path) -> io::Result<PathBuf> {
    match (&inject.file, &inject.text) {
        (Some(file), _) => Ok(std::path::absolute(image.path(file))?),
        (None, text) => {
            let path = dir.join("content");
            fs::write(&path, with_secrets(image, text.as_deref().unwrap_or("")))?;
            Ok(path)
        }
    }
}

/// `${name}` stands for the secret of that name; other `${…}` stay as they are.
fn with_secrets(image: &Image, text: &str) -> String {
    let mut text = text.to_string();
    for (name, secret) in &image.secrets {
        if let Ok(value) = std::env::var(&secret.env) {
            text = text.replace(&format!("${{{name}}}"), &value);
        }
    }
    text
}

fn copy_out(medium: &dyn Medium, partition: &Partition, to: &Path) -> io::Result<()> {
    let file = File::create(to)?;
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
fn put(partition: &Path, content: &Path, path: &str) -> io::Result<()> {
    let mut sector = [0; 2048];
    File::open(partition)?.read_exact_at(&mut sector, 0)?;
    let path = path.trim_start_matches('/');
    if sector[1024 + 0x38..1024 + 0x3a] == [0x53, 0xef] {
        return put_ext(partition, content, path);
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
        let mut exists = Command::new("mdir");
        exists.args(["-b", "-i"]).arg(partition).arg(&folder);
        if !exists.output().map_err(|error| missing("mdir", "mtools", error))?.status.success() {
            let mut make = Command::new("mmd");
            make.arg("-i").arg(partition).arg(&folder);
            run(&mut make, "mtools", None)?;
        }
    }
    let mut copy = Command::new("mcopy");
    copy.args(["-o", "-i"]).arg(partition).arg(content).arg(format!("::{path}"));
    run(&mut copy, "mtools", None)
}

fn put_ext(partition: &Path, content: &Path, path: &str) -> io::Result<()> {
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
    // A journal still to be replayed would undo what debugfs writes.
    run(Command::new("e2fsck").args(["-p"]).arg(partition), "e2fsprogs", None).or_else(
        |error| if error.to_string().contains("status: 1") { Ok(()) } else { Err(error) },
    )?;
    run(
        Command::new("debugfs").args(["-w", "-f", "-"]).arg(partition),
        "e2fsprogs",
        Some(&script),
    )?;
    // debugfs ends with 0 whatever happened; ask the file system.
    let mut stat = Command::new("debugfs");
    stat.arg("-R").arg(format!("stat \"/{path}\"")).arg(partition);
    let output = stat.output().map_err(|error| missing("debugfs", "e2fsprogs", error))?;
    let size = format!("Size: {}", fs::metadata(content)?.len());
    match String::from_utf8_lossy(&output.stdout).contains(&size) {
        true => Ok(()),
        false => Err(io::Error::other("debugfs could not write it; is the partition full?")),
    }
}

fn run(command: &mut Command, package: &str, input: Option<&str>) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(&name, package, error))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(io::Error::other(format!("{name} ended with {}: {said}", output.status)))
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
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&part), "mkfs", None).unwrap();
        let disk = dir.path().join("d.img");
        File::create(&disk).unwrap().set_len(8 << 20).unwrap();
        let table = "label: gpt\nstart=2048,size=8192,name=boot\n";
        run(Command::new("sfdisk").arg("-q").arg(&disk), "fdisk", Some(table)).unwrap();
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
        apply(&image, &disk, &medium).unwrap();
        assert!(fs::read(&disk).unwrap() == before, "the image itself was changed");
        fs::write(&part, &medium.0.lock().unwrap()[1 << 20..5 << 20]).unwrap();
        (part, dir)
    }

    fn said(command: &mut Command) -> String {
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    #[test]
    fn text_takes_secrets_from_the_environment() {
        let text = "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d\"\n\
                    [secrets]\nhome = { env = \"HOME\" }\n";
        let image = Image::parse(text, Path::new("image.toml")).unwrap();
        let home = std::env::var("HOME").unwrap();
        assert_eq!(with_secrets(&image, "a ${home} ${other}"), format!("a {home} ${{other}}"));
    }

    #[test]
    fn a_file_lands_in_a_fat_partition() {
        let (part, _dir) = injected(&["mkfs.vfat"], "a/b/config.json");
        let text = said(Command::new("mtype").arg("-i").arg(part).arg("::a/b/config.json"));
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_file_lands_in_an_ext4_partition() {
        let (part, _dir) = injected(&["mke2fs", "-q", "-t", "ext4"], "/root/.ssh/key");
        let text = said(Command::new("debugfs").args(["-R", "cat /root/.ssh/key"]).arg(part));
        assert_eq!(text, "hello");
    }
}
