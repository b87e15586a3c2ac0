//! The lab file: which switch, line and medium belong to which board instance of this lab.

mod rooted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hil_core::image::UBootLines;
use hil_core::located::{ConfigError, from_toml, nearest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::power::PowerSpec;
use crate::serial::ConsoleSpec;
use crate::storage::StorageSpec;

/// How one lab is wired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// Where it was read from; its relative paths start in that file's folder.
    #[serde(skip)]
    pub file: PathBuf,
    /// For people: `rack 3, second floor`.
    #[serde(default)]
    pub title: String,
    /// Seconds between two boards' power-on, so that a rack does not draw all inrush at once.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 60.0))]
    pub stagger_s: f64,
    /// The boards that stand here, each by its own name.
    #[serde(default)]
    pub instance: BTreeMap<String, Instance>,
}

/// One board that stands here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `type`, [power] and [console]")]
pub struct Instance {
    #[serde(skip)]
    pub name: String,
    /// The device type: a file of `boards/`.
    #[serde(rename = "type")]
    pub board: String,
    /// Where it stands, what is odd about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The state it is left in, whatever happens to hil.
    #[serde(default)]
    pub safe: Safe,
    /// Manifests of the images it runs when none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// The board for which demo-os is built that it runs where neither is given: a board of a
    /// virtual rack boots as the machine that plays it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demo: Option<String>,
    pub power: PowerSpec,
    pub console: ConsoleSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshSpec>,
    /// What is typed at U-Boot's prompt at each boot, before what the image asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uboot: Option<UBootLines>,
    #[serde(default)]
    pub timing: Timing,
    /// How slow this one is beside others of its type: every deadline is multiplied by it.
    #[serde(default = "one")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub slowness: f64,
}

impl Instance {
    /// Passwords and the like of its wiring, to be masked in all output.
    pub fn secrets(&self) -> Vec<&str> {
        let contact = self.storage.as_ref().and_then(StorageSpec::contact);
        [&self.power].into_iter().chain(contact).flat_map(PowerSpec::secrets).collect()
    }
}

/// The state a board is left in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Safe {
    /// Without power.
    #[default]
    Off,
    /// With power: a board that others reach over the network.
    On,
}

/// Where a board's SSH server is reached from this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `host`")]
pub struct SshSpec {
    /// A name or an address. Left out: the address the board itself tells on its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Instead of the image's own port, where something forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a board's power supply needs. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table with `min_off_s`")]
pub struct Timing {
    /// The shortest time without power before it is given again.
    #[schemars(range(min = 0.0, max = 600.0))]
    pub min_off_s: f64,
    /// How long the board lives on after the contact opened: its capacitors. Waited for after
    /// each switching off, before anything is said to be without power.
    #[schemars(range(min = 0.0, max = 600.0))]
    pub discharge_s: f64,
    /// Whether the contact is wired the other way round: open is power.
    pub inverted: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { min_off_s: 2.0, discharge_s: 0.5, inverted: false }
    }
}

/// How late a busy host may hear has nothing to do with the board.
const LATE: Duration = Duration::from_secs(1);

impl Timing {
    pub fn min_off(&self) -> Duration {
        Duration::from_secs_f64(self.min_off_s)
    }

    pub fn discharge(&self) -> Duration {
        Duration::from_secs_f64(self.discharge_s)
    }

    /// After which wait, and how long, a board that should be dark is listened to: again, and longer, if
    /// it spoke, since a busy host hears late what was said in time, and a boot may pause.
    pub fn listenings(&self) -> [(Duration, Duration); 2] {
        let discharge = self.discharge();
        let again = (2 * discharge).max(LATE);
        [(discharge, Duration::from_millis(300)), (again, Duration::from_secs(3))]
    }
}

fn one() -> f64 {
    1.0
}

impl Lab {
    /// Reads and checks a lab file. `is_type` knows the device types.
    pub fn parse(
        text: &str,
        file: &Path,
        types: &dyn Fn(&str) -> bool,
        known: &[&str],
    ) -> Result<Lab, ConfigError> {
        let mut lab: Lab = from_toml(text, file)?;
        let at = |key: &str, why: String| ConfigError::at_key(file, text, key, why);
        if !(0.0..=60.0).contains(&lab.stagger_s) {
            return Err(at("stagger_s", "stagger_s is a number of seconds from 0 to 60".into()));
        }
        for (name, instance) in &lab.instance {
            if let Some((key, why, help)) = mistake(name, instance, types, known) {
                let error = at(&format!("instance.{name}{key}"), why);
                return Err(match help {
                    Some(help) => error.with_help(help),
                    None => error,
                });
            }
        }
        lab.file = file.to_path_buf();
        // A bare file name has an empty parent; `absolute` of the file itself knows where it is.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
        for (name, instance) in &mut lab.instance {
            instance.name.clone_from(name);
            rooted::instance(instance, &dir);
        }
        Ok(lab)
    }

    /// The instances of a device type, in the order of their names.
    pub fn of_type<'l>(&'l self, board: &'l str) -> impl Iterator<Item = &'l Instance> {
        self.instance.values().filter(move |instance| instance.board == board)
    }
}

type Mistake = (String, String, Option<String>);

/// The first thing wrong with an instance: its key, why, and help.
fn mistake(
    name: &str,
    instance: &Instance,
    types: &dyn Fn(&str) -> bool,
    known: &[&str],
) -> Option<Mistake> {
    let said = |key: &str, why: String, help: Option<String>| Some((key.to_string(), why, help));
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(fine) || name.starts_with(['.', '-']) {
        let why = format!("`{name}` cannot name a folder: use letters, digits, `-`, `_` and `.`");
        return said("", why, None);
    }
    if name.starts_with("qemu-") || types(name) {
        let why = format!("`{name}` names a device type already; give the instance its own name");
        return said("", why, Some(format!("`{name}-1`, say")));
    }
    if !types(&instance.board) {
        let near = nearest(&instance.board, known.iter().copied());
        let help = near.map_or("see `hil boards`".into(), |near| format!("did you mean `{near}`?"));
        return said(".type", format!("there is no device type `{}`", instance.board), Some(help));
    }
    let seconds = 0.0..=600.0;
    for (key, value) in
        [("min_off_s", instance.timing.min_off_s), ("discharge_s", instance.timing.discharge_s)]
    {
        if !seconds.contains(&value) {
            let why = format!("{key} is a number of seconds from 0 to 600");
            return said(&format!(".timing.{key}"), why, None);
        }
    }
    if !(0.1..=1000.0).contains(&instance.slowness) {
        return said(".slowness", "slowness must be from 0.1 to 1000".into(), None);
    }
    if let Some(key) = instance.uboot.as_ref().and_then(UBootLines::empty_line) {
        return said(&format!(".uboot.{key}"), "an empty line starts nothing".into(), None);
    }
    match &instance.storage {
        Some(storage) if storage.mux.is_some() && storage.device.is_none() => said(
            ".storage.mux",
            "a mux needs `device`: the medium's path on this host".into(),
            Some("device = \"/dev/disk/by-path/…\"".into()),
        ),
        Some(storage) if storage.renew && storage.mux.is_none() => said(
            ".storage.renew",
            "a medium that is to be written between cases needs a `mux`".into(),
            Some("without one, cases start after a reboot, on the medium as it is then".into()),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
