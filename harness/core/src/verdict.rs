//! The four verdicts of a case. There is no fifth, and never a silent pass.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The product did what it should.
    Pass,
    /// The product is wrong.
    Fail,
    /// The rack, the host or the harness is wrong; nothing is known about the product.
    Broken,
    /// Not run; the reason is always told.
    Skip,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Broken => "broken",
            Verdict::Skip => "skip",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The process exit codes of `hil`, in one documented place.
pub mod exit {
    /// Every case that ran passed, and nothing required was skipped.
    pub const OK: u8 = 0;
    /// A defect of hil itself.
    pub const INTERNAL: u8 = 1;
    /// The command line, a board, an image or a lab file is wrong.
    pub const USAGE: u8 = 2;
    /// The selection holds no case.
    pub const NOTHING_SELECTED: u8 = 4;
    /// Rack or host broken (`EX_UNAVAILABLE`); says nothing about the product.
    pub const BROKEN: u8 = 69;
    /// At least one case failed. Wins over [`BROKEN`].
    pub const FAILED: u8 = 100;
    /// Interrupted by the user. Wins over all.
    pub const INTERRUPTED: u8 = 130;
}
