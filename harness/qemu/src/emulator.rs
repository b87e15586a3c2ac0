//! The emulator's program: where it is, and what to install when it is not there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hil_core::arch::Arch;

use crate::error::QemuError;

/// `qemu-system-ARCH` for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    pub arch: Arch,
    pub path: PathBuf,
}

impl Emulator {
    /// Looks along `PATH`.
    pub fn find(arch: Arch) -> Result<Emulator, QemuError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Emulator::find_in(arch, std::env::split_paths(&path))
    }

    pub(crate) fn find_in(
        arch: Arch,
        mut folders: impl Iterator<Item = PathBuf>,
    ) -> Result<Emulator, QemuError> {
        let binary = binary(arch);
        let missing = || QemuError::NoEmulator { binary: binary.clone(), package: package(arch) };
        let path = folders.find_map(|folder| {
            let path = folder.join(&binary);
            is_program(&path).then_some(path)
        });
        Ok(Emulator { arch, path: path.ok_or_else(missing)? })
    }

    /// The name without folders, for messages.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn binary(arch: Arch) -> String {
    format!("qemu-system-{arch}")
}

/// Debian's and Ubuntu's package with the emulator for an architecture.
fn package(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 | Arch::Arm => "qemu-system-arm",
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The architecture this program runs on, if it is one hil knows.
pub fn host_arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::X86_64),
        "aarch64" => Some(Arch::Aarch64),
        "arm" => Some(Arch::Arm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_emulator_names_its_package() {
        let error = Emulator::find_in(Arch::Arm, [PathBuf::from("/nonexistent")].into_iter());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("qemu-system-arm on PATH: install it with `apt install"), "{error}");
    }
}
