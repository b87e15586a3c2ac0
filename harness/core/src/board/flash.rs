//! How an image comes onto a physical board's boot medium: a card, a USB disk, or a loader.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mistake;

/// `[flash]`: one table for each way there is; a lab file chooses among them by its wiring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table of [flash.sd], [flash.usb], …")]
pub struct Flash {
    /// A removable card, switched between host and board by an SD-mux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<Removable>,
    /// A USB stick or disk, switched by a USB mux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb: Option<Removable>,
    /// The board itself takes the image, in a mode a tool on the host talks to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader: Option<Loader>,
}

/// A medium the host writes as a block device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `device_at`, and maybe `enter`")]
pub struct Removable {
    /// The kernel's name of the medium on the board: `mmcblk0`.
    pub device_at: String,
    /// What somebody must do first, once or each time: `set boot switch S1 to SD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter: Option<String>,
}

/// The program a loader is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    Fastboot,
    Uuu,
    DfuUtil,
    Rpiboot,
    SunxiFel,
    /// Any other program: what `steps` name.
    Command,
}

impl Tool {
    /// What the tool is called on the host; none where the steps alone say it.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Tool::Fastboot => Some("fastboot"),
            Tool::Uuu => Some("uuu"),
            Tool::DfuUtil => Some("dfu-util"),
            Tool::Rpiboot => Some("rpiboot"),
            Tool::SunxiFel => Some("sunxi-fel"),
            Tool::Command => None,
        }
    }
}

/// What a loader leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provides {
    /// A block device on the host, to be written like a card.
    BlockDevice,
}

/// A tool on the host that talks to the board's ROM or bootloader over USB.
///
/// U-Boot's `ums` needs no tool: `uboot = ["ums 0 mmc 0"]`, no steps, and a block device appears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `tool` and `steps`")]
pub struct Loader {
    pub tool: Tool,
    /// Lines typed at U-Boot's prompt before the steps; the last may never return to the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uboot: Vec<String>,
    /// Commands in order, one argument a string, run without a shell. `{image}`, `{bootloader}`,
    /// `{device}`, `{serial}` and `{dir}` are filled in; other braces stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Vec<String>>,
    /// Absent where the steps wrote the image themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provides: Option<Provides>,
    /// The kernel's name of the written medium on the board: `mmcblk1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_at: Option<String>,
    /// How the board is brought into the mode the tool talks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enter: Option<String>,
}

/// What a step may leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The raw disk image, decompressed.
    Image,
    /// The board's bootloader, as one file.
    Bootloader,
    /// The board's place on USB, or the device node there.
    Device,
    /// The serial number the board shows on USB.
    Serial,
    /// The folder of the image's manifest, for further files.
    Dir,
}

impl Placeholder {
    pub const ALL: [Placeholder; 5] = [
        Placeholder::Image,
        Placeholder::Bootloader,
        Placeholder::Device,
        Placeholder::Serial,
        Placeholder::Dir,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Placeholder::Image => "image",
            Placeholder::Bootloader => "bootloader",
            Placeholder::Device => "device",
            Placeholder::Serial => "serial",
            Placeholder::Dir => "dir",
        }
    }

    fn named(name: &str) -> Option<Placeholder> {
        Placeholder::ALL.into_iter().find(|placeholder| placeholder.name() == name)
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.name())
    }
}

impl Loader {
    /// The steps with every placeholder filled in, or the first one `value` knows nothing for.
    pub fn commands(
        &self,
        value: impl Fn(Placeholder) -> Option<String>,
    ) -> Result<Vec<Vec<String>>, Placeholder> {
        let fill = |argument: &String| {
            let mut filled = String::new();
            for part in parts(argument) {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Open(name) => match Placeholder::named(name) {
                        Some(open) => filled.push_str(&value(open).ok_or(open)?),
                        None => filled.push_str(name), // `mistake` lets none of these pass.
                    },
                }
            }
            Ok(filled)
        };
        self.steps.iter().map(|step| step.iter().map(fill).collect()).collect()
    }

    fn mistake(&self) -> Option<Mistake> {
        let at = |place: String, why: String| Some((format!("flash.loader.{place}"), why));
        for (n, step) in self.steps.iter().enumerate() {
            if step.first().is_none_or(String::is_empty) {
                return at(format!("steps.{n}"), "a step begins with a program".into());
            }
            for (m, argument) in step.iter().enumerate() {
                let unknown = parts(argument).into_iter().find_map(|part| match part {
                    Part::Open(name) if Placeholder::named(name).is_none() => Some(name),
                    _ => None,
                });
                if let Some(name) = unknown {
                    let known = Placeholder::ALL.map(|one| one.to_string()).join(", ");
                    let why = format!("unknown placeholder {{{name}}}: there are {known}");
                    return at(format!("steps.{n}.{m}"), why);
                }
            }
        }
        if self.steps.is_empty() && (self.uboot.is_empty() || self.provides.is_none()) {
            let why = "give a step: only what U-Boot `provides` by itself needs none";
            return at("steps".into(), why.into());
        }
        let program = self.tool.program()?;
        let used = self.steps.iter().any(|step| step.first().is_some_and(|word| word == program));
        if used {
            return None;
        }
        let why = format!("no step runs {program}: name the steps' tool, or `command`");
        at("tool".into(), why)
    }
}

impl Flash {
    pub(super) fn mistake(&self) -> Option<Mistake> {
        let media = [("sd", &self.sd), ("usb", &self.usb)];
        for (key, medium) in media {
            if medium.as_ref().is_some_and(|medium| medium.device_at.contains('/')) {
                let why = "the kernel's name without /dev/, such as `mmcblk0`";
                return Some((format!("flash.{key}.device_at"), why.into()));
            }
        }
        if let Some(loader) = &self.loader {
            return loader.mistake();
        }
        let none = media.into_iter().all(|(_, medium)| medium.is_none());
        none.then(|| ("flash".into(), "give one of [flash.sd], [flash.usb], [flash.loader]".into()))
    }
}

/// A piece of an argument.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    /// What stood in braces: a word of small letters and `_`.
    Open(&'a str),
}

fn parts(argument: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = argument;
    let mut from = 0;
    while let Some(found) = rest[from..].find('{') {
        let open = from + found;
        let close = rest[open..].find('}').map(|length| open + length);
        let word = close.map(|close| &rest[open + 1..close]);
        let is_word = |word: &&str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        match (close, word.filter(is_word)) {
            (Some(close), Some(word)) => {
                parts.push(Part::Text(&rest[..open]));
                parts.push(Part::Open(word));
                rest = &rest[close + 1..];
                from = 0;
            }
            _ => from = open + 1,
        }
    }
    parts.push(Part::Text(rest));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loader(argument: &str) -> Loader {
        Loader {
            tool: Tool::Uuu,
            uboot: Vec::new(),
            steps: vec![vec!["uuu".into(), argument.into()]],
            provides: None,
            device_at: None,
            enter: None,
        }
    }

    fn filled(argument: &str) -> Result<String, Placeholder> {
        let value = |open: Placeholder| match open {
            Placeholder::Serial => None,
            open => Some(format!("<{}>", open.name())),
        };
        Ok(loader(argument).commands(value)?[0][1].clone())
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        assert_eq!(filled("{dir}/{image}.bin").unwrap(), "<dir>/<image>.bin");
        assert_eq!(filled("{{image}} {} {A} {").unwrap(), "{<image>} {} {A} {");
        assert_eq!(filled("-s={serial}"), Err(Placeholder::Serial));
    }

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        let value = |_| Some("{image}".to_string());
        assert_eq!(loader("{dir}").commands(value).unwrap()[0][1], "{image}");
    }
}
