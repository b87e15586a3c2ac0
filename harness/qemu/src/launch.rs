//! QEMU's command line, as a pure function of a machine and what it is to run. Starts nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::QemuError;
use crate::machine::{AccelKind, BootKind, DiskKind, Machine, NetworkKind, RngKind};

/// What one start of a machine needs to know beyond the machine itself.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchSpec {
    /// For people who look at the process list.
    pub name: String,
    pub accel: AccelKind,
    /// RAM in MiB instead of the machine's default.
    pub memory_mib: Option<u32>,
    pub boot: BootWith,
    /// An NBD server's unix socket for each disk, in order.
    pub disks: Vec<PathBuf>,
    /// Where hil listens for QEMU's serial console.
    pub console: PathBuf,
    /// Where hil listens for QEMU's monitor.
    pub qmp: PathBuf,
    /// Guest TCP ports to forward; the host's kernel chooses free ports on 127.0.0.1.
    pub forwards: Vec<u16>,
    /// More arguments, last on the line.
    pub extra: Vec<OsString>,
    pub begin: Begin,
    /// Do not let the guest run; QMP's `cont` does.
    pub paused: bool,
    /// How long QEMU may take to open console and monitor.
    pub patience: Duration,
}

impl Default for LaunchSpec {
    fn default() -> LaunchSpec {
        LaunchSpec {
            name: "hil".into(),
            accel: AccelKind::Tcg,
            memory_mib: None,
            boot: BootWith::Builtin,
            disks: Vec::new(),
            console: PathBuf::new(),
            qmp: PathBuf::new(),
            forwards: Vec::new(),
            extra: Vec::new(),
            begin: Begin::PowerOn,
            paused: false,
            patience: PATIENCE,
        }
    }
}

/// QEMU opens its channels in a fraction of a second; this is for hosts under heavy load.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// In what state a machine begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Begin {
    /// From power-on.
    #[default]
    PowerOn,
    /// From power-on, its RAM a file: [`Qemu::save`](crate::Qemu::save) then leaves a template.
    Template { ram: PathBuf },
    /// From what was saved, by [`Qemu::load`](crate::Qemu::load). RAM in a file is copied page by
    /// page as the guest writes; without one, the saved state holds it.
    Saved { ram: Option<PathBuf> },
}

impl Begin {
    /// The file that the guest's RAM is, and whether what the guest writes goes into it.
    fn ram(&self) -> Option<(&Path, bool)> {
        match self {
            Begin::PowerOn | Begin::Saved { ram: None } => None,
            Begin::Template { ram } => Some((ram, true)),
            Begin::Saved { ram: Some(ram) } => Some((ram, false)),
        }
    }
}

/// What the machine starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum BootWith {
    Builtin,
    Firmware(PathBuf),
    /// `vars` is written to: give each rig a copy.
    Uefi {
        code: PathBuf,
        vars: PathBuf,
    },
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        dtb: Option<PathBuf>,
        cmdline: String,
    },
}

impl BootWith {
    /// All files that it names.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            BootWith::Builtin => Vec::new(),
            BootWith::Firmware(file) => vec![file],
            BootWith::Uefi { code, vars } => vec![code, vars],
            BootWith::Kernel { kernel, initrd, dtb, cmdline: _ } => {
                [Some(kernel), initrd.as_ref(), dtb.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(PathBuf::as_path)
                    .collect()
            }
        }
    }

    pub fn kind(&self) -> BootKind {
        match self {
            BootWith::Builtin => BootKind::Builtin,
            BootWith::Firmware(_) => BootKind::Firmware,
            BootWith::Uefi { .. } => BootKind::Uefi,
            BootWith::Kernel { .. } => BootKind::Kernel,
        }
    }
}

/// The arguments for QEMU, without the program's name.
pub fn command_line(machine: &Machine, spec: &LaunchSpec) -> Result<Vec<OsString>, QemuError> {
    check(machine, spec)?;
    let mut line = Line(Vec::new());
    // Only what stands here exists: no configuration of the user's, no default devices.
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.arg("-name", &spec.name);
    processor(&mut line, machine, spec)?;
    line.arg("-display", "none");
    channels(&mut line, machine, spec);
    boot(&mut line, &spec.boot);
    for (index, socket) in spec.disks.iter().enumerate() {
        disk(&mut line, machine.disk, index, socket);
    }
    network(&mut line, machine.network, &spec.forwards);
    match machine.rng {
        RngKind::None => {}
        RngKind::VirtioRngPci => rng(&mut line, "virtio-rng-pci"),
        RngKind::VirtioRngDevice => rng(&mut line, "virtio-rng-device"),
    }
    if let Some(rtc) = &machine.rtc {
        line.arg("-rtc", rtc);
    }
    line.0.extend(machine.extra.iter().map(OsString::from));
    line.0.extend(spec.extra.iter().cloned());
    Ok(line.0)
}

fn check(machine: &Machine, spec: &LaunchSpec) -> Result<(), QemuError> {
    let kind = spec.boot.kind();
    let name = || machine.name.clone();
    if !machine.boots(kind) {
        let can = machine.boot.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        return Err(QemuError::CannotBoot { machine: name(), kind: kind.name(), can });
    }
    match spec.memory_mib {
        Some(asked) if machine.fixed_memory && asked != machine.memory_mib => {
            return Err(QemuError::FixedMemory { machine: name(), asked, has: machine.memory_mib });
        }
        _ => {}
    }
    if machine.disk == DiskKind::SdCard && spec.disks.len() > 1 {
        return Err(QemuError::TooManyDisks { machine: name(), disks: spec.disks.len() });
    }
    Ok(())
}

fn processor(line: &mut Line, machine: &Machine, spec: &LaunchSpec) -> Result<(), QemuError> {
    let (board, cpu) = match (spec.accel, &machine.kvm) {
        (AccelKind::Tcg, _) => (&machine.machine, &machine.tcg.cpu),
        (AccelKind::Kvm, Some(kvm)) => (kvm.machine.as_ref().unwrap_or(&machine.machine), &kvm.cpu),
        (AccelKind::Kvm, None) => {
            return Err(QemuError::NoKvm { machine: machine.name.clone() });
        }
    };
    match spec.begin.ram() {
        Some(_) => line.arg("-machine", format!("{board},memory-backend=ram0")),
        None => line.arg("-machine", board),
    }
    line.arg("-accel", spec.accel.name());
    line.arg("-cpu", cpu);
    line.arg("-smp", machine.smp.to_string());
    memory(line, spec, spec.memory_mib.unwrap_or(machine.memory_mib));
    Ok(())
}

fn memory(line: &mut Line, spec: &LaunchSpec, mib: u32) {
    line.arg("-m", format!("{mib}M"));
    if let Some((file, shared)) = spec.begin.ram() {
        let share = if shared { "on" } else { "off" };
        let head = format!("memory-backend-file,id=ram0,size={mib}M,share={share},mem-path=");
        line.path("-object", &head, file, "");
    }
    if let Begin::Saved { .. } = spec.begin {
        line.arg("-incoming", "defer");
    }
}

/// Console and monitor. QEMU is the client of both: it connects before the guest's first
/// instruction to a listener that was there before QEMU, so no byte can be lost.
fn channels(line: &mut Line, machine: &Machine, spec: &LaunchSpec) {
    line.path("-chardev", "socket,id=console,server=off,path=", &spec.console, "");
    for _ in 0..machine.serial_index {
        line.arg("-serial", "null");
    }
    line.arg("-serial", "chardev:console");
    line.path("-chardev", "socket,id=qmp,server=off,path=", &spec.qmp, "");
    line.arg("-mon", "chardev=qmp,mode=control");
    // The guest runs when everything that watches it does: see `Qemu::start`.
    line.flag("-S");
}

fn boot(line: &mut Line, boot: &BootWith) {
    match boot {
        BootWith::Builtin => {}
        BootWith::Firmware(file) => line.file("-bios", file),
        BootWith::Uefi { code, vars } => {
            line.path("-drive", "if=pflash,unit=0,format=raw,readonly=on,file=", code, "");
            line.path("-drive", "if=pflash,unit=1,format=raw,file=", vars, "");
        }
        BootWith::Kernel { kernel, initrd, dtb, cmdline } => {
            line.file("-kernel", kernel);
            if let Some(initrd) = initrd {
                line.file("-initrd", initrd);
            }
            if let Some(dtb) = dtb {
                line.file("-dtb", dtb);
            }
            if !cmdline.is_empty() {
                line.arg("-append", cmdline);
            }
        }
    }
}

/// A disk over NBD. Every flush and discard of the guest must reach the server as it is.
fn disk(line: &mut Line, kind: DiskKind, index: usize, socket: &Path) {
    const NBD: &str = "discard=unmap,detect-zeroes=off,cache.no-flush=off";
    let device = match kind {
        // `-device sd-card` would put a second card on a bus whose slot is taken already.
        DiskKind::SdCard => {
            let head = format!("if=sd,index={index},id=disk{index},driver=nbd,");
            let head = format!("{head}server.type=unix,server.path=");
            return line.path("-drive", &head, socket, &format!(",{NBD}"));
        }
        DiskKind::VirtioBlkPci => "virtio-blk-pci",
        DiskKind::VirtioBlkDevice => "virtio-blk-device",
    };
    let head = format!("driver=nbd,node-name=disk{index},server.type=unix,server.path=");
    line.path("-blockdev", &head, socket, &format!(",{NBD}"));
    // One queue and no merging: the server sees the writes the guest made, in their order. An
    // error of the server stops the machine and is told over QMP; the guest never sees it.
    line.arg(
        "-device",
        format!(
            "{device},drive=disk{index},write-cache=on,request-merging=off,num-queues=1,\
             werror=stop,rerror=stop,bootindex={index}"
        ),
    );
}

fn network(line: &mut Line, kind: NetworkKind, forwards: &[u16]) {
    // Host port 0: the kernel picks a free one when QEMU binds it, and nobody can come between.
    let forwards: String =
        forwards.iter().map(|port| format!(",hostfwd=tcp:127.0.0.1:0-:{port}")).collect();
    let device = match kind {
        NetworkKind::None => return,
        NetworkKind::Onboard => return line.arg("-nic", format!("user,id=net0{forwards}")),
        // Without the ROM there is no network boot, and no dependency on the ipxe package.
        NetworkKind::VirtioNetPci => "virtio-net-pci,netdev=net0,romfile=",
        NetworkKind::VirtioNetDevice => "virtio-net-device,netdev=net0",
        NetworkKind::UsbNet => "usb-net,netdev=net0",
    };
    line.arg("-netdev", format!("user,id=net0{forwards}"));
    line.arg("-device", device);
}

fn rng(line: &mut Line, device: &str) {
    line.arg("-object", "rng-random,id=rng0,filename=/dev/urandom");
    line.arg("-device", format!("{device},rng=rng0"));
}

struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn arg(&mut self, option: &str, value: impl AsRef<str>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().into());
    }

    /// A file that is an argument of its own.
    fn file(&mut self, option: &str, file: &Path) {
        self.0.push(option.into());
        self.0.push(file.into());
    }

    /// A file inside a list of properties, where QEMU wants a comma doubled.
    fn path(&mut self, option: &str, before: &str, path: &Path, after: &str) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut value = before.as_bytes().to_vec();
        for &byte in path.as_os_str().as_bytes() {
            value.push(byte);
            if byte == b',' {
                value.push(byte);
            }
        }
        value.extend_from_slice(after.as_bytes());
        self.0.push(option.into());
        self.0.push(OsString::from_vec(value));
    }
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
