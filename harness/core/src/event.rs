//! What happened, on one monotonic clock: the only thing reports are made from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::parts::{Alarm, CutPolicy, CutReport};
use crate::plan::{BoardPlan, CaseId};
use crate::stage::Stage;
use crate::verdict::Verdict;

/// The format version of `events.jsonl`, written in its first event.
pub const SCHEMA: u32 = 1;

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the start of the run.
    pub t: f64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Always the first line. The plan is in it, so that a killed run still has every case.
    RunStarted {
        schema: u32,
        hil: String,
        /// Wall-clock start, RFC 3339, UTC.
        started: String,
        host: String,
        plan: BoardPlan,
    },
    /// Something the reader of the report must know: a fallback, a warning.
    Note {
        text: String,
    },
    /// A session has its rig: one image booted on one board.
    SessionStarted {
        image: String,
        power: String,
        medium: String,
    },
    /// The image was written to a physical board's medium: how, how many bytes, in how many
    /// seconds, reading back included.
    Flashed {
        how: String,
        bytes: u64,
        took: f64,
    },
    /// A stage was recognised on the console; `took` seconds since power-on.
    StageReached {
        stage: Stage,
        took: f64,
    },
    /// The board that is ready was saved, to start cases from forks of it: how, in how many seconds.
    Saved {
        how: String,
        took: f64,
    },
    /// A fork of the saved board runs: seconds from the wish for it until its guest ran on, and
    /// until it had answered its first command.
    Forked {
        running: f64,
        answered: f64,
    },
    /// The first command over SSH on a fork has ended: after how many seconds, login included.
    SshAnswered {
        took: f64,
    },
    PowerOn,
    PowerOff,
    PowerCut {
        policy: CutPolicy,
        seed: u64,
        report: CutReport,
        /// Where in the case's work it was, as the plan has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        point: Option<String>,
    },
    /// A kernel message that tells of trouble, `offset` in the captured console.
    Alarm {
        alarm: Alarm,
        line: String,
        offset: u64,
    },
    /// The board could not be brought up: the session's cases are not run.
    BringUpFailed {
        verdict: Verdict,
        why: String,
        console: Vec<String>,
    },
    SessionEnded {
        took: f64,
    },
    /// The board could not be brought into the state it is to be left in: somebody must go and see.
    LeftUnsafe {
        why: String,
    },
    /// The case failed and is run again, for the `attempt`-th time (from 2), on a board that is
    /// started anew for it.
    CaseRetried {
        case: CaseId,
        attempt: u32,
    },
    /// Written before the body runs.
    CaseStarted {
        case: CaseId,
    },
    /// A measured figure; `case` is absent where it belongs to the session's boot.
    Fact {
        case: Option<CaseId>,
        name: String,
        value: f64,
        unit: String,
    },
    /// A test within a case that runs tests of its own, whose names the plan does not know.
    Subtest {
        case: CaseId,
        name: String,
        verdict: Verdict,
        /// Why, unless passed.
        why: Option<String>,
        /// Why it says itself that it may fail.
        expected: Option<String>,
    },
    /// A file beside the events, by its path relative to them.
    Attachment {
        case: CaseId,
        path: String,
    },
    CaseFinished {
        case: CaseId,
        verdict: Verdict,
        /// Why, unless passed.
        why: Option<String>,
        took: f64,
        /// The console's last lines, unless passed.
        console: Vec<String>,
    },
    /// The last line of a run that came to its end.
    RunFinished {
        interrupted: bool,
        took: f64,
    },
}

/// The run's monotonic clock; every time stamp is taken from it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    #[expect(clippy::new_without_default, reason = "a clock that starts by default is a surprise")]
    pub fn new() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Something in progress, for whoever is watching; not recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Doing {
    pub board: String,
    pub what: String,
    /// Done and total, in bytes or steps.
    pub of: Option<(u64, u64)>,
}

/// Takes events: the writer of `events.jsonl`, the terminal view.
pub trait Sink: Send + Sync {
    fn event(&self, board: &str, event: &Event);
    fn doing(&self, _doing: &Doing) {}
}

/// A board's pen: stamps what happens and hands it to the sinks.
#[derive(Clone)]
pub struct Journal {
    board: Arc<str>,
    clock: Clock,
    sinks: Arc<[Arc<dyn Sink>]>,
}

impl Journal {
    pub fn new(board: &str, clock: Clock, sinks: Vec<Arc<dyn Sink>>) -> Journal {
        Journal { board: board.into(), clock, sinks: sinks.into() }
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn record(&self, what: What) {
        self.record_at(self.clock.now(), what);
    }

    /// For what was noticed later than it happened (a console line's own stamp).
    pub fn record_at(&self, at: Duration, what: What) {
        let t = (at.as_secs_f64() * 1e6).round() / 1e6;
        let event = Event { t, what };
        for sink in self.sinks.iter() {
            sink.event(&self.board, &event);
        }
    }

    pub fn note(&self, text: impl Into<String>) {
        self.record(What::Note { text: text.into() });
    }

    pub fn doing(&self, what: impl Into<String>, of: Option<(u64, u64)>) {
        let doing = Doing { board: self.board.to_string(), what: what.into(), of };
        for sink in self.sinks.iter() {
            sink.doing(&doing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_reads_back() {
        let event = Event { t: 1.25, what: What::StageReached { stage: Stage::Kernel, took: 0.5 } };
        let line = toml::to_string(&event).unwrap();
        assert_eq!(toml::from_str::<Event>(&line).unwrap(), event);
        assert!(line.contains("stage-reached"), "{line}");
    }
}
