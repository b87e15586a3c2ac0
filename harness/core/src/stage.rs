//! The stages a board passes through from power-on to ready, and how each is recognised.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a board has come. The order is the order of a boot.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Off,
    Firmware,
    Bootloader,
    Kernel,
    Userspace,
    Ready,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Off => "off",
            Stage::Firmware => "firmware",
            Stage::Bootloader => "bootloader",
            Stage::Kernel => "kernel",
            Stage::Userspace => "userspace",
            Stage::Ready => "ready",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The console line (a regex over the line with ANSI sequences removed) that shows a stage.
///
/// Board files give the usual marks; an image's manifest overrides them one by one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table of regexes, such as `ready`")]
pub struct StageMarks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
}

impl StageMarks {
    /// The marks that are set, in the order of a boot.
    pub fn by_stage(&self) -> BTreeMap<Stage, &str> {
        [
            (Stage::Firmware, &self.firmware),
            (Stage::Bootloader, &self.bootloader),
            (Stage::Kernel, &self.kernel),
            (Stage::Userspace, &self.userspace),
            (Stage::Ready, &self.ready),
        ]
        .into_iter()
        .filter_map(|(stage, mark)| mark.as_deref().map(|mark| (stage, mark)))
        .collect()
    }

    /// These marks, with every one that `over` sets replaced.
    pub fn overridden_by(&self, over: &StageMarks) -> StageMarks {
        let pick = |a: &Option<String>, b: &Option<String>| b.clone().or_else(|| a.clone());
        StageMarks {
            firmware: pick(&self.firmware, &over.firmware),
            bootloader: pick(&self.bootloader, &over.bootloader),
            kernel: pick(&self.kernel, &over.kernel),
            userspace: pick(&self.userspace, &over.userspace),
            ready: pick(&self.ready, &over.ready),
        }
    }

    /// Each mark that is no valid regex, with the regex error.
    pub fn mistakes(&self) -> Vec<(Stage, String)> {
        let faulty = |(stage, mark): (Stage, &str)| {
            regex::Regex::new(mark).err().map(|error| (stage, error.to_string()))
        };
        self.by_stage().into_iter().filter_map(faulty).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_overrides_single_marks_of_its_board() {
        let board = StageMarks {
            kernel: Some("Linux".into()),
            ready: Some("login:".into()),
            ..Default::default()
        };
        let image = StageMarks { ready: Some("up".into()), ..Default::default() };
        let marks = board.overridden_by(&image);
        assert_eq!(marks.by_stage()[&Stage::Kernel], "Linux");
        assert_eq!(marks.by_stage()[&Stage::Ready], "up");
        assert_eq!(marks.by_stage().len(), 2);
    }
}
