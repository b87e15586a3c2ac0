//! What test scripts say: TAP 13 and 14, KTAP, LAVA's signals, and exit statuses.
//!
//! ```text
//! bytes, in pieces as they come -> lines -> Reader -> points, as soon as each is whole
//!                                                  -> Ending: what the script itself comes to
//! ```
//! Nothing here runs a script or touches a board, and nothing a script prints is trusted: lines,
//! names, explanations, nesting and the number of tests are bounded. A script that says less than
//! it promised never passes.
//!
//! Sources: the TAP 13 and 14 specifications (testanything.org), `Documentation/dev-tools/ktap.rst`
//! and `tools/testing/selftests/kselftest.h` of Linux, LAVA's "Test definition" manual, and
//! automake's manual ("Scripts-based Testsuites") for status 77.

mod ending;
mod frame;
mod lava;
mod line;
mod lines;
mod reader;
mod tap;

pub use ending::{Ending, Own};
pub use reader::{Format, Reader};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail,
    Skip,
    /// Not expected to pass yet (TAP's `TODO`, KTAP's `XFAIL`), and whether it did.
    Todo {
        passed: bool,
    },
}

/// One test, after its last word.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The names from the outermost subtest down to the test's own; never empty.
    pub path: Vec<String>,
    pub outcome: Outcome,
    /// Why it was skipped or is still to do, in the script's words; often empty.
    pub reason: String,
    /// What the script said of it besides: comments and YAML.
    pub told: String,
    /// LAVA's measurement, with its unit.
    pub measured: Option<(f64, String)>,
}

impl Point {
    /// `outer/inner/test`.
    pub fn name(&self) -> String {
        self.path.join("/")
    }
}
