//! How a board's U-Boot shows itself on the console, and how its countdown is stopped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mistake;

/// `[uboot]`: the defaults are those of upstream U-Boot; vendors change all three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table with `prompt`, `autoboot` and `interrupt`"
)]
pub struct UBoot {
    /// Regex of the prompt, at which the line ends (CONFIG_SYS_PROMPT).
    pub prompt: String,
    /// Regex of the countdown's line (CONFIG_AUTOBOOT_PROMPT).
    pub autoboot: String,
    /// What stops the countdown, byte for byte: a key, "\u0003" for Ctrl-C, or a stop string
    /// (CONFIG_AUTOBOOT_STOP_STR).
    pub interrupt: String,
}

impl Default for UBoot {
    fn default() -> Self {
        UBoot {
            prompt: "^=> ?$".into(),
            autoboot: "Hit any key to stop autoboot".into(),
            interrupt: " ".into(),
        }
    }
}

impl UBoot {
    pub(super) fn mistake(&self) -> Option<Mistake> {
        for (key, regex) in [("prompt", &self.prompt), ("autoboot", &self.autoboot)] {
            if let Err(why) = regex::Regex::new(regex) {
                return Some((format!("uboot.{key}"), format!("not a regex: {why}")));
            }
        }
        let nothing = "nothing cannot stop a countdown: give the key, such as \" \"";
        self.interrupt.is_empty().then(|| ("uboot.interrupt".into(), nothing.into()))
    }
}
