//! Whether KVM can be trusted here: it is, when a tiny guest under it has printed its word.
//!
//! `/dev/kvm` may exist, open and even create a machine, and then abort or hang (nested
//! virtualisation does that), so nothing but a guest's own output counts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hil_core::arch::Arch;
use hil_core::deadline::{Span, secs};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::emulator::{Emulator, host_arch};
use crate::error::QemuError;
use crate::guest;
use crate::loss::last_lines;
use crate::machine::{AccelKind, Kvm, Machine};
use crate::spawn::{ended, spawn};

/// A working KVM needs two tenths of a second; a loaded host may need more.
const PATIENCE: Duration = secs(3);
/// A guest that was merely slow gets another chance after this long.
const FORGET_TIMEOUT: Duration = secs(3600);

/// What executes the guest's instructions, and why it is not KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accel {
    pub kind: AccelKind,
    /// A sentence for the report; absent where KVM works.
    pub reason: Option<String>,
}

impl Accel {
    fn tcg(why: String) -> Accel {
        Accel { kind: AccelKind::Tcg, reason: Some(why) }
    }
}

/// Asks once per host boot and remembers.
#[derive(Clone, Debug)]
pub struct Prober {
    /// Where answers are kept; `None` asks anew each time.
    pub cache: Option<PathBuf>,
    pub device: PathBuf,
    pub host: Option<Arch>,
    pub patience: Duration,
}

/// What is remembered of one probe.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    key: String,
    /// Why KVM does not work; absent where it does.
    why: Option<String>,
    /// Seconds since 1970 after which the answer is stale.
    until: Option<u64>,
}

/// A guest that did not print its word.
struct Failure {
    why: String,
    /// Only slow, perhaps.
    slow: bool,
}

impl Default for Prober {
    fn default() -> Self {
        Prober {
            cache: cache_dir(),
            device: "/dev/kvm".into(),
            host: host_arch(),
            patience: PATIENCE,
        }
    }
}

impl Prober {
    /// The accelerator for a machine. An error only where its KVM emulator is missing.
    pub async fn probe(&self, machine: &Machine) -> Result<Accel, QemuError> {
        match &machine.kvm {
            Some(kvm) => self.probe_guest(machine.arch, kvm).await,
            None => Ok(Accel::tcg(format!(
                "QEMU emulates `{}` with TCG only, about ten times slower than KVM",
                machine.name
            ))),
        }
    }

    /// The accelerator for a guest architecture on its usual machine.
    pub async fn probe_arch(&self, arch: Arch) -> Result<Accel, QemuError> {
        let (hosts, cpu) = match arch {
            Arch::X86_64 => (vec![Arch::X86_64], "host"),
            Arch::Aarch64 => (vec![Arch::Aarch64], "host"),
            Arch::Arm => (vec![Arch::Aarch64], "host,aarch64=off"),
        };
        let emulator = (arch == Arch::Arm).then_some(Arch::Aarch64);
        self.probe_guest(arch, &Kvm { hosts, cpu: cpu.into(), machine: None, emulator }).await
    }

    async fn probe_guest(&self, guest: Arch, kvm: &Kvm) -> Result<Accel, QemuError> {
        let slow = "using TCG, about ten times slower";
        let host = self.host.map_or(std::env::consts::ARCH, Arch::name);
        if !self.host.is_some_and(|host| kvm.hosts.contains(&host)) {
            let why = format!("an {host} host cannot run {guest} guests under KVM; {slow}");
            return Ok(Accel::tcg(why));
        }
        if let Err(why) = self.open_device() {
            return Ok(Accel::tcg(format!("{why}; {slow}")));
        }
        let emulator = Emulator::find(kvm.emulator.unwrap_or(guest))?;
        Ok(match self.ask(&emulator, guest, &kvm.cpu).await {
            None => Accel { kind: AccelKind::Kvm, reason: None },
            Some(why) => {
                Accel::tcg(format!("KVM is present but does not work here ({why}); {slow}"))
            }
        })
    }

    /// Permission is cheap to ask and can change at any time: never remembered.
    fn open_device(&self) -> Result<(), String> {
        let device = self.device.display();
        let opened = OpenOptions::new().read(true).write(true).open(&self.device);
        match opened.map_err(|why| why.kind()) {
            Ok(_) => Ok(()),
            Err(io::ErrorKind::NotFound) => Err(format!(
                "there is no {device}: the host has no hardware virtualisation, or its module is \
                 not loaded (try `modprobe kvm_intel` or `kvm_amd`)"
            )),
            Err(io::ErrorKind::PermissionDenied) => {
                let group = fs::metadata(&self.device).ok().map(|data| group_name(data.gid()));
                let group = group.unwrap_or_else(|| "kvm".into());
                Err(format!(
                    "no permission to use {device}, which belongs to the group `{group}` \
                     (try `sudo usermod -aG {group} $USER` and log in again)"
                ))
            }
            Err(kind) => Err(format!("{device} cannot be opened ({kind})")),
        }
    }

    /// Why KVM does not work, from memory or by trying.
    async fn ask(&self, emulator: &Emulator, guest: Arch, cpu: &str) -> Option<String> {
        let key = key(emulator, guest, cpu);
        if let Some(known) = key.as_deref().and_then(|key| self.recall(key)) {
            return known.why;
        }
        let tried = try_guest(emulator, guest, "kvm", cpu, self.patience).await;
        let slow = tried.as_ref().is_err_and(|failure| failure.slow);
        let why = tried.err().map(|failure| failure.why);
        if let Some(key) = key {
            let until = slow.then(|| (since_1970() + FORGET_TIMEOUT).as_secs());
            self.remember(&Remembered { key, why: why.clone(), until });
        }
        why
    }

    fn recall(&self, key: &str) -> Option<Remembered> {
        let text = fs::read(self.cache.as_ref()?.join(file_name(key))).ok()?;
        let known: Remembered = serde_json::from_slice(&text).ok()?;
        let fresh = known.until.is_none_or(|until| since_1970().as_secs() < until);
        (known.key == key && fresh).then_some(known)
    }

    /// A cache that cannot be written costs a probe next time and is no error.
    fn remember(&self, answer: &Remembered) {
        let write = |folder: &Path| -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&file, answer)?;
            file.persist(folder.join(file_name(&answer.key)))?;
            Ok(())
        };
        let _ = self.cache.as_deref().map(write);
    }
}

/// Runs the tiny guest.
async fn try_guest(
    emulator: &Emulator,
    guest: Arch,
    accel: &str,
    cpu: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let hard = |why: String| Failure { why, slow: false };
    let io = |why: io::Error| hard(format!("could not be tried: {why}"));
    let folder = tempfile::tempdir().map_err(io)?;
    let program = folder.path().join("guest");
    let (output, log) = (folder.path().join("out"), folder.path().join("log"));
    fs::write(&program, guest::program(guest)).map_err(io)?;
    let mut command = Command::new(&emulator.path);
    command.args(guest::arguments(guest, guest::machine(guest), &program));
    command.args(["-accel", accel, "-cpu", cpu]).env("LC_ALL", "C").stdin(Stdio::null());
    command.stdout(File::create(&output).map_err(io)?).stderr(File::create(&log).map_err(io)?);
    let child = spawn(command).map_err(io)?;
    let Ok(status) = timeout(patience, child.wait()).await else {
        child.kill();
        child.wait().await;
        let patience = Span(patience);
        let why = format!("a tiny guest hung for {patience} and was killed");
        return Err(Failure { why, slow: true });
    };
    let printed = fs::read(&output).map_err(io)?;
    if printed.windows(guest::WORD.len()).any(|window| window == guest::WORD)
        && status.code() == Some(guest::good_end(guest))
    {
        return Ok(());
    }
    let said = last_lines(&log);
    let name = emulator.name();
    Err(hard(if said.is_empty() { format!("{name} {}", ended(status)) } else { said }))
}

/// One host boot, one user, one build of QEMU, one guest program.
fn key(emulator: &Emulator, guest: Arch, cpu: &str) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let program = fs::metadata(&emulator.path).ok()?;
    let (size, time) = (program.len(), program.mtime());
    let uid = rustix::process::geteuid().as_raw();
    let path = emulator.path.display();
    let program = fnv(&guest::program(guest));
    let boot = boot.trim();
    Some(format!("boot={boot} uid={uid} {path} {size} {time} {guest} {cpu} {program:016x}"))
}

fn file_name(key: &str) -> String {
    format!("accel-{:016x}.json", fnv(key.as_bytes()))
}

/// FNV-1a: it only has to tell apart what nobody chose to collide.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn cache_dir() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    xdg.or_else(home).map(|cache| cache.join("hil"))
}

fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid.to_string()).then(|| name.to_string())
    });
    name.unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
