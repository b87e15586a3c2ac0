//! Artefacts: are they there, are they what the manifest says, are they for this architecture.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hil_core::arch::Arch;
use hil_core::image::{Artefact, Boot, Image};
use hil_core::located::ConfigError;
use sha2::{Digest, Sha256};

use super::{PrepareError, Report};

/// Where conversions and known digests are kept between runs.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub fn new(dir: PathBuf) -> Result<Cache, PrepareError> {
        let failed = |error| {
            let next = "set XDG_CACHE_HOME to a folder you can write";
            PrepareError::host(format!("the cache {}", dir.display()), format!("{error}; {next}"))
        };
        fs::create_dir_all(dir.join("digests")).map_err(&failed)?;
        fs::create_dir_all(dir.join("raw")).map_err(failed)?;
        Ok(Cache { dir })
    }

    pub(super) fn raw(&self, name: &str) -> PathBuf {
        self.dir.join("raw").join(name)
    }

    /// The artefact's digest; an error on the manifest's line if it is not the one promised.
    pub(super) fn verify(
        &self,
        image: &Image,
        key: &str,
        artefact: &Artefact,
        report: Report<'_>,
    ) -> Result<String, PrepareError> {
        check_form(image, key, artefact)?;
        let path = image.path(&artefact.file);
        let found = self.digest(&path, report).map_err(|error| {
            let file_key = if key.ends_with(".file") { key } else { &format!("{key}.file") };
            at(image, file_key, format!("cannot read {}: {error}", path.display()))
        })?;
        match &artefact.sha256 {
            Some(promised) if !promised.eq_ignore_ascii_case(&found) => {
                let why = format!(
                    "{} is not what the manifest promises: its sha256 is {found}",
                    path.display()
                );
                let error = at(image, &format!("{key}.sha256"), why)
                    .with_help("the file was changed, cut short, or is of another build");
                Err(error.into())
            }
            _ => Ok(found),
        }
    }

    /// SHA-256 of a file, remembered as long as its inode, size and times stay the same.
    fn digest(&self, path: &Path, report: Report<'_>) -> std::io::Result<String> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(std::io::Error::other("not a file"));
        }
        let print = format!(
            "{}:{}:{}:{}.{}:{}.{}",
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec()
        );
        let known = self.dir.join("digests").join(digest_of(print.as_bytes()));
        if let Ok(digest) = fs::read_to_string(&known)
            && digest.len() == 64
        {
            return Ok(digest);
        }
        let digest = hash_file(path, meta.size(), report)?;
        // Only a convenience: a cache that cannot be written costs time, not truth.
        let _ = fs::write(&known, &digest);
        Ok(digest)
    }
}

/// A digest cut short in copying would otherwise read as an artefact that was changed.
fn check_form(image: &Image, key: &str, artefact: &Artefact) -> Result<(), ConfigError> {
    let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match &artefact.sha256 {
        Some(promised) if !is_digest(promised) => {
            let characters = promised.chars().count();
            let why = format!(
                "a sha256 is 64 hexadecimal digits, and this is not: it has {characters} characters"
            );
            let help = format!("`sha256sum {}` prints it", artefact.file.display());
            Err(at(image, &format!("{key}.sha256"), why).with_help(help))
        }
        _ => Ok(()),
    }
}

fn hash_file(path: &Path, size: u64, report: Report<'_>) -> std::io::Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = format!("checking {name}");
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut done = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
        done += n as u64;
        report(&what, done, size);
    }
}

/// SHA-256 in hexadecimal digits.
pub fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error at the line of the manifest that `key` stands on.
pub(super) fn at(image: &Image, key: &str, why: impl std::fmt::Display) -> ConfigError {
    let text = fs::read_to_string(&image.file).unwrap_or_default();
    ConfigError::at_key(&image.file, &text, key, why)
}

/// Refuses a kernel or a boot loader that is plainly of another architecture, which would
/// otherwise show as a silent console half a minute later.
pub(super) fn check_architecture(image: &Image) -> Result<(), ConfigError> {
    let Boot::Kernel(kernel) = &image.boot else { return Ok(()) };
    let path = image.path(&kernel.file);
    let mut head = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(4096).read_to_end(&mut head));
    read.map_err(|error| at(image, "boot.kernel.file", format!("cannot read: {error}")))?;
    match kernel_architecture(&head) {
        Some(found) if found != image.arch => {
            let why = format!("{} is a kernel for {found}, not {}", path.display(), image.arch);
            Err(at(image, "boot.kernel.file", why))
        }
        _ => Ok(()),
    }
}

/// What a kernel image's header says, by the kernel's own boot documentation
/// (`arch/x86/boot.rst`, `arch/arm64/booting.rst`, `arch/arm/boot/compressed/head.S`), ELF or PE.
fn kernel_architecture(head: &[u8]) -> Option<Arch> {
    let magic = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    if magic(0x202, b"HdrS") {
        return Some(Arch::X86_64);
    }
    if magic(0x38, b"ARM\x64") {
        return Some(Arch::Aarch64);
    }
    if magic(0x24, &0x016f_2818_u32.to_le_bytes()) {
        return Some(Arch::Arm);
    }
    if magic(0, b"\x7fELF") {
        return match head.get(18..20)? {
            [62, 0] => Some(Arch::X86_64),
            [183, 0] => Some(Arch::Aarch64),
            [40, 0] => Some(Arch::Arm),
            _ => None,
        };
    }
    if magic(0, b"MZ") {
        let header = head.get(0x3c..0x40)?.try_into().map(u32::from_le_bytes).ok()? as usize;
        if !magic(header, b"PE\0\0") {
            return None;
        }
        return match head.get(header + 4..header + 6)?.try_into().map(u16::from_le_bytes).ok()? {
            0x8664 => Some(Arch::X86_64),
            0xaa64 => Some(Arch::Aarch64),
            0x01c0 | 0x01c2 | 0x01c4 => Some(Arch::Arm),
            _ => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(dir: &Path, sha256: &str) -> Image {
        let text = format!(
            "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d.img\"\nsha256 = \"{sha256}\"\n"
        );
        fs::write(dir.join("image.toml"), &text).unwrap();
        super::super::load(&dir.join("image.toml")).unwrap()
    }

    #[test]
    fn a_wrong_digest_is_shown_on_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("d.img"), b"abc").unwrap();
        let cache = Cache::new(dir.path().join("cache")).unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let good = image(dir.path(), right);
        let artefact = good.disk.clone().unwrap();
        let quiet = |_: &str, _: u64, _: u64| {};
        assert_eq!(cache.verify(&good, "disk", &artefact, &quiet).unwrap(), right);

        // Changed content must not be vouched for by what was remembered of the old.
        fs::write(dir.path().join("d.img"), b"abd").unwrap();
        let error = cache.verify(&good, "disk", &artefact, &quiet).unwrap_err().to_string();
        assert!(error.contains("image.toml:5:10: "), "{error}");
        assert!(error.contains("is not what the manifest promises"), "{error}");
    }

    #[test]
    fn a_digest_that_is_none_is_shown_on_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("d.img"), b"abc").unwrap();
        let cache = Cache::new(dir.path().join("cache")).unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for wrong in [&right[1..], "", &right.replace('b', "g")] {
            let image = image(dir.path(), wrong);
            let artefact = image.disk.clone().unwrap();
            let error = cache.verify(&image, "disk", &artefact, &|_, _, _| {}).unwrap_err();
            assert!(error.to_string().contains("image.toml:5:10: a sha256 is 64"), "{error}");
        }
        let upper = image(dir.path(), &right.to_uppercase());
        let artefact = upper.disk.clone().unwrap();
        assert_eq!(cache.verify(&upper, "disk", &artefact, &|_, _, _| {}).unwrap(), right);
    }

    #[test]
    fn a_cache_that_cannot_be_made_says_what_to_set() {
        let error = Cache::new(PathBuf::from("/dev/null/hil")).unwrap_err().to_string();
        assert!(error.contains("/dev/null/hil: "), "{error}");
        assert!(error.ends_with("; set XDG_CACHE_HOME to a folder you can write"), "{error}");
    }

    #[test]
    fn a_missing_artefact_is_shown_on_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("cache")).unwrap();
        let image = image(dir.path(), &"0".repeat(64));
        let artefact = image.disk.clone().unwrap();
        let error = cache.verify(&image, "disk", &artefact, &|_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains("image.toml:4:8: cannot read"), "{error}");
    }

    #[test]
    fn inline_tables_and_keys_that_are_not_there_have_a_line_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.toml");
        let text = "name = \"x\"\narch = \"arm\"\ndisk = { file = \"d\", sha256 = \"0\" }\n";
        fs::write(&file, text).unwrap();
        let image = super::super::load(&file).unwrap();
        let place = |key| {
            let error = at(&image, key, "wrong");
            (error.line, error.column)
        };
        assert_eq!(place("disk.sha256"), (3, 31));
        assert_eq!(place("disk.size"), (3, 8));
    }

    #[test]
    fn kernels_tell_their_architecture() {
        let mut x86 = vec![0; 0x210];
        x86[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(kernel_architecture(&x86), Some(Arch::X86_64));
        let mut arm64 = vec![0; 64];
        arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert_eq!(kernel_architecture(&arm64), Some(Arch::Aarch64));
        assert_eq!(kernel_architecture(b"nothing"), None);
    }
}
