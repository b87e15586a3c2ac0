//! What the live view shows, as text: the state of each board and the lines made of it.
//!
//! No terminal here; `live` draws.

use std::time::{Duration, Instant};

use hil_core::event::{Doing, Event, What};
use hil_core::plan::{BoardPlan, CaseId};
use hil_core::verdict::Verdict;

use crate::report::Standing;
use crate::safe_text::{clip, seconds, terminal, width};
use crate::table::painted;

/// The boards at work, in the order they were first heard of.
#[derive(Default)]
pub(crate) struct View {
    boards: Vec<Board>,
}

struct Board {
    name: String,
    /// What it is at, when it is not a case: an image, a stage.
    state: String,
    plan: Option<BoardPlan>,
    /// More than its plan was heard of it: its turn has come.
    begun: bool,
    finished: usize,
    case: Option<CaseId>,
    /// Since the present state or case began.
    since: Instant,
    doing: Option<Doing>,
    doing_told: Option<Instant>,
    over: bool,
}

impl View {
    fn board(&mut self, name: &str) -> &mut Board {
        let known = self.boards.iter().position(|board| board.name == name);
        let index = known.unwrap_or_else(|| {
            self.boards.push(Board::new(name));
            self.boards.len() - 1
        });
        &mut self.boards[index]
    }

    /// Takes an event in, and gives the line that is worth keeping on the screen, if any. Where
    /// nothing is redrawn (`plain`), that is also each stage and the start of a session.
    pub(crate) fn event(
        &mut self,
        board: &str,
        event: &Event,
        plain: bool,
        colour: bool,
    ) -> Vec<String> {
        let name = terminal(board, 40);
        let line = self.board(board).event(event, plain, colour);
        line.map(|line| format!("{name}  {line}")).into_iter().collect()
    }

    pub(crate) fn doing(&mut self, doing: &Doing) {
        let board = self.board(&doing.board);
        board.begin();
        board.doing = Some(doing.clone());
    }

    /// The line of what a board is at, unless one was told within the span `every`.
    pub(crate) fn doing_line(&mut self, name: &str, every: Duration) -> Option<String> {
        let now = Instant::now();
        let board = self.board(name);
        let recently = |told: Instant| now.saturating_duration_since(told) < every;
        if board.doing_told.is_some_and(recently) {
            return None;
        }
        board.doing_told = Some(now);
        let doing = board.doing.as_ref()?;
        let part = doing.of.map(|of| format!(" {}", part(of))).unwrap_or_default();
        Some(format!("{}  {}{part}", terminal(name, 40), terminal(&doing.what, 120)))
    }

    /// One line a board that is at work, each at most `columns` wide, `most` lines in all.
    pub(crate) fn lines(&self, columns: usize, most: usize) -> Vec<String> {
        let going: Vec<&Board> = self.boards.iter().filter(|board| !board.over).collect();
        let begun: Vec<&Board> = going.iter().copied().filter(|board| board.begun).collect();
        // Those that wait for their turn are not at work; before anything is, they are all there is.
        let busy = if begun.is_empty() { going } else { begun };
        let widest = busy.iter().map(|b| width(&terminal(&b.name, 24))).max().unwrap_or(0);
        let shown = if busy.len() > most { most.saturating_sub(1) } else { busy.len() };
        let mut lines: Vec<String> =
            busy.iter().take(shown).map(|board| board.line(widest, columns)).collect();
        if shown < busy.len() {
            lines.push(clip(&format!("… and {} more boards", busy.len() - shown), columns));
        }
        lines
    }
}

impl Board {
    fn new(name: &str) -> Board {
        Board {
            name: name.into(),
            state: "preparing".into(),
            plan: None,
            begun: false,
            finished: 0,
            case: None,
            since: Instant::now(),
            doing: None,
            doing_told: None,
            over: false,
        }
    }

    fn begin(&mut self) {
        if !self.begun {
            (self.begun, self.since) = (true, Instant::now());
        }
    }

    fn at(&mut self, state: impl Into<String>) {
        self.state = state.into();
        self.doing = None;
    }

    fn event(&mut self, event: &Event, plain: bool, colour: bool) -> Option<String> {
        if let What::RunStarted { plan, .. } = &event.what {
            self.plan = Some(plan.clone());
            return None;
        }
        self.begin();
        match &event.what {
            What::RunStarted { .. } => None,
            What::Note { text } => Some(format!("note: {}", terminal(text, 300))),
            What::SessionStarted { image, power, medium } => {
                (self.since, self.case) = (Instant::now(), None);
                let image = terminal(image, 60);
                let how = format!("{}, medium {}", terminal(power, 60), terminal(medium, 40));
                self.at(format!("booting {image}"));
                plain.then(|| format!("booting {image} ({how})"))
            }
            What::Flashed { how, took, .. } => {
                plain.then(|| format!("flashed in {}: {}", seconds(*took), terminal(how, 120)))
            }
            What::StageReached { stage, took } => {
                if self.case.is_none() {
                    self.at(stage.name());
                }
                plain.then(|| format!("reached {stage} after {}", seconds(*took)))
            }
            What::Alarm { alarm, line, .. } => {
                Some(format!("{}: {}", alarm.name(), terminal(line, 160)))
            }
            What::PowerCut { policy, point, .. } => plain.then(|| {
                let point = point.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
                format!("power cut{point} ({})", policy.name())
            }),
            What::BringUpFailed { verdict, why, .. } => {
                self.at("did not come up");
                let standing = standing(*verdict, false);
                let word = painted(standing, standing.word(), colour);
                Some(format!("bring-up  {word}  {}", terminal(why, 300)))
            }
            What::CaseStarted { case } => {
                (self.since, self.doing) = (Instant::now(), None);
                self.case = Some(case.clone());
                None
            }
            What::CaseRetried { case, attempt } => {
                self.finished = self.finished.saturating_sub(1);
                self.at("booting anew");
                let case = terminal(&case.to_string(), 80);
                Some(format!("{case} failed and is run again: attempt {attempt}"))
            }
            What::CaseFinished { case, verdict, why, took, .. } => {
                Some(self.finish(case, *verdict, why.as_deref(), *took, colour))
            }
            What::LeftUnsafe { why } => {
                let standing = standing(Verdict::Broken, false);
                let word = painted(standing, standing.word(), colour);
                Some(format!("safe state  {word}  {}", terminal(why, 300)))
            }
            What::SessionEnded { .. } => {
                self.at("powering off");
                None
            }
            What::RunFinished { interrupted, .. } => {
                self.over = true;
                interrupted.then(|| "interrupted".to_string())
            }
            What::Saved { how, took } => {
                plain.then(|| format!("saved in {took:.2} s ({})", terminal(how, 60)))
            }
            What::Forked { .. } | What::SshAnswered { .. } => None,
            What::Subtest { case, name, verdict, why, expected } => {
                let standing = standing(*verdict, expected.is_some());
                let word = painted(standing, standing.word(), colour);
                let id = terminal(&format!("{case}/{name}"), 100);
                let why = why.as_ref().map(|why| format!("  {}", terminal(why, 300)));
                let why = why.unwrap_or_default();
                (plain || standing.is_trouble()).then(|| format!("{id}  {word}{why}"))
            }
            What::PowerOn | What::PowerOff | What::Fact { .. } | What::Attachment { .. } => None,
        }
    }

    fn finish(
        &mut self,
        case: &CaseId,
        verdict: Verdict,
        why: Option<&str>,
        took: f64,
        colour: bool,
    ) -> String {
        self.finished += 1;
        (self.case, self.doing) = (None, None);
        self.since = Instant::now();
        let planned = self.plan.iter().flat_map(|plan| &plan.sessions).flat_map(|s| &s.cases);
        let mut planned = planned.filter(|planned| planned.id == *case);
        let expected = planned.any(|planned| planned.expected.is_some());
        let standing = standing(verdict, expected);
        let word = painted(standing, standing.word(), colour);
        let (count, id) = (self.count(self.finished), terminal(&case.to_string(), 80));
        let why = why.map(|why| format!("  {}", terminal(why, 300))).unwrap_or_default();
        format!("{count}  {id}  {word}  {}{why}", seconds(took))
    }

    fn count(&self, nth: usize) -> String {
        match &self.plan {
            Some(plan) => format!("{nth}/{}", plan.cases()),
            None => nth.to_string(),
        }
    }

    fn line(&self, widest: usize, columns: usize) -> String {
        let name = terminal(&self.name, 24);
        let gap = " ".repeat(widest.saturating_sub(width(&name)) + 2);
        let at = match &self.case {
            Some(case) => {
                format!("  {}  {}", self.count(self.finished + 1), terminal(&case.to_string(), 60))
            }
            // What it is doing says more than where it is, and 80 columns are few.
            None if self.doing.is_some() => String::new(),
            None => format!("  {}", self.state),
        };
        let doing = match &self.doing {
            Some(Doing { what, of: Some(of), .. }) => {
                format!("  {} {} {}", terminal(what, 60), meter(*of), part(*of))
            }
            Some(Doing { what, of: None, .. }) => format!("  {}", terminal(what, 60)),
            None => String::new(),
        };
        let elapsed = seconds(self.since.elapsed().as_secs().min(360_000) as f64);
        let elapsed = elapsed.strip_suffix(".0s").map(|s| format!("{s}s")).unwrap_or(elapsed);
        // The time stands before what may be long, so that clipping never takes it.
        clip(&format!("{name}{gap}{elapsed:>6}{at}{doing}"), columns)
    }
}

/// What a verdict will come to, as far as it is known while the run goes on.
fn standing(verdict: Verdict, expected: bool) -> Standing {
    match (verdict, expected) {
        (Verdict::Pass, false) => Standing::Passed,
        (Verdict::Pass, true) => Standing::UnexpectedPass,
        (Verdict::Fail, false) => Standing::Failed,
        (Verdict::Fail, true) => Standing::ExpectedFailure,
        (Verdict::Broken, _) => Standing::Broken,
        (Verdict::Skip, _) => Standing::Skipped,
    }
}

/// `45% 117/260 MiB`; small numbers are steps: `3/12`.
fn part((done, total): (u64, u64)) -> String {
    let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(100).min(100);
    match total {
        0..=9999 => format!("{percent}% {done}/{total}"),
        10_000..=9_999_999 => format!("{percent}% {}/{} KiB", done >> 10, total >> 10),
        _ => format!("{percent}% {}/{} MiB", done >> 20, total >> 20),
    }
}

fn meter((done, total): (u64, u64)) -> String {
    const CELLS: u128 = 12;
    let full = (u128::from(done) * CELLS).checked_div(u128::from(total)).unwrap_or(CELLS);
    let full = full.min(CELLS) as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(CELLS as usize - full))
}
