//! Several runs of one thing put together as one: shards, or a run that stopped and what was run of
//! it later. Pure; the folders are `rebuild`'s.

use std::collections::{BTreeMap, BTreeSet};

use hil_core::plan::CaseId;
use hil_core::shard::Share;
use hil_core::verdict::Verdict;

use crate::fold::unplanned_case;
use crate::report::{CaseReport, End, Report, Session, Standing};
use crate::verdicts::{OWN_SUITE, number_equal_names};

/// Why runs of one board do not belong together: a line for each difference from the first.
pub fn differences(runs: &[Report]) -> Vec<String> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (other, nth) in others.iter().zip(2..) {
        let mut differs = |what: &str, one: &str, two: &str| {
            if one != two {
                found.push(format!("{what}: `{one}` in run 1, `{two}` in run {nth}"));
            }
        };
        differs("hil", &first.hil, &other.hil);
        differs("seed", &first.seed.to_string(), &other.seed.to_string());
        differs("options", &first.terms.to_string(), &other.terms.to_string());
        let envelope = |run: &Report| run.envelope.map_or("none".into(), |it| it.to_string());
        differs("envelope", &envelope(first), &envelope(other));
        if first.rules != other.rules {
            found.push(format!("--require and --expected: others in run 1 than in run {nth}"));
        }
    }
    found.extend(other_images(runs));
    found.extend(other_shares(runs));
    found
}

/// Systems of which one run had other images than another; that one had fewer of them is no difference.
fn other_images(runs: &[Report]) -> Vec<String> {
    let mut known: BTreeMap<&str, (BTreeSet<&str>, usize)> = BTreeMap::new();
    let mut found = Vec::new();
    for (run, nth) in runs.iter().zip(1..) {
        let mut here: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for Session { system, digest, .. } in &run.sessions {
            here.entry(system).or_default().insert(digest);
        }
        for (system, digests) in here {
            let (first, of) = known.entry(system).or_insert_with(|| (digests.clone(), nth));
            if !first.is_subset(&digests) && !digests.is_subset(first) {
                let words = |of: &BTreeSet<&str>| of.iter().copied().collect::<Vec<_>>().join(", ");
                let (one, other) = (words(first), words(&digests));
                found.push(format!(
                    "digest of {system}: `{one}` in run {of}, `{other}` in run {nth}"
                ));
            }
        }
    }
    found
}

/// Shards of another number or another plan than the first one's.
fn other_shares(runs: &[Report]) -> Vec<String> {
    let mut shares = runs.iter().zip(1..).filter_map(|(run, nth)| Some((run.share.as_ref()?, nth)));
    let Some((first, of)) = shares.next() else { return Vec::new() };
    let differs = |(share, nth): (&Share, i32)| {
        let (ours, theirs) = (first.whole.len(), share.whole.len());
        let number = (first.of != share.of)
            .then(|| format!("shards: {} in run {of}, {} in run {nth}", first.of, share.of));
        let plan = (first.whole != share.whole)
            .then(|| format!("plan: {ours} cases in run {of}, {theirs} others in run {nth}"));
        [number, plan].into_iter().flatten()
    };
    shares.flat_map(differs).collect()
}

/// One board's runs as one; none without a run. Of a case that several ran, a verdict about the
/// product is worth more than none, and a failure more than a pass: fail, pass, broken, skip. The
/// others are told with it.
pub fn join(runs: Vec<Report>) -> Option<Report> {
    let count = runs.len();
    let mut joined = Joined::default();
    let mut whole: Option<Report> = None;
    // Lanes of one run took their time together.
    let mut took: BTreeMap<(String, String), f64> = BTreeMap::new();
    for (nth, mut run) in (1..).zip(runs) {
        let longest = took.entry((run.started.clone(), run.host.clone())).or_default();
        *longest = longest.max(run.took);
        let sessions = whole.as_ref().map_or(0, |whole| whole.sessions.len());
        joined.notes.push(about(&run, nth, count));
        let notes = run.notes.drain(..).map(|note| format!("run {nth}: {note}"));
        joined.notes.extend(notes);
        for mut case in run.cases.drain(..) {
            case.session = case.session.map(|index| index + sessions);
            joined.take(case, nth);
        }
        match &mut whole {
            None => whole = Some(run),
            Some(whole) => add(whole, run),
        }
    }
    let mut whole = whole?;
    whole.took = took.values().sum();
    joined.finish(&mut whole);
    Some(whole)
}

fn add(whole: &mut Report, run: Report) {
    whole.sessions.extend(run.sessions);
    whole.share = whole.share.take().or(run.share);
    whole.end = match (whole.end, run.end) {
        (End::Finished, other) | (other, End::Finished) => other,
        (End::Interrupted, _) | (_, End::Interrupted) => End::Interrupted,
        (End::Died, End::Died) => End::Died,
    };
}

fn about(run: &Report, nth: usize, count: usize) -> String {
    let shard = run.share.as_ref().map(|share| format!("shard {}/{}, ", share.index, share.of));
    let (shard, cases) = (shard.unwrap_or_default(), run.cases.len());
    let (hil, started, host) = (&run.hil, &run.started, &run.host);
    format!("run {nth} of {count}: {shard}{cases} cases, hil {hil}, {started} on {host}")
}

#[derive(Default)]
struct Joined {
    cases: Vec<(CaseReport, usize)>,
    known: BTreeMap<CaseId, usize>,
    /// What hil reports of itself, and of which run.
    own: Vec<(CaseReport, usize)>,
    notes: Vec<String>,
}

impl Joined {
    fn take(&mut self, case: CaseReport, nth: usize) {
        if case.id.suite == OWN_SUITE {
            self.own.push((case, nth));
            return;
        }
        let Some(&index) = self.known.get(&case.id) else {
            self.known.insert(case.id.clone(), self.cases.len());
            self.cases.push((case, nth));
            return;
        };
        let (known, of) = &mut self.cases[index];
        let (mut loser, loser_of) = (case, nth);
        let mut told_of = loser_of;
        if worth(&loser) > worth(known) {
            std::mem::swap(known, &mut loser);
            told_of = std::mem::replace(of, loser_of);
        }
        let why = loser.why.map(|why| format!(": {why}")).unwrap_or_default();
        known.notes.push(format!("run {told_of} says {}{why}; run {of} counts", loser.verdict));
    }

    fn finish(mut self, whole: &mut Report) {
        if let Some(share) = &whole.share {
            for id in &share.whole {
                if !self.known.contains_key(id) {
                    self.cases.push((missing(id), 0));
                }
            }
            let place: BTreeMap<&CaseId, usize> = share.whole.iter().zip(0..).collect();
            // Stable: a test within a case stays behind it.
            self.cases.sort_by_key(|(case, _)| place.get(&of_plan(&case.id)).copied());
        }
        let open = self.cases.iter().any(|(case, _)| case.is_open());
        for (case, nth) in self.own {
            let past = case.verdict == Verdict::Broken && case.id.name != "safe-state" && !open;
            match past {
                // Everything it kept from running has run since.
                true => {
                    let why = case.why.unwrap_or_default();
                    self.notes.push(format!("run {nth}: {}: {why}", case.id.name));
                }
                false => self.cases.push((case, nth)),
            }
        }
        whole.cases = self.cases.into_iter().map(|(case, _)| case).collect();
        number_equal_names(&mut whole.cases);
        whole.notes = self.notes;
        if !open {
            whole.end = End::Finished;
        }
    }
}

fn worth(case: &CaseReport) -> (u8, bool) {
    let verdict = match case.verdict {
        Verdict::Fail => 3,
        Verdict::Pass => 2,
        Verdict::Broken => 1,
        Verdict::Skip => 0,
    };
    (verdict, !case.attempts.is_empty())
}

/// The case of the plan that a test belongs to.
fn of_plan(id: &CaseId) -> CaseId {
    let name = id.name.split('/').next().unwrap_or_default();
    CaseId { name: name.into(), ..id.clone() }
}

fn missing(id: &CaseId) -> CaseReport {
    CaseReport {
        verdict: Verdict::Broken,
        standing: Standing::Broken,
        why: Some("no run that was merged had this case, though it is in the plan".into()),
        ..unplanned_case(id, None)
    }
}
