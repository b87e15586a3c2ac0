//! The emulator's program: where it is, which version, and what to install when it is not there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hil_core::arch::Arch;
use hil_core::deadline::secs;
use tokio::time::timeout;

use crate::error::QemuError;
use crate::live::RUN_VARIABLE;
use crate::rundir::RunDir;
use crate::spawn::spawn;

/// `--version` takes 20 ms; a program that is no emulator may take for ever.
const PATIENCE: Duration = secs(5);

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

    /// `10.0.2`, asked of the program; `None` where it does not say, which its start will explain.
    pub async fn version(&self, run: &RunDir) -> Option<String> {
        let said = run.file("qemu.version");
        let mut command = Command::new(&self.path);
        command.arg("--version").env(RUN_VARIABLE, run.run_id()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(File::create(&said).ok()?).stderr(Stdio::null());
        // Dropped, it is killed.
        let child = spawn(command).ok()?;
        let status = timeout(PATIENCE, child.wait()).await.ok()?;
        let text = fs::read_to_string(&said).ok().filter(|_| status.success())?;
        let version = text.split_once("QEMU emulator version ")?.1;
        version.split_whitespace().next().map(String::from)
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

    async fn version_of(path: &Path) -> Option<String> {
        let base = tempfile::tempdir().unwrap();
        let run = RunDir::create_in(base.path(), "version").unwrap();
        Emulator { arch: Arch::Arm, path: path.into() }.version(&run).await
    }

    #[tokio::test]
    async fn the_version_is_what_the_monitor_will_say_it_is() {
        let real = Emulator::find(Arch::Arm).unwrap();
        let version = version_of(&real.path).await.unwrap();
        assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
        for none in ["/bin/false", "/bin/true", "/nonexistent"] {
            assert_eq!(version_of(Path::new(none)).await, None, "{none}");
        }
    }
}
