//! An emulated machine as data: one TOML under `qemu-configs/`. How it is started is `launch`'s.

use std::path::Path;

use hil_core::arch::Arch;
use hil_core::located::{ConfigError, from_toml};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::save::SaveKind;

/// One of QEMU's machines, with the devices hil gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The file's stem: `virt-arm` for `qemu-configs/virt-arm.toml`.
    #[serde(skip)]
    pub name: String,
    /// One line for lists.
    pub title: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// QEMU's `-machine`, with its properties: `virt,highmem=off`.
    pub machine: String,
    /// RAM in MiB where neither board nor image asks for another amount.
    #[serde(default = "default_memory")]
    pub memory_mib: u32,
    /// The machine has exactly `memory_mib`, as its board does.
    #[serde(default)]
    pub fixed_memory: bool,
    /// Processors.
    #[serde(default = "one")]
    pub smp: u32,
    /// What the machine can start from.
    pub boot: Vec<BootKind>,
    pub disk: DiskKind,
    pub network: NetworkKind,
    #[serde(default)]
    pub rng: RngKind,
    /// Which of the machine's serial ports is the console, counted from 0.
    #[serde(default)]
    pub serial_index: u8,
    /// QEMU's `-rtc`: `base=utc,clock=vm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtc: Option<String>,
    /// How the running machine can be saved, to start cases from forks of it. Absent where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<SaveKind>,
    /// More arguments for QEMU. Say in a comment why each is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    pub tcg: Tcg,
    /// Absent where the machine never runs under KVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm: Option<Kvm>,
}

/// The machine in emulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcg {
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// How much slower than a fast host with KVM: every deadline is multiplied by it.
    #[serde(default = "ten")]
    pub slowness: f64,
    /// The architecture in the emulator's name, if not the guest's: `qemu-system-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Arch>,
}

/// The machine on the host's own processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kvm {
    /// The host architectures that can run the guest.
    pub hosts: Vec<Arch>,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// QEMU's `-machine`, if not the one used in emulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The architecture in the emulator's name, if not the guest's: `qemu-system-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Arch>,
}

/// What a machine can start from; the kinds of `[boot.…]` in `image.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootKind {
    /// The machine's own firmware or boot ROM boots the disk.
    Builtin,
    /// A file given as `-bios`.
    Firmware,
    /// Two flash devices.
    Uefi,
    /// Kernel, initrd, device tree and command line, loaded by QEMU.
    Kernel,
}

impl BootKind {
    pub fn name(self) -> &'static str {
        match self {
            BootKind::Builtin => "builtin",
            BootKind::Firmware => "firmware",
            BootKind::Uefi => "uefi",
            BootKind::Kernel => "kernel",
        }
    }
}

/// How disks are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    VirtioBlkPci,
    /// On virtio-mmio.
    VirtioBlkDevice,
    /// In the machine's only card slot. QEMU's card has no write cache and gets no flush.
    SdCard,
}

/// How the guest gets its user-mode network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    VirtioNetPci,
    /// On virtio-mmio.
    VirtioNetDevice,
    UsbNet,
    /// The network chip that the machine has of its own.
    Onboard,
    None,
}

/// Where the guest gets its entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RngKind {
    VirtioRngPci,
    /// On virtio-mmio.
    VirtioRngDevice,
    /// From its own chip, or not at all.
    #[default]
    None,
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccelKind {
    Kvm,
    Tcg,
}

impl AccelKind {
    pub fn name(self) -> &'static str {
        match self {
            AccelKind::Kvm => "kvm",
            AccelKind::Tcg => "tcg",
        }
    }
}

impl std::fmt::Display for AccelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn default_memory() -> u32 {
    512
}
fn one() -> u32 {
    1
}
fn ten() -> f64 {
    10.0
}

impl Machine {
    /// Reads `qemu-configs/NAME.toml`.
    pub fn parse(text: &str, file: &Path) -> Result<Machine, ConfigError> {
        let mut machine: Machine = from_toml(text, file)?;
        machine.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let at = |key: &str, why: &str| Err(ConfigError::at_key(file, text, key, why));
        if machine.boot.is_empty() {
            return at("boot", "name at least one way to boot");
        }
        if !(machine.tcg.slowness.is_finite() && machine.tcg.slowness > 0.0) {
            return at("tcg.slowness", "slowness must be a positive number");
        }
        if machine.smp == 0 {
            return at("smp", "a machine has at least one processor");
        }
        if machine.memory_mib == 0 {
            return at("memory_mib", "a machine has some memory");
        }
        Ok(machine)
    }

    /// The architecture in the name of the emulator to start.
    pub fn emulator(&self, accel: AccelKind) -> Arch {
        let own = match accel {
            AccelKind::Tcg => self.tcg.emulator,
            AccelKind::Kvm => self.kvm.as_ref().and_then(|kvm| kvm.emulator),
        };
        own.unwrap_or(self.arch)
    }

    /// How much slower than a fast host with KVM the machine runs.
    pub fn slowness(&self, accel: AccelKind) -> f64 {
        match accel {
            AccelKind::Kvm => 1.0,
            AccelKind::Tcg => self.tcg.slowness,
        }
    }

    pub fn boots(&self, kind: BootKind) -> bool {
        self.boot.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
title = "X"
arch = "arm"
machine = "virt"
boot = ["kernel"]
disk = "virtio-blk-pci"
network = "none"
[tcg]
cpu = "cortex-a15"
"#;

    fn parse(text: &str) -> Result<Machine, ConfigError> {
        Machine::parse(text, Path::new("qemu-configs/x.toml"))
    }

    #[test]
    fn a_small_machine_gets_its_defaults() {
        let machine = parse(SMALL).unwrap();
        assert_eq!((machine.name.as_str(), machine.memory_mib, machine.smp), ("x", 512, 1));
        assert_eq!(machine.slowness(AccelKind::Tcg), 10.0);
        assert_eq!(machine.slowness(AccelKind::Kvm), 1.0);
        assert_eq!(machine.emulator(AccelKind::Kvm), Arch::Arm);
        assert_eq!(machine.rng, RngKind::None);
    }

    #[test]
    fn mistakes_stand_where_they_were_made() {
        let error = parse(&SMALL.replace("\"virtio-blk-pci\"", "\"virtio-blk-pic\"")).unwrap_err();
        assert_eq!((error.line, error.column), (6, 8), "{error}");
        assert_eq!(error.help.as_deref(), Some("did you mean `virtio-blk-pci`?"));
        let error = parse(&format!("{SMALL}slowness = -1\n")).unwrap_err();
        assert_eq!((error.line, error.column), (10, 12), "{error}");
        let error = parse(&SMALL.replace("[\"kernel\"]", "[]")).unwrap_err();
        assert_eq!((error.line, error.column), (5, 8), "{error}");
        let error = parse(&SMALL.replace("cpu =", "cpus =")).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `cpu`?"), "{error}");
    }
}
