//! What a machine starts from: the manifest's [boot], made absolute and fitted to the board.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::board::Board;
use hil_core::image::{Boot, Image, Kernel};
use hil_core::located::ConfigError;
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::qemuboot::QemuBoot;
use hil_qemu::{BootKind, BootWith, Machine};
use hil_run::prepare::Prepared;

/// Whether the board's machine can start what the manifest has, before anything is touched.
pub(crate) fn check(board: &Board, machine: &Machine, image: &Image) -> Result<(), ConfigError> {
    let (kind, key) = match &image.boot {
        Boot::Builtin(_) => (BootKind::Builtin, "disk"),
        Boot::Firmware(_) => (BootKind::Firmware, "boot.firmware"),
        Boot::Uefi(_) => (BootKind::Uefi, "boot.uefi"),
        Boot::Kernel(_) => (BootKind::Kernel, "boot.kernel"),
        Boot::Qemuboot(_) => return check_qemuboot(board, machine, image),
    };
    let text = fs::read_to_string(&image.file).unwrap_or_default();
    if !machine.boots(kind) {
        let can: Vec<&str> = machine.boot.iter().map(|kind| kind.name()).collect();
        let why = format!(
            "board `{}` cannot start from [boot.{}]; it can from: {}",
            board.name,
            kind.name(),
            can.join(", ")
        );
        return Err(ConfigError::at_key(&image.file, &text, key, why)
            .with_help("give an --image made for this board, or take another board"));
    }
    match &image.boot {
        Boot::Kernel(kernel) => match device_tree(board, image, kernel) {
            Some(file) if !file.is_file() => {
                let why = format!(
                    "board `{}` needs a device tree, and there is no {}",
                    board.name,
                    file.display()
                );
                Err(ConfigError::at_key(&image.file, &text, key, why)
                    .with_help("put the file there, or name it: dtb = \"FILE\""))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What the build starts from stands in the file that Yocto wrote.
fn check_qemuboot(board: &Board, machine: &Machine, image: &Image) -> Result<(), ConfigError> {
    let Some(build) = read_qemuboot(image)? else { return Ok(()) };
    if build.arch != image.arch {
        let why = format!("the build is for {}, and image.toml says {}", build.arch, image.arch);
        return Err(build.at("qb_system_name", why));
    }
    let kind = build.boot(is_wic(image)).kind();
    if build.apply(machine).boots(kind) {
        return build.files(is_wic(image)).map(drop);
    }
    let text = fs::read_to_string(&image.file).unwrap_or_default();
    let why = format!(
        "nothing on board `{}` can boot this build: its machine has no firmware of its own, and \
         the qemuboot.conf names no qb_default_bios{}",
        board.name,
        if is_wic(image) { ", nor may QEMU load a kernel beside a .wic" } else { ", nor a kernel" }
    );
    Err(ConfigError::at_key(&image.file, &text, "boot.qemuboot", why).with_help(
        "build with QB_DEFAULT_BIOS = \"u-boot.bin\", or let QEMU load the kernel: \
         QB_FSINFO = \"wic:no-kernel-in-fs\"; or give [boot.firmware] instead of [boot.qemuboot]",
    ))
}

/// Files that the image boots from and its manifest does not name itself.
pub(crate) fn named_elsewhere(image: &Image) -> Result<Vec<PathBuf>, ConfigError> {
    read_qemuboot(image)?.map_or(Ok(Vec::new()), |build| build.files(is_wic(image)))
}

/// A disk image with partitions, as Yocto's `wic` makes them.
fn is_wic(image: &Image) -> bool {
    image.disk.as_ref().is_some_and(|disk| disk.file.to_string_lossy().contains(".wic"))
}

/// The manifest's own device tree, or the board's usual one beside the manifest.
fn device_tree(board: &Board, image: &Image, kernel: &Kernel) -> Option<PathBuf> {
    let usual = board.qemu.as_ref().and_then(|on| on.dtb.as_ref()).map(PathBuf::from);
    kernel.dtb.clone().or(usual).map(|file| image.path(&file))
}

pub(super) fn read_qemuboot(image: &Image) -> Result<Option<QemuBoot>, ConfigError> {
    let Boot::Qemuboot(artefact) = &image.boot else { return Ok(None) };
    let path = image.path(&artefact.file);
    let text = fs::read_to_string(&path).map_err(|error| {
        let manifest = fs::read_to_string(&image.file).unwrap_or_default();
        let why = format!("cannot read {}: {error}", path.display());
        ConfigError::at_key(&image.file, &manifest, "boot.qemuboot.file", why)
            .with_help("Yocto writes one beside each image: IMAGE-MACHINE.rootfs.qemuboot.conf")
    })?;
    QemuBoot::parse(&text, &path).map(Some)
}

pub(super) fn boot_with(
    board: &Board,
    prepared: &Prepared,
    qemuboot: Option<&QemuBoot>,
) -> Outcome<BootWith> {
    let image = &prepared.image;
    let path = |file: &PathBuf| absolute(&image.path(file));
    Ok(match &image.boot {
        Boot::Builtin(_) => BootWith::Builtin,
        Boot::Firmware(artefact) => BootWith::Firmware(path(&artefact.file)?),
        Boot::Kernel(kernel) => BootWith::Kernel {
            kernel: path(&kernel.file)?,
            initrd: kernel.initrd.as_ref().map(path).transpose()?,
            dtb: device_tree(board, image, kernel).map(|file| absolute(&file)).transpose()?,
            cmdline: kernel.cmdline.clone(),
        },
        Boot::Uefi(uefi) => {
            BootWith::Uefi { code: path(&uefi.code.file)?, vars: path(&uefi.vars.file)? }
        }
        Boot::Qemuboot(artefact) => match qemuboot {
            Some(build) => build.boot(is_wic(image)),
            None => {
                let file = artefact.file.display();
                return Err(Trouble::rack(format!("failed to read {file}")));
            }
        },
    })
}

/// QEMU does not run in our folder's name space for ever: name files from the root.
fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Trouble::rack(format!("failed to find {}: {error}", path.display())))
}
