//! Real console lines in a board's file, against which its marks are checked when it is read.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Board, Mistake};
use crate::stage::{Stage, StageMarks};

/// `[samples]`: what somebody's board really printed, at most one line for each mark.
///
/// A mark that does not match its own line, or a line of an earlier stage, is a mistake in the
/// file: the cheapest test of a regex there is without the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table of console lines, such as `kernel`")]
pub struct Samples {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// U-Boot's countdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoboot: Option<String>,
    /// U-Boot's prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl Samples {
    /// The sample lines of stages, in the order of a boot.
    pub fn by_stage(&self) -> impl Iterator<Item = (Stage, &str)> {
        [
            (Stage::Firmware, &self.firmware),
            (Stage::Bootloader, &self.bootloader),
            (Stage::Kernel, &self.kernel),
            (Stage::Userspace, &self.userspace),
            (Stage::Ready, &self.ready),
        ]
        .into_iter()
        .filter_map(|(stage, line)| line.as_deref().map(|line| (stage, line)))
    }

    /// What does not agree with the board's marks, all of which compile.
    pub(super) fn mistake(&self, board: &Board) -> Option<Mistake> {
        self.by_stage()
            .find_map(|(stage, line)| disagreement(&board.stages, stage, line))
            .or_else(|| self.bootloader_mistake(board))
    }

    fn bootloader_mistake(&self, board: &Board) -> Option<Mistake> {
        let uboot = board.uboot.as_ref();
        let lines = [
            ("autoboot", &self.autoboot, uboot.map(|uboot| &uboot.autoboot)),
            ("prompt", &self.prompt, uboot.map(|uboot| &uboot.prompt)),
        ];
        lines.into_iter().find_map(|(key, line, mark)| {
            let line = line.as_deref()?;
            let why = match mark {
                Some(mark) if matches(mark, line) => return None,
                Some(mark) => format!("uboot.{key} does not match this line: {mark}"),
                None => "a line of U-Boot, and no [uboot] table".into(),
            };
            Some((format!("samples.{key}"), why))
        })
    }
}

fn disagreement(marks: &StageMarks, stage: Stage, line: &str) -> Option<Mistake> {
    let marks = marks.by_stage();
    let why = match marks.get(&stage) {
        None => format!("a line of {stage}, and no stages.{stage} to match it"),
        Some(mark) if !matches(mark, line) => {
            format!("stages.{stage} does not match this line: {mark}")
        }
        Some(_) => {
            let mut later = marks.range(stage..).skip(1);
            let (wrong, mark) = later.find(|(_, mark)| matches(mark, line))?;
            format!("stages.{wrong} matches this line of {stage}, too: {mark}")
        }
    };
    Some((format!("samples.{stage}"), why))
}

fn matches(regex: &str, line: &str) -> bool {
    Regex::new(regex).is_ok_and(|regex| regex.is_match(line))
}
