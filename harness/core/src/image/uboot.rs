//! What is typed at U-Boot's prompt at each boot, by an image's manifest or by a lab file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[uboot]`: the countdown is stopped at every boot, these are typed in this order, and nothing is
/// saved. Only for physical boards whose type has a [uboot] table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table with `set`, `send`, `lines` and `boot`")]
pub struct UBootLines {
    /// Variables, read back; an empty value removes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Small files sent over the console by YMODEM, some 10 KB/s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub send: Vec<Sent>,
    /// Lines that must succeed: `dhcp`, `tftpboot 0x42000000 zImage`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// The line that starts the system and does not come back; `boot` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// One file for U-Boot's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `file` and `at`")]
pub struct Sent {
    pub file: PathBuf,
    /// The address in memory.
    pub at: u64,
}

impl UBootLines {
    /// Both, the lab's before the image's: what the image says of a variable, and of the line that
    /// boots, stands.
    #[must_use]
    pub fn joined(lab: UBootLines, image: UBootLines) -> UBootLines {
        let UBootLines { mut set, mut send, mut lines, boot } = lab;
        set.extend(image.set);
        send.extend(image.send);
        lines.extend(image.lines);
        UBootLines { set, send, lines, boot: image.boot.or(boot) }
    }

    /// The key of the first line that says nothing.
    pub fn empty_line(&self) -> Option<String> {
        let boot = self.boot.as_ref().filter(|line| line.trim().is_empty());
        let line = self.lines.iter().position(|line| line.trim().is_empty());
        line.map(|n| format!("lines.{n}")).or(boot.map(|_| "boot".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_the_last_word() {
        let of = |slot: &str, line: &str, boot: Option<&str>| UBootLines {
            set: [("slot".to_string(), slot.to_string())].into(),
            lines: vec![line.into()],
            boot: boot.map(String::from),
            ..UBootLines::default()
        };
        let joined = UBootLines::joined(of("A", "dhcp", Some("bootd")), of("B", "true", None));
        assert_eq!(
            joined,
            UBootLines { lines: vec!["dhcp".into(), "true".into()], ..of("B", "", Some("bootd")) }
        );
    }
}
