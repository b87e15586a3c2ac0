//! A built OS image and its manifest `image.toml`: artefacts, how it boots, how one logs in.

mod engine;
mod uboot;
mod updater;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::board::too_little_memory;
use crate::case::Need;
use crate::located::{ConfigError, from_toml};
use crate::stage::StageMarks;

pub use engine::{CgroupVersion, EngineFacts, EngineSpec, OfflineImage};
pub use uboot::{Sent, UBootLines};
pub use updater::{Bundle, Custom, Downgrade, Flaw, Rauc, Switch, UpdaterSpec, Updates};

/// The manifest's format version this hil reads.
pub const SCHEMA: u32 = 1;

/// A built OS image. Paths in it are relative to the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The manifest's folder, against which artefacts are found.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The manifest itself, for messages.
    #[serde(skip)]
    pub file: PathBuf,
    #[serde(default = "current_schema")]
    pub schema: u32,
    #[schemars(length(min = 1))]
    pub name: String,
    #[serde(default)]
    pub version: String,
    /// Which of several builds of one OS this is: `mini`, `full`.
    #[serde(default)]
    pub variant: String,
    pub arch: Arch,
    /// The boot medium. Absent where kernel and initrd are all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Artefact>,
    #[serde(default)]
    pub boot: Boot,
    /// The board's bootloader as one file, for a loader that starts the board with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<Artefact>,
    /// What is typed at U-Boot's prompt at each boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uboot: Option<UBootLines>,
    #[serde(default)]
    pub stages: StageMarks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    #[serde(default)]
    pub os: OsSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updater: Option<UpdaterSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Files put into a partition before the boot, on the run's layer, never in the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Inject>,
    /// Secrets to mask in all output: a name, and the environment variable that holds it. An
    /// inject's `text` may use one as `${name}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// RAM in MiB the image needs, if more than the machine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16))]
    pub memory_mib: Option<u32>,
}

/// A file of the image. Disks may be raw, `.wic`, `.gz`, `.xz`, `.zst` or qcow2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `file`")]
pub struct Artefact {
    pub file: PathBuf,
    /// SHA-256 of the file as it stands (compressed, if it is). Checked before use when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What runs first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// The machine's own firmware or boot ROM (SeaBIOS, a SoC's boot ROM) boots the disk.
    Builtin(Builtin),
    /// A firmware file such as U-Boot, given to QEMU as `-bios`.
    Firmware(Artefact),
    /// UEFI in two flash devices; the variables are copied for each rig.
    Uefi(Uefi),
    /// Kernel, initrd and command line, loaded by the emulator.
    Kernel(Kernel),
    /// A `qemuboot.conf` written by Yocto beside its image.
    Qemuboot(Artefact),
}

impl Default for Boot {
    fn default() -> Self {
        Boot::Builtin(Builtin {})
    }
}

/// Nothing to say: an empty table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty table")]
pub struct Builtin {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `code` and `vars`")]
pub struct Uefi {
    pub code: Artefact,
    pub vars: Artefact,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `file`, and maybe `initrd`, `dtb`, `cmdline`"
)]
pub struct Kernel {
    pub file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtb: Option<PathBuf>,
    #[serde(default)]
    pub cmdline: String,
}

/// How one logs in on the serial console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `user`, `password` and prompts")]
pub struct Login {
    /// Absent where the console is a shell already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Regex of the login prompt.
    #[serde(default = "login_prompt")]
    pub prompt: String,
    /// Regex of the password prompt.
    #[serde(default = "password_prompt")]
    pub password_prompt: String,
    /// Regex of the shell prompt.
    #[serde(default = "shell_prompt")]
    pub shell: String,
}

/// How one logs in over SSH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `user`, and maybe `port`, `key`, `password`"
)]
pub struct Ssh {
    pub user: String,
    #[serde(default = "ssh_port")]
    pub port: u16,
    /// Private key file, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// What the running OS says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table with `version`, `init` and `persistent`"
)]
pub struct OsSpec {
    /// What `version_command` must print.
    pub version: Option<String>,
    /// Default: `VERSION_ID` of `/etc/os-release`.
    pub version_command: Option<String>,
    /// What runs as process 1. If absent, cases that need systemd are skipped.
    pub init: Option<Init>,
    /// A folder that root can write and that keeps its content over reboots and updates:
    /// `/mnt/data`. If absent, cases that leave something behind for the next boot are skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<String>,
}

/// The first process of the OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    Systemd,
    Busybox,
    Other,
}

/// A/B slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `names`, `first` and `command`")]
pub struct Slots {
    pub names: Vec<String>,
    /// The slot a fresh image boots.
    pub first: String,
    /// How often a slot that was not marked good is tried.
    #[serde(default = "one_try")]
    pub tries: u32,
    /// Prints the running slot's name, on the target.
    pub command: String,
    /// Prints how many tries `{slot}` has left: `fw_printenv -n BOOT_{slot}_LEFT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<String>,
    /// The block device of `{slot}` on the target: `/dev/disk/by-partlabel/root{slot}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Folders on the target that an update leaves alone: `["/mnt/data"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// One file for one partition: from `file` (relative to the manifest) or literal `text`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `partition`, `path`, and `file` or `text`")]
pub struct Inject {
    /// GPT partition name, or a one-based number.
    pub partition: String,
    /// Path inside the partition's file system; missing folders are made.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `env`")]
pub struct Secret {
    pub env: String,
}

fn current_schema() -> u32 {
    SCHEMA
}
fn ssh_port() -> u16 {
    22
}
fn one_try() -> u32 {
    1
}
fn login_prompt() -> String {
    r"login: $".into()
}
fn password_prompt() -> String {
    r"[Pp]assword: ?$".into()
}
fn shell_prompt() -> String {
    r"[#$] $".into()
}

impl Image {
    /// Reads a manifest. Artefacts are not touched yet.
    pub fn parse(text: &str, file: &Path) -> Result<Image, ConfigError> {
        let mut image: Image = from_toml(text, file)?;
        image.file = file.to_path_buf();
        image.dir = file.parent().unwrap_or(Path::new("")).to_path_buf();
        image.check(text)?;
        Ok(image)
    }

    fn check(&self, text: &str) -> Result<(), ConfigError> {
        let at = |key: &str, why: String| ConfigError::at_key(&self.file, text, key, why);
        if self.schema != SCHEMA {
            let why = format!("schema {} is not known; this hil reads {SCHEMA}", self.schema);
            return Err(at("schema", why));
        }
        if self.name.trim().is_empty() {
            return Err(at("name", "the image needs a name: reports show it".into()));
        }
        if let Some(why) = self.memory_mib.and_then(too_little_memory) {
            return Err(at("memory_mib", why));
        }
        if let Some((stage, why)) = self.stages.mistakes().into_iter().next() {
            return Err(at(&format!("stages.{stage}"), format!("not a regex: {why}")));
        }
        if let Some(login) = &self.login {
            let regexes = [
                ("login.prompt", &login.prompt),
                ("login.password_prompt", &login.password_prompt),
                ("login.shell", &login.shell),
            ];
            for (key, text) in regexes {
                if let Err(why) = regex::Regex::new(text) {
                    return Err(at(key, format!("not a regex: {why}")));
                }
            }
        }
        if let Some(folder) = self.os.persistent.as_ref().filter(|folder| !folder.starts_with('/'))
        {
            let why = format!("`{folder}` is no absolute path on the board");
            return Err(at("os.persistent", why));
        }
        if let Some(slots) = &self.slots
            && !slots.names.contains(&slots.first)
        {
            let why = format!("`{}` is none of the slots {:?}", slots.first, slots.names);
            return Err(at("slots.first", why));
        }
        if let Some(key) = self.uboot.as_ref().and_then(UBootLines::empty_line) {
            return Err(at(&format!("uboot.{key}"), "an empty line starts nothing".into()));
        }
        if let Some(UpdaterSpec::Custom(custom)) = &self.updater
            && let Some(Err(why)) = custom.progress.as_deref().map(regex::Regex::new)
        {
            return Err(at("updater.custom.progress", format!("not a regex: {why}")));
        }
        for (index, inject) in self.inject.iter().enumerate() {
            if inject.file.is_some() == inject.text.is_some() {
                let why = format!("inject of {}: give either `file` or `text`", inject.path);
                return Err(at(&format!("inject.{index}"), why));
            }
        }
        self.check_bootable(&at)
    }

    fn check_bootable(&self, at: &dyn Fn(&str, String) -> ConfigError) -> Result<(), ConfigError> {
        if self.disk.is_none() && !matches!(self.boot, Boot::Kernel(_)) {
            let why = "nothing to boot: neither a [disk] nor a [boot.kernel]".to_string();
            return Err(at("", why).with_help("see fixtures/examples for both kinds"));
        }
        Ok(())
    }

    /// Where an artefact stands.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.dir.join(relative)
    }

    /// `demo-os mini 1.0.0`.
    pub fn label(&self) -> String {
        [self.name.as_str(), &self.variant, &self.version]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// `demo-os mini`, whichever version of it.
    pub fn system(&self) -> String {
        [self.name.as_str(), &self.variant].join(" ").trim_end().into()
    }

    /// What a case may need and this image has.
    pub fn offers(&self) -> Vec<Need> {
        let mut offers = Vec::new();
        let mut add = |have: bool, need: Need| {
            if have {
                offers.push(need);
            }
        };
        add(self.ssh.is_some(), Need::Ssh);
        add(self.ssh.is_some() || self.login.is_some(), Need::Shell);
        add(self.login.is_some(), Need::ConsoleShell);
        add(self.engine.is_some(), Need::Engine);
        let facts = self.engine.as_ref().map(EngineSpec::facts);
        let offline = facts.and_then(|facts| facts.offline_image.as_ref());
        add(offline.is_some(), Need::OfflineImage);
        add(facts.is_some_and(EngineFacts::tells_setup), Need::EngineSetup);
        add(self.os.init == Some(Init::Systemd), Need::Systemd);
        add(self.slots.is_some(), Need::Slots);
        if let Some(slots) = &self.slots {
            add(slots.device.is_some(), Need::SlotDevices);
            add(slots.tries_left.is_some(), Need::TriesLeft);
            add(!slots.kept.is_empty(), Need::KeptFolders);
        }
        add(self.updater.is_some(), Need::Updater);
        if let Some(updates) = &self.updates {
            add(true, Need::Update);
            add(updates.older.is_some() && updates.downgrade.is_some(), Need::OlderUpdate);
            add(updates.fetch.is_some(), Need::Download);
            updates.broken.keys().for_each(|flaw| add(true, Need::BrokenUpdate(*flaw)));
        }
        add(self.os.version.is_some(), Need::Version);
        add(self.os.persistent.is_some(), Need::Persistent);
        offers
    }
}

#[cfg(test)]
mod tests;
