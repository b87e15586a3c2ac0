//! An event with its secrets hidden and its figures storable, as every sink must take it.
//!
//! Field by field rather than over the JSON: a secret that happens to read `pass` or `kernel` must
//! not turn the words of the format itself into stars.

use hil_core::event::{Event, What};
use hil_core::mask::Masker;
use hil_core::plan::{BoardPlan, CaseId};

/// The event as it may leave the process.
pub(crate) fn fit_to_store(event: &Event, masker: &Masker) -> Event {
    let mut event = event.clone();
    event.t = finite(event.t);
    let mut hide = |text: &mut String| {
        if let std::borrow::Cow::Owned(masked) = masker.text(text) {
            *text = masked;
        }
    };
    event.what = match event.what {
        // JSON has no such number; as a note it can be read back, as a figure it could not.
        What::Fact { case, name, value, unit } if !value.is_finite() => {
            let of = case.map(|id| format!(" of {id}")).unwrap_or_default();
            let mut text = format!("the figure {name}{of} is {value} {unit}: not recorded");
            hide(&mut text);
            What::Note { text }
        }
        mut what => {
            visit(&mut what, &mut hide);
            what
        }
    };
    event
}

fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds } else { 0.0 }
}

/// Shows `hide` every string of an event.
fn visit(what: &mut What, hide: &mut dyn FnMut(&mut String)) {
    match what {
        What::RunStarted { schema: _, hil, started, host, plan } => {
            [hil, started, host].into_iter().for_each(&mut *hide);
            visit_plan(plan, hide);
        }
        What::Note { text } | What::LeftUnsafe { why: text } => hide(text),
        What::SessionStarted { image, power, medium } => {
            [image, power, medium].into_iter().for_each(hide);
        }
        What::Flashed { how, bytes: _, took } => {
            hide(how);
            *took = finite(*took);
        }
        What::Saved { how, took } => {
            hide(how);
            *took = finite(*took);
        }
        What::Forked { running, answered } => {
            (*running, *answered) = (finite(*running), finite(*answered));
        }
        What::StageReached { stage: _, took }
        | What::SessionEnded { took }
        | What::SshAnswered { took } => {
            *took = finite(*took);
        }
        What::PowerOn | What::PowerOff | What::PowerCut { .. } => {}
        What::Alarm { alarm: _, line, offset: _ } => hide(line),
        What::BringUpFailed { verdict: _, why, console } => {
            hide(why);
            console.iter_mut().for_each(hide);
        }
        What::CaseStarted { case } | What::CaseRetried { case, attempt: _ } => {
            visit_id(case, hide);
        }
        What::Fact { case, name, value: _, unit } => {
            if let Some(case) = case {
                visit_id(case, hide);
            }
            [name, unit].into_iter().for_each(hide);
        }
        What::Subtest { case, name, verdict: _, why, expected } => {
            visit_id(case, hide);
            hide(name);
            why.iter_mut().chain(expected).for_each(hide);
        }
        What::Attachment { case, path } => {
            visit_id(case, hide);
            hide(path);
        }
        What::CaseFinished { case, verdict: _, why, took, console } => {
            visit_id(case, hide);
            why.iter_mut().chain(console).for_each(hide);
            *took = finite(*took);
        }
        What::RunFinished { interrupted: _, took } => *took = finite(*took),
    }
}

fn visit_id(id: &mut CaseId, hide: &mut dyn FnMut(&mut String)) {
    hide(&mut id.suite);
    hide(&mut id.name);
}

fn visit_plan(plan: &mut BoardPlan, hide: &mut dyn FnMut(&mut String)) {
    hide(&mut plan.board);
    plan.rules.required.iter_mut().for_each(&mut *hide);
    for (pattern, why) in &mut plan.rules.expected {
        hide(pattern);
        hide(why);
    }
    for session in &mut plan.sessions {
        hide(&mut session.image);
        hide(&mut session.system);
        hide(&mut session.digest);
        for case in &mut session.cases {
            visit_id(&mut case.id, hide);
            case.deadline_s = finite(case.deadline_s);
            case.expected.iter_mut().for_each(&mut *hide);
        }
    }
    for skip in &mut plan.skips {
        visit_id(&mut skip.id, hide);
        hide(&mut skip.reason);
    }
}
