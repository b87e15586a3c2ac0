//! What a machine starts from: the manifest's [boot], made absolute and fitted to the board.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::board::Board;
use hil_core::image::{Boot, Image, Kernel};
use hil_core::located::ConfigError;
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::qemuboot::QemuBoot;
use hil_qemu::{BootKind, BootWith, Machine, RunDir};
use hil_run::prepare::Prepared;

/// Whether the board's machine can start what the manifest has, before anything is touched.
pub(crate) fn check(board: &Board, machine: &Machine, image: &Image) -> Result<(), ConfigError> {
    let (kind, key) = match &image.boot {
        Boot::Builtin(_) => (BootKind::Builtin, "disk"),
        Boot::Firmware(_) => (BootKind::Firmware, "boot.firmware"),
        Boot::Uefi(_) => (BootKind::Uefi, "boot.uefi"),
        Boot::Kernel(_) => (BootKind::Kernel, "boot.kernel"),
        // What it starts from stands in the file that Yocto wrote.
        Boot::Qemuboot(_) => return Ok(()),
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

/// The manifest's own device tree, or the board's usual one beside the manifest.
fn device_tree(board: &Board, image: &Image, kernel: &Kernel) -> Option<PathBuf> {
    let usual = board.qemu.as_ref().and_then(|on| on.dtb.as_ref()).map(PathBuf::from);
    kernel.dtb.clone().or(usual).map(|file| image.path(&file))
}

pub(super) fn read_qemuboot(image: &Image) -> Outcome<Option<QemuBoot>> {
    let Boot::Qemuboot(artefact) = &image.boot else { return Ok(None) };
    let path = image.path(&artefact.file);
    let text = fs::read_to_string(&path)
        .map_err(|error| Trouble::rack(format!("failed to read {}: {error}", path.display())))?;
    QemuBoot::parse(&text, &path).map(Some).map_err(Trouble::rack)
}

pub(super) fn boot_with(
    board: &Board,
    prepared: &Prepared,
    qemuboot: Option<&QemuBoot>,
    corner: &RunDir,
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
            // The guest writes its variables: every rig has a copy.
            let vars = corner.file("vars.fd");
            fs::copy(path(&uefi.vars.file)?, &vars).map_err(|error| {
                Trouble::rack(format!("failed to copy the UEFI variables: {error}"))
            })?;
            BootWith::Uefi { code: path(&uefi.code.file)?, vars }
        }
        Boot::Qemuboot(artefact) => {
            let wic = image
                .disk
                .as_ref()
                .is_some_and(|disk| disk.file.to_string_lossy().contains(".wic"));
            match qemuboot {
                Some(boot) => boot.boot(&absolute(&image.dir)?, wic),
                None => {
                    let file = artefact.file.display();
                    return Err(Trouble::rack(format!("failed to read {file}")));
                }
            }
        }
    })
}

/// QEMU does not run in our folder's name space for ever: name files from the root.
fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Trouble::rack(format!("failed to find {}: {error}", path.display())))
}
