//! A board: what a device type is, as immutable data from one TOML under `boards/`.

mod flash;
mod samples;
#[cfg(test)]
mod tests;
mod uboot;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::case::Need;
use crate::located::{ConfigError, from_toml};
use crate::stage::StageMarks;

pub use flash::{Flash, Loader, Placeholder, Provides, Removable, Tool};
pub use samples::Samples;
pub use uboot::UBoot;

/// A dotted key, and what is wrong with its value.
type Mistake = (String, String);

/// A device type, emulated or physical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The file's stem: `qemu-arm` for `boards/qemu-arm.toml`.
    #[serde(skip)]
    pub name: String,
    /// One line for `hil boards`.
    pub title: String,
    pub arch: Arch,
    /// What is worth knowing before using it, and what could not be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The chip, as its vendor calls it: `AM3358`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soc: Option<String>,
    /// balena's slug of the device type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balena: Option<String>,
    /// The board `qemu-…` that plays this physical one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated_by: Option<String>,
    /// The machine for which demo-os is built (`fixtures/demo-os/build --board`) that runs here when
    /// no image is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demo: Option<String>,
    /// Documents the facts come from. A physical board has at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The kernel's driver of the hardware watchdog: `omap_wdt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<String>,
    /// Set for an emulated board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<OnQemu>,
    #[serde(default)]
    pub console: ConsoleSpec,
    #[serde(default)]
    pub storage: StorageSpec,
    #[serde(default)]
    pub network: NetworkSpec,
    /// How U-Boot is interrupted; absent where another bootloader, or none, can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uboot: Option<UBoot>,
    /// How an image comes onto a physical board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash: Option<Flash>,
    /// The usual console marks of this board's boot; the image's manifest overrides them.
    #[serde(default)]
    pub stages: StageMarks,
    /// Console lines the marks must match.
    #[serde(default)]
    pub samples: Samples,
    /// How slow the board is: every deadline is multiplied by it.
    #[serde(default = "one")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub slowness: f64,
    /// The longest time from power-on to ready, in seconds, before scaling.
    #[serde(default = "boot_deadline")]
    #[schemars(range(min = 1, max = 86_400))]
    pub boot_deadline_s: u64,
}

/// Which emulated machine plays the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `machine`")]
pub struct OnQemu {
    /// The stem of a file under `qemu-configs/`.
    pub machine: String,
    /// RAM in MiB, instead of the machine's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16))]
    pub memory_mib: Option<u32>,
    /// Processors, instead of the machine's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub cpus: Option<u32>,
    /// The device tree a kernel needs here, by its usual file name; looked for beside `image.toml`
    /// unless [boot.kernel] names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtb: Option<String>,
}

/// The serial console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table with `device` and `baud`")]
pub struct ConsoleSpec {
    /// The kernel's name of the console, for `console=`: `ttyAMA0`.
    pub device: String,
    pub baud: u32,
}

impl Default for ConsoleSpec {
    fn default() -> Self {
        ConsoleSpec { device: "ttyS0".into(), baud: 115_200 }
    }
}

/// How an emulated boot medium treats what it was given (boards/README.md, "Medium").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// virtio-blk with a volatile write-back cache: only what a flush covered is durable.
    #[default]
    VirtioWb,
    /// An SD card or eMMC whose cache is off: completed is durable, what is in flight tears.
    EmmcCacheOff,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table with `medium`, `size_mib`, `power_of_two` and `atomic_unit`"
)]
pub struct StorageSpec {
    /// Of emulated boards only, `virtio-wb` if absent: what a cut takes from a real card or disk
    /// is up to the card or disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<Medium>,
    /// Of emulated boards only: the medium's size in MiB, which is the image's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_mib: Option<u32>,
    /// The machine accepts only cards whose size is a power of two.
    pub power_of_two: bool,
    /// Of emulated boards only: what the medium writes in one go, in bytes. A cut tears requests at
    /// multiples of it. 4096 if absent (decision 0017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atomic_unit: Option<u32>,
}

impl StorageSpec {
    /// In bytes.
    pub fn atomic_unit(&self) -> u64 {
        u64::from(self.atomic_unit.unwrap_or(4096))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table with `works`")]
pub struct NetworkSpec {
    /// Whether the board's network is known to work, so that SSH may be expected.
    pub works: bool,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        NetworkSpec { works: true }
    }
}

fn one() -> f64 {
    1.0
}

fn boot_deadline() -> u64 {
    60
}

/// What to say of RAM in which no Linux starts, such as bytes or GiB given for MiB.
pub(crate) fn too_little_memory(mib: u32) -> Option<String> {
    (mib < 16).then(|| format!("{mib} MiB of memory are too little: give at least 16"))
}

impl Board {
    /// Reads `boards/NAME.toml`.
    pub fn parse(text: &str, file: &Path) -> Result<Board, ConfigError> {
        let mut board: Board = from_toml(text, file)?;
        board.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if board.qemu.is_some() != board.name.starts_with("qemu-") {
            let why = "a board is named `qemu-…` exactly when it has a [qemu] table";
            return Err(ConfigError::whole(file, why)
                .with_help("a bare type name always means the physical board"));
        }
        if let Some((key, why)) = board.mistake() {
            return Err(ConfigError::at_key(file, text, &key, why));
        }
        Ok(board)
    }

    /// The key of the first value that no board can have, and what is wrong with it.
    fn mistake(&self) -> Option<Mistake> {
        if let Some((stage, why)) = self.stages.mistakes().into_iter().next() {
            return Some((format!("stages.{stage}"), format!("not a regex: {why}")));
        }
        if !(0.1..=1000.0).contains(&self.slowness) {
            return Some(("slowness".into(), "slowness must be from 0.1 to 1000".into()));
        }
        if !(1..=86_400).contains(&self.boot_deadline_s) {
            let why = "the boot deadline must be from 1 second to 86400, a day";
            return Some(("boot_deadline_s".into(), why.into()));
        }
        if self
            .storage
            .atomic_unit
            .is_some_and(|n| !n.is_power_of_two() || !(512..=1 << 20).contains(&n))
        {
            let why = "a medium's atomic unit is a power of two from 512 to 1048576";
            return Some(("storage.atomic_unit".into(), why.into()));
        }
        let memory = self.qemu.as_ref().and_then(|on| on.memory_mib);
        memory
            .and_then(too_little_memory)
            .map(|why| ("qemu.memory_mib".into(), why))
            .or_else(|| if self.is_emulated() { self.unreal() } else { self.unproven() })
            .or_else(|| self.uboot.as_ref().and_then(UBoot::mistake))
            .or_else(|| self.untypable())
            .or_else(|| self.flash.as_ref().and_then(Flash::mistake))
            .or_else(|| self.samples.mistake(self))
    }

    /// What only a physical board can have.
    fn unreal(&self) -> Option<Mistake> {
        let wrong = |key: &str| Some((key.into(), "only a physical board has this".into()));
        if self.flash.is_some() {
            return wrong("flash");
        }
        self.emulated_by.as_ref().and_then(|_| wrong("emulated_by"))
    }

    /// U-Boot commands, and nothing said of how to reach its prompt.
    fn untypable(&self) -> Option<Mistake> {
        let loader = self.flash.as_ref().and_then(|flash| flash.loader.as_ref())?;
        let why = "commands for U-Boot's prompt, and no [uboot] table";
        (self.uboot.is_none() && !loader.uboot.is_empty())
            .then(|| ("flash.loader.uboot".into(), why.into()))
    }

    /// What a physical board lacks, or has and cannot.
    fn unproven(&self) -> Option<Mistake> {
        let wrong = |key: &str, why: &str| Some((key.into(), why.into()));
        if self.sources.is_empty() {
            let why = "a physical board gives its `sources`: documents its facts come from";
            return wrong("sources", why);
        }
        if self.demo.is_some() {
            let why = "demo-os is made for emulated boards; a lab file's instance may ask for one";
            return wrong("demo", why);
        }
        if let Some(n) = self.sources.iter().position(|source| source.trim().is_empty()) {
            return wrong(&format!("sources.{n}"), "an empty source");
        }
        if self.storage.medium.is_some() {
            let why = "only of emulated boards: a real medium loses what it loses";
            return wrong("storage.medium", why);
        }
        if self.storage.atomic_unit.is_some() {
            let why = "only of emulated boards: a real medium tears where it tears";
            return wrong("storage.atomic_unit", why);
        }
        self.storage.size_mib.and_then(|_| {
            wrong("storage.size_mib", "only of emulated boards: a real medium is as large as it is")
        })
    }

    pub fn is_emulated(&self) -> bool {
        self.qemu.is_some()
    }

    /// What a case may need and this board has.
    pub fn offers(&self) -> Vec<Need> {
        let mut offers = vec![Need::PowerCut];
        if self.network.works {
            offers.push(Need::Network);
        }
        if self.is_emulated() {
            offers.push(Need::Emulated);
        }
        offers
    }
}
