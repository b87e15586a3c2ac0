//! `fold(events) -> Report`: what happened, gathered by session and case. Pure.
//!
//! It only gathers; what is to be made of cases without a result is `verdicts`'.

use std::collections::BTreeMap;

use hil_core::event::{Event, What};
use hil_core::plan::{BoardPlan, CaseId, PlannedCase, PlannedSkip, SessionPlan};
use hil_core::rules::Rules;
use hil_core::stage::Stage;
use hil_core::verdict::Verdict;

use crate::report::{
    Attempt, Boot, BringUp, CaseReport, Cut, End, Fact, Report, Session, Sighted, Standing,
};
use crate::verdicts;

/// Of a storm of kernel messages, the first tell the story.
const MOST_ALARMS: usize = 50;

/// Finishes the sentence "failed to …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("find out what ran: there is no whole event, hil died before it began")]
    Empty,
    #[error("find out what ran: the first event is not the start of a run")]
    NoStart,
    #[error("tell runs apart: event {0} starts a second run in the same file")]
    SecondRun(usize),
}

/// What became of a case so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    NotReached,
    Running,
    Finished,
}

/// A report in the making, with what only its making needs.
pub(crate) struct Folding {
    pub(crate) report: Report,
    /// Beside `report.cases`, index by index.
    pub(crate) progress: Vec<Progress>,
    /// The session that has its rig now.
    pub(crate) session: Option<usize>,
    /// The case that runs now.
    pub(crate) case: Option<usize>,
    /// The time of the last event.
    pub(crate) last: f64,
    /// What could not be switched off or made safe, and why.
    pub(crate) left_unsafe: Vec<String>,
    /// Tests within cases, by the case's index: each attempt's, the last one's last.
    pub(crate) subtests: BTreeMap<usize, Vec<Vec<CaseReport>>>,
    pub(crate) rules: Rules,
}

/// Makes the report of the events of one board's run, however far it came.
pub fn fold(events: &[Event]) -> Result<Report, FoldError> {
    let (first, rest) = events.split_first().ok_or(FoldError::Empty)?;
    let What::RunStarted { schema: _, hil, started, host, plan } = &first.what else {
        return Err(FoldError::NoStart);
    };
    let mut folding = Folding::planned(plan);
    folding.report.hil.clone_from(hil);
    folding.report.started.clone_from(started);
    folding.report.host.clone_from(host);
    for (index, event) in rest.iter().enumerate() {
        if matches!(event.what, What::RunStarted { .. }) {
            return Err(FoldError::SecondRun(index + 2));
        }
        folding.last = folding.last.max(event.t);
        folding.take(event);
    }
    Ok(verdicts::conclude(folding))
}

/// A run of this plan by this version of hil, before anything has happened.
pub fn report_of_plan(plan: &BoardPlan, hil: &str) -> Report {
    Report { hil: hil.into(), ..Folding::planned(plan).report }
}

impl Folding {
    /// Every case of the plan, before anything has happened.
    fn planned(plan: &BoardPlan) -> Folding {
        let mut folding = Folding {
            report: empty(plan),
            progress: Vec::new(),
            session: None,
            case: None,
            last: 0.0,
            left_unsafe: Vec::new(),
            subtests: BTreeMap::new(),
            rules: plan.rules.clone(),
        };
        for (index, session) in plan.sessions.iter().enumerate() {
            let SessionPlan { image, system, digest, cases: _ } = session.clone();
            folding.report.sessions.push(Session { image, system, digest, ..Session::default() });
            for case in &session.cases {
                let planned =
                    CaseReport { again: plan.again_for(case), ..planned_case(case, index) };
                folding.push(planned, Progress::NotReached);
            }
        }
        for skip in &plan.skips {
            folding.push(planned_skip(skip), Progress::Finished);
        }
        folding
    }

    fn push(&mut self, case: CaseReport, progress: Progress) -> usize {
        self.report.cases.push(case);
        self.progress.push(progress);
        self.progress.len() - 1
    }

    fn take(&mut self, event: &Event) {
        match &event.what {
            What::RunStarted { .. } => {}
            What::Note { text } => self.note(text),
            What::SessionStarted { image, power, medium } => {
                self.start_session(event.t, image, power, medium);
            }
            What::SessionEnded { took } => {
                if let Some(index) = self.session.take() {
                    self.report.sessions[index].took = Some(*took);
                }
            }
            What::LeftUnsafe { why } => self.left_unsafe.push(why.clone()),
            What::BringUpFailed { verdict, why, console } => {
                let (why, console) = (why.clone(), console.clone());
                self.session_mut().bring_up = Some(BringUp { verdict: *verdict, why, console });
            }
            What::PowerOn => self.session_mut().boots.push(Boot::default()),
            // Told by the session's power and medium; the times stand in the events.
            What::PowerOff | What::Flashed { .. } | What::SshAnswered { .. } => {}
            What::Saved { how, took: _ } => self.session_mut().saved = Some(how.clone()),
            What::Forked { .. } => self.session_mut().forks += 1,
            What::PowerCut { policy, seed, report, point } => {
                let (policy, seed, report) = (*policy, *seed, report.clone());
                let cut = Cut { policy, seed, report, point: point.clone() };
                self.session_mut().cuts.push(cut);
            }
            What::StageReached { stage, took } => self.reach(*stage, *took),
            What::Alarm { alarm, line, offset } => {
                self.alarm(Sighted { alarm: *alarm, line: line.clone(), offset: *offset });
            }
            What::CaseRetried { case, attempt: _ } => self.retry(case),
            What::CaseStarted { case } => self.start_case(event.t, case),
            What::Fact { case, name, value, unit } => {
                let fact = Fact { name: name.clone(), value: *value, unit: unit.clone() };
                self.fact(case.as_ref(), fact);
            }
            What::Subtest { case, name, verdict, why, expected } => {
                self.subtest(case, name, *verdict, why.as_ref(), expected.as_ref());
            }
            What::Attachment { case, path } => {
                let index = self.find(case);
                self.report.cases[index].attachments.push(path.clone());
            }
            What::CaseFinished { case, verdict, why, took, console } => {
                let index = self.finish_case(case);
                let case = &mut self.report.cases[index];
                (case.verdict, case.took) = (*verdict, *took);
                (case.why, case.console) = (why.clone(), console.clone());
            }
            What::RunFinished { interrupted, took } => {
                self.report.end = if *interrupted { End::Interrupted } else { End::Finished };
                self.report.took = *took;
            }
        }
    }

    fn note(&mut self, text: &str) {
        match self.case {
            Some(index) => self.report.cases[index].notes.push(text.into()),
            None => self.report.notes.push(text.into()),
        }
    }

    fn start_session(&mut self, t: f64, image: &str, power: &str, medium: &str) {
        let sessions = &mut self.report.sessions;
        let fresh = |s: &Session| s.image == image && s.started.is_none() && s.bring_up.is_none();
        let known = sessions.iter().position(fresh).or_else(|| {
            // The same session once more, on a new rig.
            sessions.iter().rposition(|session| session.image == image)
        });
        let index = known.unwrap_or_else(|| {
            sessions.push(Session { image: image.into(), ..Session::default() });
            sessions.len() - 1
        });
        let session = &mut sessions[index];
        session.started = session.started.or(Some(t));
        (session.power, session.medium) = (power.into(), medium.into());
        self.session = Some(index);
    }

    /// The session an event belongs to: the one that has its rig, or the next that waits for it,
    /// since preparing an image or finding a rig fails before there is one.
    fn session_mut(&mut self) -> &mut Session {
        let sessions = &mut self.report.sessions;
        let waiting = || sessions.iter().position(|s| s.started.is_none() && s.bring_up.is_none());
        let index = self.session.or_else(waiting).unwrap_or_else(|| sessions.len().max(1) - 1);
        if sessions.is_empty() {
            sessions.push(Session::default());
        }
        &mut sessions[index]
    }

    fn reach(&mut self, stage: Stage, took: f64) {
        let boots = &mut self.session_mut().boots;
        let again = |boot: &Boot| boot.stages.last().is_some_and(|(last, _)| *last >= stage);
        match boots.last().map(again) {
            None => boots.push(Boot::default()),
            Some(true) => boots.push(Boot { reset: true, stages: Vec::new() }),
            Some(false) => {}
        }
        if let Some(boot) = boots.last_mut() {
            boot.stages.push((stage, took));
        }
    }

    fn alarm(&mut self, sighted: Sighted) {
        let alarms = match self.case {
            Some(index) => &mut self.report.cases[index].alarms,
            None => &mut self.session_mut().alarms,
        };
        if alarms.len() < MOST_ALARMS {
            alarms.push(sighted);
        }
    }

    fn fact(&mut self, case: Option<&CaseId>, fact: Fact) {
        match case {
            Some(id) => {
                let index = self.find(id);
                self.report.cases[index].facts.push(fact);
            }
            None => self.session_mut().facts.push(fact),
        }
    }

    fn subtest(
        &mut self,
        of: &CaseId,
        name: &str,
        verdict: Verdict,
        why: Option<&String>,
        expected: Option<&String>,
    ) {
        let parent = self.find(of);
        let id = of.clone().within(name);
        let plain = format!("{}/{}", id.suite, id.name);
        let rule = self.rules.expects(&format!("{}/{plain}", self.report.board));
        let case = CaseReport {
            verdict,
            why: why.cloned(),
            required: self.rules.requires(&plain),
            expected: expected.map(String::as_str).or(rule).map(String::from),
            started: Some(self.last),
            ..unplanned_case(&id, self.report.cases[parent].session)
        };
        let attempts = self.subtests.entry(parent).or_insert_with(|| vec![Vec::new()]);
        if let Some(last) = attempts.last_mut() {
            last.push(case);
        }
    }

    fn start_case(&mut self, t: f64, id: &CaseId) {
        let index = self.next(id, Progress::NotReached);
        self.report.cases[index].started = Some(t);
        self.progress[index] = Progress::Running;
        self.case = Some(index);
    }

    /// The failure just recorded was no last word.
    fn retry(&mut self, id: &CaseId) {
        let index = self.find(id);
        if self.progress[index] != Progress::Finished {
            return;
        }
        let case = &mut self.report.cases[index];
        let (why, took) = (case.why.take(), std::mem::take(&mut case.took));
        let console = std::mem::take(&mut case.console);
        // It may have passed itself while a test within it failed.
        if case.verdict == Verdict::Fail {
            case.attempts.push(Attempt { why: why.unwrap_or_default(), took, console });
        }
        if let Some(attempts) = self.subtests.get_mut(&index) {
            attempts.push(Vec::new());
        }
        // Figures of a failed attempt would stand beside those of the next.
        case.facts.clear();
        case.verdict = Verdict::Skip;
        self.progress[index] = Progress::NotReached;
    }

    fn finish_case(&mut self, id: &CaseId) -> usize {
        let running = self.case.filter(|&index| self.report.cases[index].id == *id);
        let index = running.unwrap_or_else(|| self.next(id, Progress::NotReached));
        self.progress[index] = Progress::Finished;
        if running.is_some() {
            self.case = None;
        }
        index
    }

    /// The first case of this name that has come this far. One the plan does not know is added
    /// rather than lost.
    fn next(&mut self, id: &CaseId, progress: Progress) -> usize {
        let fits =
            |&index: &usize| self.report.cases[index].id == *id && self.progress[index] == progress;
        match (0..self.progress.len()).find(fits) {
            Some(index) => index,
            None => self.push(unplanned_case(id, self.session), Progress::NotReached),
        }
    }

    /// The case something is told of: the running one, or the last of this name.
    fn find(&mut self, id: &CaseId) -> usize {
        let cases = &self.report.cases;
        let running = self.case.filter(|&index| cases[index].id == *id);
        match running.or_else(|| cases.iter().rposition(|case| case.id == *id)) {
            Some(index) => index,
            None => self.push(unplanned_case(id, self.session), Progress::NotReached),
        }
    }
}

fn empty(plan: &BoardPlan) -> Report {
    Report {
        board: plan.board.clone(),
        host: String::new(),
        hil: String::new(),
        started: String::new(),
        seed: plan.seed,
        terms: plan.terms,
        rules: plan.rules.clone(),
        envelope: plan.envelope,
        retries: plan.retries,
        share: plan.share.clone(),
        took: 0.0,
        sessions: Vec::new(),
        cases: Vec::new(),
        notes: plan.envelope.iter().map(|it| format!("in an envelope of {it}")).collect(),
        end: End::Died,
    }
}

fn planned_case(case: &PlannedCase, session: usize) -> CaseReport {
    CaseReport {
        seed: Some(case.seed),
        required: case.required,
        expected: case.expected.clone(),
        ..unplanned_case(&case.id, Some(session))
    }
}

fn planned_skip(skip: &PlannedSkip) -> CaseReport {
    CaseReport {
        required: skip.required,
        why: Some(skip.reason.clone()),
        ..unplanned_case(&skip.id, None)
    }
}

pub(crate) fn unplanned_case(id: &CaseId, session: Option<usize>) -> CaseReport {
    CaseReport {
        id: id.clone(),
        session,
        seed: None,
        again: None,
        verdict: Verdict::Skip,
        standing: Standing::Skipped,
        why: None,
        attempts: Vec::new(),
        started: None,
        took: 0.0,
        required: false,
        expected: None,
        console: Vec::new(),
        facts: Vec::new(),
        attachments: Vec::new(),
        alarms: Vec::new(),
        notes: Vec::new(),
    }
}
