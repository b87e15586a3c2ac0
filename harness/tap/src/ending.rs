//! What a script itself comes to, beside its tests: it ran to its end, kept its word, and its exit
//! status says nothing that its tests did not say.

use crate::reader::Format;
use crate::{Outcome, Point};

/// automake's; the only skip that every format knows.
const SKIP: i32 = 77;
/// The kernel's `KSFT_SKIP`. Elsewhere 4 is an ordinary failure of too many programs.
const KERNEL_SKIP: i32 = 4;

/// Of a script that does everything wrong, the first faults tell the story.
const MOST_FAULTS: usize = 12;

/// The end of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Tests that only the end made whole.
    pub points: Vec<Point>,
    pub own: Own,
}

/// What the script comes to besides its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    Pass,
    Skip(String),
    Fail(String),
}

/// What was found so far that the end is judged by.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) points: u64,
    pub(crate) failed: u64,
    /// Why everything is skipped.
    pub(crate) skip: Option<String>,
    faults: Vec<String>,
    more_faults: u64,
}

impl Found {
    pub(crate) fn count(&mut self, point: &Point) {
        self.points += 1;
        self.failed += u64::from(point.outcome == Outcome::Fail);
    }

    pub(crate) fn fault(&mut self, what: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(what.into());
        } else {
            self.more_faults += 1;
        }
    }

    /// `status` is none where the script did not end by itself, which is for others to tell.
    pub(crate) fn own(mut self, format: Format, status: Option<i32>) -> Own {
        let status = status.unwrap_or(0);
        let skips = status == SKIP || (format == Format::Ktap && status == KERNEL_SKIP);
        if self.points == 0 && skips {
            return Own::Skip(format!("the script skipped itself (status {status})"));
        }
        if let (0, Some(why), true) = (self.points, self.skip.take(), self.faults.is_empty()) {
            let why = if why.is_empty() { "the script skipped all its tests".into() } else { why };
            return Own::Skip(why);
        }
        if format != Format::Exit && self.points == 0 && self.faults.is_empty() {
            self.fault(format!("it printed no {} at all", format.words()));
        }
        if status != 0 && self.failed == 0 && !skips {
            self.fault(of_status(format, status));
        }
        if self.more_faults > 0 {
            self.faults.push(format!("and {} more faults", self.more_faults));
        }
        match self.faults.is_empty() {
            true => Own::Pass,
            false => Own::Fail(self.faults.join("; ")),
        }
    }
}

fn of_status(format: Format, status: i32) -> String {
    let what = match status {
        126 => " (a program could not be executed)".to_string(),
        127 => " (a program is not there)".to_string(),
        129..=192 => format!(" (killed by signal {})", status - 128),
        _ => String::new(),
    };
    let though = if format == Format::Exit { "" } else { ", though no test failed" };
    format!("it ended with status {status}{what}{though}")
}
