//! Yocto's `qemuboot.conf`: what a build wrote for `runqemu`, read into a machine and its start.
//!
//! Devices that hil attaches itself (disk, network, console, entropy) and those that only a
//! person at a screen needs are not taken over; `ignored` lists them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hil_core::arch::Arch;
use hil_core::located::ConfigError;

use crate::launch::BootWith;
use crate::machine::{BootKind, DiskKind, Machine};

const SECTION: &str = "config_bsp";

/// What a `qemuboot.conf` says, as far as hil follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct QemuBoot {
    /// The file itself and what stands in it, for messages.
    file: PathBuf,
    text: String,
    /// Its folder, where the files that it names stand.
    dir: PathBuf,
    pub arch: Arch,
    pub machine: Option<String>,
    pub cpu: Option<String>,
    pub cpu_kvm: Option<String>,
    pub memory_mib: Option<u32>,
    pub smp: Option<u32>,
    /// Files are named without folders and stand beside the `qemuboot.conf`.
    pub kernel: Option<String>,
    pub dtb: Option<String>,
    pub bios: Option<String>,
    /// `root=`, with mount options perhaps: `/dev/vda ro`.
    pub root: String,
    /// The rest of the kernel's command line, console and network included.
    pub cmdline: String,
    pub disk: Option<DiskKind>,
    /// A `.wic` image lacks the kernel, so QEMU must load it.
    pub wic_without_kernel: bool,
    /// The first of the console devices: `ttyAMA0`.
    pub console: Option<String>,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
    /// What was asked for and is not followed.
    pub ignored: Vec<String>,
}

impl QemuBoot {
    /// Reads the text of a `qemuboot.conf`.
    pub fn parse(text: &str, file: &Path) -> Result<QemuBoot, ConfigError> {
        let ini = Ini::parse(text, file)?;
        let system = ini.need("qb_system_name")?;
        let arch = match system.rsplit('/').next().and_then(|n| n.strip_prefix("qemu-system-")) {
            Some("x86_64") => Arch::X86_64,
            Some("aarch64") => Arch::Aarch64,
            Some("arm") => Arch::Arm,
            _ => {
                let why = format!("`{system}` is no emulator hil knows");
                let help = "hil runs qemu-system-x86_64, -aarch64 and -arm";
                return Err(ini.at("qb_system_name", why).with_help(help));
            }
        };
        let hardware = Options::of(&["qb_machine", "qb_cpu", "qb_smp"].map(|key| ini.get(key)));
        let with_kvm = Options::of(&[ini.get("qb_cpu_kvm")]);
        let dir = file.parent().unwrap_or(Path::new(""));
        // Without a working folder there is no absolute path, and relative ones lead nowhere.
        let dir = std::path::absolute(dir.join(".")).unwrap_or_else(|_| dir.to_path_buf());
        let (extra, ignored) = sort_out(&ini.get("qb_opt_append"), &dir);
        let console = consoles(&ini.get("serial_consoles")).into_iter().next();
        Ok(QemuBoot {
            file: file.to_path_buf(),
            text: text.to_string(),
            dir,
            arch,
            machine: hardware.last(&["-machine", "-M"]),
            cpu: hardware.last(&["-cpu"]),
            cpu_kvm: with_kvm.last(&["-cpu"]),
            memory_mib: ini.memory()?,
            smp: ini.smp(&hardware)?,
            kernel: ini.file_name("qb_default_kernel"),
            dtb: ini.file_name("qb_dtb"),
            bios: ini.file_name("qb_default_bios"),
            root: Some(ini.get("qb_kernel_root")).filter(|r| !r.is_empty()).unwrap_or(VDA.into()),
            cmdline: ini.cmdline(arch)?,
            disk: disk_kind(&ini.get("qb_rootfs_opt")),
            wic_without_kernel: ini.get("qb_fsinfo").contains("wic:no-kernel-in-fs"),
            console,
            extra,
            ignored,
        })
    }

    /// The board's machine, changed as the build asks.
    #[must_use]
    pub fn apply(&self, machine: &Machine) -> Machine {
        let mut machine = machine.clone();
        let set = |target: &mut String, asked: &Option<String>| {
            if let Some(asked) = asked {
                target.clone_from(asked);
            }
        };
        set(&mut machine.machine, &self.machine);
        set(&mut machine.tcg.cpu, &self.cpu);
        if let Some(kvm) = &mut machine.kvm {
            set(&mut kvm.cpu, &self.cpu_kvm);
            // The board's own choice for KVM refines a machine that is not there any more.
            if self.machine.is_some() {
                kvm.machine = None;
            }
        }
        machine.memory_mib = self.memory_mib.unwrap_or(machine.memory_mib);
        machine.smp = self.smp.unwrap_or(machine.smp);
        machine.disk = self.disk.unwrap_or(machine.disk);
        machine.extra.extend(self.extra.iter().cloned());
        // The build knows that its machine starts from what it names; of what the machine has
        // of its own it knows nothing.
        let named = [(&self.kernel, BootKind::Kernel), (&self.bios, BootKind::Firmware)];
        for (name, kind) in named {
            if name.is_some() && !machine.boots(kind) {
                machine.boot.push(kind);
            }
        }
        machine
    }

    /// How the build starts. `wic` tells a disk image with partitions, which brings its own
    /// kernel, from a bare root file system.
    pub fn boot(&self, wic: bool) -> BootWith {
        let brings_kernel = wic && !self.wic_without_kernel;
        let beside = |name: &String| self.dir.join(name);
        match (&self.kernel, &self.bios) {
            (Some(kernel), _) if !brings_kernel => BootWith::Kernel {
                kernel: beside(kernel),
                initrd: None,
                dtb: self.dtb.as_ref().map(beside),
                cmdline: format!("root={} {}", self.root_on_virtio(), self.cmdline),
            },
            (_, Some(bios)) => BootWith::Firmware(beside(bios)),
            _ => BootWith::Builtin,
        }
    }

    /// The files that the build starts from; one that is not there is an error on its line.
    pub fn files(&self, wic: bool) -> Result<Vec<PathBuf>, ConfigError> {
        let named = match self.boot(wic) {
            BootWith::Kernel { kernel, dtb, .. } => {
                let dtb = dtb.map(|dtb| ("qb_dtb", dtb));
                [("qb_default_kernel", kernel)].into_iter().chain(dtb).collect()
            }
            BootWith::Firmware(file) => vec![("qb_default_bios", file)],
            BootWith::Builtin | BootWith::Uefi { .. } => Vec::new(),
        };
        for (key, file) in &named {
            if !file.is_file() {
                return Err(self
                    .at(key, format!("there is no file {}", file.display()))
                    .with_help(
                        "it must lie beside the qemuboot.conf, as in tmp/deploy/images/MACHINE",
                    ));
            }
        }
        Ok(named.into_iter().map(|(_, file)| file).collect())
    }

    /// A mistake at the value of `key`.
    pub fn at(&self, key: &str, why: impl std::fmt::Display) -> ConfigError {
        ConfigError::at_key(&self.file, &self.text, &format!("{SECTION}.{key}"), why)
    }

    /// hil's disks are virtio where the build may have expected an emulated SCSI or IDE disk.
    fn root_on_virtio(&self) -> String {
        let root = self.root.replacen("/dev/sd", "/dev/vd", 1);
        let mounts = root.split_whitespace().any(|word| word == "ro" || word == "rw");
        if mounts { root } else { format!("{root} rw") }
    }
}

const VDA: &str = "/dev/vda";

/// The file as `configparser` reads it: one section, keys in lower case, `%%` for `%`.
struct Ini<'t> {
    file: &'t Path,
    text: &'t str,
    values: BTreeMap<String, String>,
}

impl<'t> Ini<'t> {
    fn parse(text: &'t str, file: &'t Path) -> Result<Ini<'t>, ConfigError> {
        let mut section = String::new();
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let mut last: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            let continued = last.as_ref().filter(|_| line.starts_with([' ', '\t']));
            if let Some(value) = continued.and_then(|key| values.get_mut(key)) {
                value.push(' ');
                value.push_str(trimmed);
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                section = name.into();
                last = None;
                continue;
            }
            let Some((key, value)) = trimmed.split_once('=') else {
                return Err(at_line(file, text, index, "neither `[section]` nor `key = value`"));
            };
            if section != SECTION {
                let why = format!("a key outside of [{SECTION}]");
                return Err(at_line(file, text, index, &why));
            }
            let key = key.trim().to_lowercase();
            values.insert(key.clone(), value.trim().replace("%%", "%"));
            last = Some(key);
        }
        if values.is_empty() {
            let why = format!("no [{SECTION}] section: not a qemuboot.conf");
            return Err(ConfigError::whole(file, why)
                .with_help("Yocto writes one beside the image: <image>.qemuboot.conf"));
        }
        Ok(Ini { file, text, values })
    }

    fn at(&self, key: &str, why: impl std::fmt::Display) -> ConfigError {
        ConfigError::at_key(self.file, self.text, &format!("{SECTION}.{key}"), why)
    }

    fn get(&self, key: &str) -> String {
        self.values.get(key).cloned().unwrap_or_default()
    }

    fn need(&self, key: &str) -> Result<String, ConfigError> {
        let value = self.get(key);
        if value.is_empty() {
            return Err(ConfigError::whole(self.file, format!("`{key}` is missing")));
        }
        Ok(value)
    }

    /// The name without its folder, which was the build host's.
    fn file_name(&self, key: &str) -> Option<String> {
        let name = PathBuf::from(self.get(key)).file_name()?.to_string_lossy().into_owned();
        (name != "none").then_some(name)
    }

    /// `-m 256`, `256M`, `-m 2G`.
    fn memory(&self) -> Result<Option<u32>, ConfigError> {
        let value = self.get("qb_mem");
        let amount = value.trim_start_matches("-m").trim();
        if amount.is_empty() {
            return Ok(None);
        }
        let digits = amount.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match amount[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "M" => Some(1),
            "G" => Some(1024),
            _ => None,
        };
        let mib = factor.and_then(|factor| digits.parse::<u32>().ok()?.checked_mul(factor));
        let wrong = || self.at("qb_mem", format!("`{amount}` is no amount of memory"));
        mib.filter(|&mib| mib > 0).map(Some).ok_or_else(wrong)
    }

    fn smp(&self, options: &Options) -> Result<Option<u32>, ConfigError> {
        let Some(value) = options.last(&["-smp"]) else { return Ok(None) };
        let count = value.split(',').next().unwrap_or("").trim_start_matches("cpus=").parse();
        let wrong = |_| self.at("qb_smp", format!("`{value}` is no number of processors"));
        count.map(Some).map_err(wrong)
    }

    /// As `runqemu slirp nographic` composes it.
    fn cmdline(&self, arch: Arch) -> Result<String, ConfigError> {
        let mut words = Vec::new();
        if self.get("qb_kernel_cmdline") == "none" {
            return Ok(String::new());
        }
        let ip = self.get("qb_cmdline_ip_slirp");
        words.push(if ip.is_empty() { "ip=dhcp".to_string() } else { ip });
        if let (Some(mib), false) = (self.memory()?, arch == Arch::X86_64) {
            words.push(format!("mem={mib}M"));
        }
        let consoles = consoles(&self.get("serial_consoles"));
        words.extend(consoles.iter().map(|console| format!("console={console}")));
        words.push(self.get("qb_kernel_cmdline_append"));
        Ok(words.join(" ").trim().to_string())
    }
}

fn at_line(file: &Path, text: &str, index: usize, why: &str) -> ConfigError {
    let mut error = ConfigError::whole(file, why);
    let line = text.lines().nth(index).unwrap_or("");
    error.line = index + 1;
    error.column = line.len() - line.trim_start().len() + 1;
    error.text = line.replace('\t', " ");
    error
}

/// `115200;ttyAMA0 115200;hvc0`: the devices that hil's machines have.
fn consoles(value: &str) -> Vec<String> {
    let devices = value.split_whitespace().filter_map(|entry| entry.split(';').nth(1));
    // hvc0 is a device of `qb_serial_opt`, which hil does not attach.
    devices.filter(|device| !device.starts_with("hvc")).map(String::from).collect()
}

fn disk_kind(options: &str) -> Option<DiskKind> {
    let kinds = [
        ("virtio-blk-pci", DiskKind::VirtioBlkPci),
        ("virtio-blk-device", DiskKind::VirtioBlkDevice),
        ("if=sd", DiskKind::SdCard),
    ];
    kinds.into_iter().find(|(word, _)| options.contains(word)).map(|(_, kind)| kind)
}

/// Words of a command line, in their order.
struct Options(Vec<(String, Option<String>)>);

impl Options {
    fn of(lines: &[String]) -> Options {
        let mut options: Vec<(String, Option<String>)> = Vec::new();
        for word in lines.iter().flat_map(|line| split(line)) {
            match options.last_mut() {
                Some((_, value @ None)) if !word.starts_with('-') => *value = Some(word),
                _ => options.push((word, None)),
            }
        }
        Options(options)
    }

    /// The value of the last of these options.
    fn last(&self, names: &[&str]) -> Option<String> {
        let found = self.0.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
        found.and_then(|(_, value)| value.clone())
    }
}

/// Splits at blanks, but not inside quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What of `qb_opt_append` is passed on, and what is not.
fn sort_out(append: &str, dir: &Path) -> (Vec<String>, Vec<String>) {
    const OURS: &[&str] = &[
        "-serial",
        "-monitor",
        "-mon",
        "-qmp",
        "-display",
        "-nographic",
        "-vga",
        "-show-cursor",
        "-net",
        "-netdev",
        "-nic",
        "-kernel",
        "-initrd",
        "-append",
        "-m",
        "-smp",
        "-machine",
        "-M",
        "-cpu",
        "-snapshot",
        "-daemonize",
        "-pidfile",
        "-enable-kvm",
        "-accel",
        "-vnc",
        "-sdl",
    ];
    const SCREEN: &[&str] = &["tablet", "kbd", "mouse", "vga", "gpu", "audio", "hda", "AC97"];
    let (mut taken, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in Options::of(&[append.to_string()]).0 {
        let for_screen = name == "-device"
            && value.as_ref().is_some_and(|device| SCREEN.iter().any(|word| device.contains(word)));
        if OURS.contains(&name.as_str()) || for_screen {
            ignored.push(value.map_or(name.clone(), |value| format!("{name} {value}")));
        } else {
            taken.push(name);
            let here = |value: String| value.replace("@DEPLOY_DIR_IMAGE@", &dir.to_string_lossy());
            taken.extend(value.map(here));
        }
    }
    (taken, ignored)
}

#[cfg(test)]
#[path = "qemuboot_tests.rs"]
mod tests;
