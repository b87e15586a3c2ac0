//! Made-up runs: a plan and what happened, event by event.

use hil_core::case::Isolation;
use hil_core::event::{Event, SCHEMA, What};
use hil_core::parts::{Alarm, CutPolicy, CutReport};
use hil_core::plan::{BoardPlan, CaseId, PlannedCase, PlannedSkip, Retries, SessionPlan, Terms};
use hil_core::rules::Rules;
use hil_core::stage::Stage;
use hil_core::verdict::Verdict;

pub(crate) fn id(text: &str) -> CaseId {
    let (suite, name) = text.split_once('/').unwrap();
    let (name, round) = name.split_once('#').unwrap_or((name, "1"));
    CaseId { suite: suite.into(), name: name.into(), round: round.parse().unwrap() }
}

/// `boot/ready`, `boot/ready!` where required, `boot/ready?why` where expected to fail.
fn planned(text: &str) -> PlannedCase {
    let (text, expected) = match text.split_once('?') {
        Some((text, why)) => (text, Some(why.to_string())),
        None => (text, None),
    };
    let name = text.trim_end_matches('!');
    let cuts = Vec::new();
    let (required, deadline_s) = (name != text, 60.0);
    let isolation = Isolation::Shared;
    PlannedCase { id: id(name), seed: 7, deadline_s, isolation, required, expected, cuts }
}

pub(crate) fn plan(board: &str, sessions: &[(&str, &[&str])], skips: &[(&str, &str)]) -> BoardPlan {
    let session = |(image, cases): &(&str, &[&str])| SessionPlan {
        image: image.to_string(),
        system: image.to_string(),
        digest: "sha256:00".into(),
        cases: cases.iter().map(|case| planned(case)).collect(),
    };
    let skip = |(name, reason): &(&str, &str)| PlannedSkip {
        id: id(name.trim_end_matches('!')),
        reason: reason.to_string(),
        required: name.ends_with('!'),
    };
    BoardPlan {
        terms: Terms::default(),
        envelope: None,
        board: board.into(),
        seed: 42,
        sessions: sessions.iter().map(session).collect(),
        skips: skips.iter().map(skip).collect(),
        retries: Retries::default(),
        rules: Rules::default(),
        share: None,
        again: String::new(),
    }
}

/// A run as it goes on; each step is an event 0.25 s after the one before.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
}

impl Run {
    pub(crate) fn of(plan: BoardPlan) -> Run {
        let what = What::RunStarted {
            schema: SCHEMA,
            hil: "0.1.0".into(),
            started: "2026-11-23T10:00:00Z".into(),
            host: "builder, 2 cores".into(),
            plan,
        };
        Run { events: vec![Event { t: 0.0, what }] }
    }

    pub(crate) fn then(mut self, what: What) -> Run {
        let t = self.events.len() as f64 * 0.25;
        self.events.push(Event { t, what });
        self
    }

    pub(crate) fn session(self, image: &str) -> Run {
        let (power, medium) = ("QEMU 10.0.2 (tcg)".into(), "virtio-wb".into());
        self.then(What::SessionStarted { image: image.into(), power, medium }).then(What::PowerOn)
    }

    pub(crate) fn stage(self, stage: Stage, took: f64) -> Run {
        self.then(What::StageReached { stage, took })
    }

    pub(crate) fn booted(self) -> Run {
        self.stage(Stage::Firmware, 0.4)
            .stage(Stage::Bootloader, 1.25)
            .stage(Stage::Kernel, 3.5)
            .stage(Stage::Userspace, 12.0)
            .stage(Stage::Ready, 31.4)
    }

    pub(crate) fn failed_bring_up(self, verdict: Verdict, why: &str) -> Run {
        let console = vec!["U-Boot 2023.01".into(), "no valid slot".into()];
        self.then(What::BringUpFailed { verdict, why: why.into(), console })
    }

    pub(crate) fn begin(self, case: &str) -> Run {
        self.then(What::CaseStarted { case: id(case) })
    }

    pub(crate) fn end(
        self,
        case: &str,
        verdict: Verdict,
        why: Option<&str>,
        console: &[&str],
    ) -> Run {
        self.then(What::CaseFinished {
            case: id(case),
            verdict,
            why: why.map(Into::into),
            took: 1.5,
            console: console.iter().map(|line| line.to_string()).collect(),
        })
    }

    pub(crate) fn pass(self, case: &str) -> Run {
        self.begin(case).end(case, Verdict::Pass, None, &[])
    }

    pub(crate) fn fail(self, case: &str, why: &str) -> Run {
        self.begin(case).end(case, Verdict::Fail, Some(why), &["last words"])
    }

    pub(crate) fn test(self, case: &str, name: &str, verdict: Verdict) -> Run {
        let why = (verdict != Verdict::Pass).then(|| format!("{name} said why"));
        self.then(What::Subtest { case: id(case), name: name.into(), verdict, why, expected: None })
    }

    pub(crate) fn again(self, case: &str, attempt: u32) -> Run {
        self.then(What::CaseRetried { case: id(case), attempt })
    }

    pub(crate) fn skip(self, case: &str, why: &str) -> Run {
        self.end(case, Verdict::Skip, Some(why), &[])
    }

    pub(crate) fn note(self, text: &str) -> Run {
        self.then(What::Note { text: text.into() })
    }

    pub(crate) fn session_ended(self) -> Run {
        self.then(What::PowerOff).then(What::SessionEnded { took: 40.0 })
    }

    pub(crate) fn finished(self) -> Run {
        self.then(What::RunFinished { interrupted: false, took: 99.5 })
    }
}

/// A run with one of everything, which came to its end.
pub(crate) fn whole(board: &str) -> Run {
    let mini: &[&str] = &["boot/ready!", "boot/clock", "boot/taint?bug 12", "boot/slot?bug 13"];
    let full: &[&str] = &["containers/run", "containers/logs", "boot/units"];
    let skips = &[("ota/rollback", "needs updater: no [updater.…] in image.toml")];
    let fact = |case: Option<&str>, name: &str, value: f64| What::Fact {
        case: case.map(id),
        name: name.into(),
        value,
        unit: "s".into(),
    };
    let oops = What::Alarm { alarm: Alarm::Oops, line: "Oops: 0002 [#1]".into(), offset: 512 };
    let cut = CutReport { pending: 9, kept: 4, dropped: 3, torn: 2, timing: None };
    Run::of(plan(board, &[("demo-os mini", mini), ("demo-os full", full)], skips))
        .note("KVM is there but broken: falling back to TCG")
        .session("demo-os mini")
        .booted()
        .then(fact(None, "boot to ready", 0.1 + 0.2))
        .begin("boot/ready")
        .then(fact(Some("boot/ready"), "login", 1.0 / 3.0))
        .end("boot/ready", Verdict::Pass, None, &[])
        .fail("boot/clock", "the clock is 1970-01-01\nexpected 2026")
        .fail("boot/taint", "tainted: 512")
        .pass("boot/slot")
        .session_ended()
        .session("demo-os full")
        .booted()
        .begin("containers/run")
        .then(oops)
        .note("the console was slow")
        .then(What::Attachment { case: id("containers/run"), path: "run/strace.txt".into() })
        .end("containers/run", Verdict::Broken, Some("QEMU died: signal 9"), &["a", "b"])
        .then(What::PowerCut { policy: CutPolicy::Subset, seed: 5, report: cut, point: None })
        .skip("containers/logs", "not run: QEMU died: signal 9")
        .skip("boot/units", "not run: QEMU died: signal 9")
        .session_ended()
        .finished()
}
