//! What a run came to: the values that every report is written from.
//!
//! Plain data and the sums over it. How it is found out stands in `fold` and `verdicts`; how it
//! is shown, in the file of each report.

use hil_core::envelope::Envelope;
use hil_core::parts::{Alarm, CutPolicy, CutReport};
use hil_core::plan::{CaseId, Retries, Terms};
use hil_core::rules::Rules;
use hil_core::shard::Share;
use hil_core::stage::Stage;
use hil_core::verdict::{Verdict, exit};

use crate::verdicts::NOT_RUN;

/// One board's run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub board: String,
    pub host: String,
    /// The version of hil that ran.
    pub hil: String,
    /// RFC 3339, UTC.
    pub started: String,
    pub seed: u64,
    pub terms: Terms,
    pub rules: Rules,
    /// The smaller device that the board was to be.
    pub envelope: Option<Envelope>,
    pub retries: Retries,
    pub share: Option<Share>,
    /// Seconds; of a run that did not end, up to its last event.
    pub took: f64,
    pub sessions: Vec<Session>,
    /// In the order of the plan: the cases of each session, then what the plan skipped.
    pub cases: Vec<CaseReport>,
    /// Told of the run as a whole; those told during a case are with the case.
    pub notes: Vec<String>,
    pub end: End,
}

/// How the run itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finished,
    /// By the user.
    Interrupted,
    /// There is no last event: hil died or was killed.
    Died,
}

/// One image on one board, from its first power-on to its last power-off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    pub image: String,
    /// The image's name and variant, whichever version it is.
    pub system: String,
    pub digest: String,
    /// Empty until the session had its rig, as is `medium`.
    pub power: String,
    pub medium: String,
    /// Seconds since the start of the run.
    pub started: Option<f64>,
    pub took: Option<f64>,
    pub boots: Vec<Boot>,
    pub cuts: Vec<Cut>,
    pub alarms: Vec<Sighted>,
    pub facts: Vec<Fact>,
    pub bring_up: Option<BringUp>,
    /// How the board was saved that cases start from, if this session did it.
    pub saved: Option<String>,
    /// How many starts were forks of a saved board.
    pub forks: usize,
}

impl Session {
    /// By what the board had power, what its medium was, and what its cases started from.
    pub fn about(&self) -> String {
        let power = if self.power.is_empty() { "no rig" } else { &self.power };
        let of = match &self.saved {
            Some(how) => format!("the board, saved as {how}"),
            None => "a board that an earlier run or another lane saved".into(),
        };
        let forks = match self.forks {
            0 => String::new(),
            1 => format!(", a fork of {of}"),
            many => format!(", {many} forks of {of}"),
        };
        format!("{power}, medium {}{forks}", self.medium)
    }

    /// The boot that the session began with, as far as it showed itself.
    pub fn first_boot(&self) -> Option<&Boot> {
        self.boots.iter().find(|boot| !boot.stages.is_empty())
    }
}

/// One way from power-on (or a reset) through the stages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boot {
    /// A stage came again without the power having gone: the board was reset.
    pub reset: bool,
    /// Each stage with the seconds since power-on.
    pub stages: Vec<(Stage, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    pub policy: CutPolicy,
    pub seed: u64,
    pub report: CutReport,
    /// Where in the case's work it was.
    pub point: Option<String>,
}

/// A kernel message that told of trouble.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighted {
    pub alarm: Alarm,
    pub line: String,
    pub offset: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

/// Why a session's board did not come up.
#[derive(Clone, Debug, PartialEq)]
pub struct BringUp {
    pub verdict: Verdict,
    pub why: String,
    pub console: Vec<String>,
}

/// A failed attempt at a case that was run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub why: String,
    pub took: f64,
    pub console: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    pub id: CaseId,
    /// Index into [`Report::sessions`]; none for what the plan skipped.
    pub session: Option<usize>,
    pub seed: Option<u64>,
    /// The command that runs it again, with its seed.
    pub again: Option<String>,
    pub verdict: Verdict,
    /// What the verdict comes to, given what was required and what was expected.
    pub standing: Standing,
    /// Why, unless passed.
    pub why: Option<String>,
    /// How it failed before it was run again; the last attempt is the case itself.
    pub attempts: Vec<Attempt>,
    /// Seconds since the start of the run.
    pub started: Option<f64>,
    pub took: f64,
    pub required: bool,
    /// Why a failure is expected.
    pub expected: Option<String>,
    pub console: Vec<String>,
    pub facts: Vec<Fact>,
    pub attachments: Vec<String>,
    pub alarms: Vec<Sighted>,
    pub notes: Vec<String>,
}

/// What a case's verdict comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Passed,
    /// Passed, though a failure was expected: told, but no failure.
    UnexpectedPass,
    /// Passed when it was run again, after it had failed: told, but no failure.
    Flaky,
    /// The same, where that is a failure (`--flaky fail`).
    FlakyFailure,
    Failed,
    /// Failed as the expected-failures file says: told, but no failure.
    ExpectedFailure,
    /// Skipped, though required: a failure.
    RequiredSkip,
    Broken,
    Skipped,
}

impl Standing {
    /// One word for tables; a failure shouts.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Passed => "pass",
            Standing::UnexpectedPass => "pass!",
            Standing::Flaky | Standing::FlakyFailure => "FLAKY",
            Standing::Failed | Standing::RequiredSkip => "FAIL",
            Standing::ExpectedFailure => "xfail",
            Standing::Broken => "BROKEN",
            Standing::Skipped => "skip",
        }
    }

    /// Whether the product is to blame, which sets the exit code.
    pub fn is_failure(self) -> bool {
        matches!(self, Standing::Failed | Standing::RequiredSkip | Standing::FlakyFailure)
    }

    /// Whether somebody must look at it.
    pub fn is_trouble(self) -> bool {
        self.is_failure() || self == Standing::Broken
    }
}

impl CaseReport {
    /// What is to be said of the case besides its standing; none for a plain pass.
    pub fn message(&self) -> Option<String> {
        let why = self.why.as_deref().unwrap_or("no reason was recorded");
        let expected = self.expected.as_deref().unwrap_or_default();
        match self.standing {
            Standing::Passed => None,
            Standing::UnexpectedPass => Some(format!(
                "passed, but was expected to fail ({expected}): take it off the expected failures"
            )),
            Standing::Flaky | Standing::FlakyFailure => Some(self.flaky()),
            Standing::ExpectedFailure => Some(format!("expected failure: {expected}: {why}")),
            Standing::RequiredSkip => Some(format!("required, but skipped: {why}")),
            Standing::Failed | Standing::Broken => Some(match &self.again {
                Some(again) => format!("{why}\nagain: {again}"),
                None => why.to_string(),
            }),
            Standing::Skipped => Some(why.to_string()),
        }
    }

    /// Whether it has no verdict about the product yet: broken, or not run because of something else.
    pub(crate) fn is_open(&self) -> bool {
        let not_run = self.why.as_deref().is_some_and(|why| why.starts_with(NOT_RUN));
        self.verdict == Verdict::Broken || (self.verdict == Verdict::Skip && not_run)
    }

    fn flaky(&self) -> String {
        let failed = match self.attempts.len() {
            1 => "failed once".to_string(),
            times => format!("failed {times} times"),
        };
        let why = self.attempts.last().map_or("", |attempt| attempt.why.as_str());
        format!("{failed}, then passed when it was run again: {why}")
    }
}

/// How many cases stand how; every case is counted exactly once, `unexpected_passes` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    /// Passed only when run again, and not counted as failures.
    pub flaky: usize,
    pub failed: usize,
    pub broken: usize,
    pub skipped: usize,
    pub expected_failures: usize,
    /// How many of `passed` were expected to fail.
    pub unexpected_passes: usize,
}

impl Totals {
    pub fn cases(&self) -> usize {
        let found = self.passed + self.flaky + self.failed;
        found + self.broken + self.skipped + self.expected_failures
    }

    fn count(&mut self, standing: Standing) {
        match standing {
            Standing::Passed => self.passed += 1,
            Standing::UnexpectedPass => {
                self.passed += 1;
                self.unexpected_passes += 1;
            }
            Standing::Flaky => self.flaky += 1,
            Standing::Failed | Standing::RequiredSkip | Standing::FlakyFailure => self.failed += 1,
            Standing::ExpectedFailure => self.expected_failures += 1,
            Standing::Broken => self.broken += 1,
            Standing::Skipped => self.skipped += 1,
        }
    }
}

/// `12 cases: 9 passed, 1 failed, 2 skipped`; what is nought is left out, save the passes.
impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.cases() == 1 { "" } else { "s" };
        write!(f, "{} case{plural}: {} passed", self.cases(), self.passed)?;
        if self.unexpected_passes > 0 {
            write!(f, " ({} unexpectedly)", self.unexpected_passes)?;
        }
        for (count, word) in [
            (self.flaky, "flaky"),
            (self.failed, "failed"),
            (self.broken, "broken"),
            (self.expected_failures, "failed as expected"),
            (self.skipped, "skipped"),
        ] {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.cases.iter().for_each(|case| totals.count(case.standing));
        totals
    }

    /// The cases that need not be run again: those with a verdict about the product, and those that
    /// were skipped for a reason of their own.
    pub fn settled(&self) -> impl Iterator<Item = &CaseId> {
        self.cases.iter().filter(|case| !case.is_open()).map(|case| &case.id)
    }

    pub fn session_of(&self, case: &CaseReport) -> Option<&Session> {
        case.session.and_then(|index| self.sessions.get(index))
    }
}

/// Several boards' reports as one, in the order of the boards' names.
#[derive(Clone, Debug)]
pub struct Merged<'r> {
    pub reports: Vec<&'r Report>,
}

impl<'r> Merged<'r> {
    pub fn new(reports: &'r [Report]) -> Merged<'r> {
        Merged::of(reports.iter().collect())
    }

    pub fn of(mut reports: Vec<&'r Report>) -> Merged<'r> {
        reports.sort_by(|a, b| a.board.cmp(&b.board));
        Merged { reports }
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let cases = self.reports.iter().flat_map(|report| &report.cases);
        cases.for_each(|case| totals.count(case.standing));
        totals
    }

    /// The process exit code these reports ask for. That nothing was selected at all is for the
    /// command line to say.
    pub fn exit_code(&self) -> u8 {
        let totals = self.totals();
        if self.reports.iter().any(|report| report.end == End::Interrupted) {
            exit::INTERRUPTED
        } else if totals.failed > 0 {
            exit::FAILED
        } else if totals.broken > 0 {
            exit::BROKEN
        } else {
            exit::OK
        }
    }
}

/// A report with the directory its attachments lie in, relative to the file being written.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'r> {
    pub report: &'r Report,
    /// Empty for the board's own directory.
    pub under: &'r str,
}

impl Placed<'_> {
    pub fn path(&self, attachment: &str) -> String {
        match self.under {
            "" => attachment.to_string(),
            under => format!("{under}/{attachment}"),
        }
    }
}
