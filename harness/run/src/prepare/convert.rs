//! Disks in every form users have them, made raw once and cached by the artefact's digest.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hil_core::image::{Artefact, Image};

use super::artefact::at;
use super::{Cache, PrepareError, Report, tools};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Raw,
    Gzip,
    Xz,
    Zstd,
    Qcow2,
}

/// What a file is, by its first bytes: names lie (`.img` is often a `.gz`).
fn form_of(path: &Path) -> io::Result<Form> {
    let mut head = [0; 6];
    let n = File::open(path)?.read(&mut head)?;
    Ok(match &head[..n] {
        [0x1f, 0x8b, ..] => Form::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Form::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Zstd,
        [b'Q', b'F', b'I', 0xfb, ..] => Form::Qcow2,
        _ => Form::Raw,
    })
}

/// The path of the disk's raw bytes: the artefact itself, or its cached conversion.
pub(super) fn to_raw(
    image: &Image,
    artefact: &Artefact,
    cache: &Cache,
    report: Report<'_>,
) -> Result<PathBuf, PrepareError> {
    let path = image.path(&artefact.file);
    let broken = |why: String| PrepareError::Image(at(image, "disk.file", why));
    let form = form_of(&path).map_err(|error| broken(format!("cannot read: {error}")))?;
    if form == Form::Raw {
        check_size(&path).map_err(broken)?;
        return Ok(path);
    }
    let digest = cache.verify(image, "disk", artefact, report)?;
    let target = cache.raw(&format!("{digest}.raw"));
    if target.exists() {
        return Ok(target);
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    let unfinished = tempfile::NamedTempFile::new_in(folder)
        .map_err(|error| PrepareError::host(target.display(), error))?;
    let name = artefact.file.display();
    match form {
        Form::Qcow2 => flatten_qcow2(&path, unfinished.path())?,
        _ => unpack(&path, form, unfinished.as_file(), report).map_err(|error| {
            match error.kind() {
                io::ErrorKind::StorageFull => PrepareError::host(
                    target.display(),
                    format!("no space to unpack {name}: {error}"),
                ),
                _ => broken(format!("{name} cannot be unpacked, is it cut short? {error}")),
            }
        })?,
    }
    check_size(unfinished.path()).map_err(broken)?;
    // Renamed only when whole, so that a killed run leaves no half disk in the cache.
    unfinished.persist(&target).map_err(|error| PrepareError::host(target.display(), error))?;
    Ok(target)
}

/// A disk must be something and consist of whole sectors; a partition table that reaches past
/// its end is what a download cut short looks like.
fn check_size(path: &Path) -> Result<(), String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size == 0 {
        return Err("the disk is empty".into());
    }
    if size % 512 != 0 {
        return Err(format!("the disk's size, {size} bytes, is no multiple of 512: cut short?"));
    }
    let needed = super::partitions::extent(path).map_err(|error| error.to_string())?;
    match needed {
        Some(needed) if needed > size => Err(format!(
            "the disk is cut short: it has {size} bytes, and its partition table needs {needed}"
        )),
        _ => Ok(()),
    }
}

fn unpack(path: &Path, form: Form, to: &File, report: Report<'_>) -> io::Result<()> {
    let total = fs::metadata(path)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = format!("unpacking {name}");
    let counted = Counted { inner: File::open(path)?, done: 0, tell: &|n| report(&what, n, total) };
    match form {
        Form::Gzip => copy_sparse(flate2::read::MultiGzDecoder::new(counted), to),
        Form::Xz => copy_sparse(liblzma::read::XzDecoder::new_multi_decoder(counted), to),
        Form::Zstd => copy_sparse(zstd::stream::read::Decoder::new(counted)?, to),
        Form::Raw | Form::Qcow2 => Ok(()),
    }
}

struct Counted<'c> {
    inner: File,
    done: u64,
    tell: &'c dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        (self.tell)(self.done);
        Ok(n)
    }
}

/// Copies, leaving holes where there are zeroes: images are mostly that.
fn copy_sparse(mut from: impl Read, mut to: &File) -> io::Result<()> {
    const BLOCK: usize = 64 * 1024;
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let n = fill(&mut from, &mut block)?;
        if n == 0 {
            break;
        }
        if block[..n].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(&block[..n])?;
        }
        length += n as u64;
    }
    to.set_len(length)
}

fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn flatten_qcow2(path: &Path, to: &Path) -> Result<(), PrepareError> {
    let what = format!("{} (qcow2)", path.display());
    let output = tools::command("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .arg(path)
        .arg(to)
        .output()
        .map_err(|error| {
            PrepareError::host(&what, format!("qemu-img: {error}; install the package qemu-utils"))
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(PrepareError::host(what, String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(bytes: &[u8]) -> Result<(Vec<u8>, PathBuf), String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("d.img"), bytes).unwrap();
        let manifest = dir.path().join("image.toml");
        fs::write(&manifest, "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d.img\"\n").unwrap();
        let image = super::super::load(&manifest).unwrap();
        let cache = Cache::new(dir.path().join("cache")).unwrap();
        let artefact = image.disk.clone().unwrap();
        let raw = to_raw(&image, &artefact, &cache, &|_, _, _| {}).map_err(|e| e.to_string())?;
        Ok((fs::read(&raw).unwrap(), raw.strip_prefix(dir.path()).unwrap().to_path_buf()))
    }

    fn sample() -> Vec<u8> {
        let mut disk = vec![0; 300 * 1024];
        disk[200 * 1024..200 * 1024 + 5].copy_from_slice(b"hello");
        disk
    }

    #[test]
    fn compressed_disks_become_the_same_raw_bytes() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&sample()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&sample()).unwrap();
        let zst = zstd::stream::encode_all(&sample()[..], 1).unwrap();
        for packed in [gz.finish().unwrap(), xz.finish().unwrap(), zst] {
            let (raw, path) = convert(&packed).unwrap();
            assert!(raw == sample(), "{path:?} differs");
            assert!(path.starts_with("cache/raw"), "{path:?}");
        }
    }

    #[test]
    fn a_raw_disk_is_used_where_it_stands() {
        let (raw, path) = convert(&sample()).unwrap();
        assert_eq!((raw.len(), path), (300 * 1024, PathBuf::from("d.img")));
    }

    #[test]
    fn a_cut_download_is_told_and_not_cached() {
        let zst = zstd::stream::encode_all(&sample()[..], 1).unwrap();
        let error = convert(&zst[..zst.len() / 2]).unwrap_err();
        assert!(error.contains("cut short"), "{error}");
        let error = convert(&sample()[..1000]).unwrap_err();
        assert!(error.contains("multiple of 512"), "{error}");
    }
}
