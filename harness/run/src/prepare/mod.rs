//! Image preparation: from a manifest to files that can be booted, checked and cached.

pub mod artefact;
pub mod convert;
mod filesystem;
pub mod inject;
mod partitions;
mod secrets;
pub mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_core::image::{Artefact, Boot, Image};
use hil_core::located::ConfigError;

pub use artefact::Cache;

/// Why an image cannot be prepared, before any board is touched.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The manifest or an artefact is wrong: exit code 2.
    #[error("{0}")]
    Image(#[from] ConfigError),
    /// The host could not do it (no space, no tool): exit code 69.
    #[error("prepare {what}: {why}")]
    Host { what: String, why: String },
}

impl PrepareError {
    pub fn host(what: impl std::fmt::Display, why: impl std::fmt::Display) -> PrepareError {
        PrepareError::Host { what: what.to_string(), why: why.to_string() }
    }
}

/// An image whose artefacts are there, match their digests, and can be booted.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub image: Arc<Image>,
    /// Raw bytes of the boot medium, never written to.
    pub disk: Option<PathBuf>,
    /// SHA-256 over the manifest and the digests of all artefacts.
    pub digest: String,
}

/// Says how far a long step is: what, done, total.
pub type Report<'r> = &'r (dyn Fn(&str, u64, u64) + Send + Sync);

/// The longest manifest, in bytes: who gives the image itself is told so before all of it is read.
const LONGEST: u64 = 1 << 20;

/// Reads a manifest from its file.
pub fn load(file: &Path) -> Result<Image, ConfigError> {
    // `--image DIR` means the manifest in it.
    let file = if file.is_dir() { file.join("image.toml") } else { file.to_path_buf() };
    let unreadable = |why: String| {
        let help = "give the path of an image.toml, or of the folder that holds one; \
                    fixtures/examples shows two of ten lines";
        ConfigError::whole(&file, why).with_help(help)
    };
    let size = std::fs::metadata(&file).map_or(0, |about| about.len());
    if size > LONGEST {
        return Err(unreadable(format!("this is no image's manifest: it has {size} bytes")));
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|error| unreadable(format!("cannot read the image's manifest: {error}")))?;
    Image::parse(&text, &file)
}

/// Checks every artefact and makes the disk raw. Blocks; takes seconds for a large disk.
///
/// `named_elsewhere`: files that the image boots from and its manifest does not name itself, such
/// as the kernel in a `qemuboot.conf`.
pub fn prepare(
    image: Image,
    named_elsewhere: &[PathBuf],
    cache: &Cache,
    report: Report<'_>,
) -> Result<Prepared, PrepareError> {
    let manifest = std::fs::read(&image.file)
        .map_err(|error| ConfigError::whole(&image.file, format!("cannot read: {error}")))?;
    let mut parts = vec![artefact::digest_of(&manifest)];
    for (key, artefact) in artefacts(&image) {
        parts.push(cache.verify(&image, &key, &artefact, report)?);
    }
    for file in named_elsewhere {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let artefact = Artefact { file, sha256: None };
        parts.push(cache.verify(&image, "boot.qemuboot", &artefact, report)?);
    }
    for inject in &image.inject {
        if let Some(file) = &inject.file {
            let artefact = Artefact { file: file.clone(), sha256: None };
            parts.push(cache.verify(&image, "inject", &artefact, report)?);
        }
    }
    artefact::check_architecture(&image)?;
    secrets::check(&image)?;
    let disk = match &image.disk {
        None => None,
        Some(artefact) => Some(convert::to_raw(&image, artefact, cache, report)?),
    };
    if let Some(disk) = &disk {
        inject::check(&image, disk)?;
    }
    let digest = artefact::digest_of(parts.join("\n").as_bytes());
    Ok(Prepared { image: Arc::new(image), disk, digest })
}

/// Every file the image boots from, with its key in the manifest.
fn artefacts(image: &Image) -> Vec<(String, Artefact)> {
    let plain = |file: &PathBuf| Artefact { file: file.clone(), sha256: None };
    let mut all = Vec::new();
    let mut add = |key: &str, artefact: Artefact| all.push((key.to_string(), artefact));
    if let Some(disk) = &image.disk {
        add("disk", disk.clone());
    }
    match &image.boot {
        Boot::Builtin(_) => {}
        Boot::Firmware(artefact) => add("boot.firmware", artefact.clone()),
        Boot::Qemuboot(artefact) => add("boot.qemuboot", artefact.clone()),
        Boot::Uefi(uefi) => {
            add("boot.uefi.code", uefi.code.clone());
            add("boot.uefi.vars", uefi.vars.clone());
        }
        Boot::Kernel(kernel) => {
            add("boot.kernel.file", plain(&kernel.file));
            let more = [("boot.kernel.initrd", &kernel.initrd), ("boot.kernel.dtb", &kernel.dtb)];
            for (key, file) in more {
                if let Some(file) = file {
                    add(key, plain(file));
                }
            }
        }
    }
    if let Some(bootloader) = &image.bootloader {
        add("bootloader", bootloader.clone());
    }
    for (n, sent) in image.uboot.iter().flat_map(|lines| lines.send.iter().enumerate()) {
        add(&format!("uboot.send.{n}"), plain(&sent.file));
    }
    if let Some(key) = image.ssh.as_ref().and_then(|ssh| ssh.key.as_ref()) {
        add("ssh.key", plain(key));
    }
    all
}
