//! Spreading a plan over several runs: every case in exactly one of them, about the same work in each.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::Isolation;
use crate::plan::{BoardPlan, CaseId, PlannedCase, SessionPlan, derive_seed};

/// A run's share of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// From 1 to `of`.
    pub index: u32,
    pub of: u32,
    /// Every case of the whole plan, in its order: what the shares together must come to.
    pub whole: Vec<CaseId>,
}

/// The `index`-th of `of` shares of a plan.
///
/// By identity alone: the heaviest case first (by its deadline, then by the hash of its name), each
/// goes to the share with the least work so far. So the shares do not depend on the order of suites,
/// and any host that plans the same cases deals them out alike.
#[must_use]
pub fn shard(plan: BoardPlan, index: u32, of: u32) -> BoardPlan {
    let planned = plan.sessions.iter().flat_map(|session| &session.cases);
    let planned = planned.map(|case| (millis(case.deadline_s), case.id.clone()));
    let skipped = plan.skips.iter().map(|skip| (0, skip.id.clone()));
    let mut cases: Vec<(u64, CaseId)> = planned.chain(skipped).collect();
    let whole = cases.iter().map(|(_, id)| id.clone()).collect();
    let hash = |id: &CaseId| derive_seed(0, &id.to_string());
    cases.sort_by_key(|(weight, id)| (Reverse(*weight), hash(id)));

    // Work and number of cases of each share: of those without work each takes its part, too.
    let mut shares = vec![(0_u64, 0_u64); of.max(1) as usize];
    let mut mine = BTreeSet::new();
    for (weight, id) in cases {
        let Some(least) = (0..shares.len()).min_by_key(|share| shares[*share]) else { break };
        shares[least].0 += weight;
        shares[least].1 += 1;
        if least as u32 + 1 == index {
            mine.insert(id);
        }
    }
    BoardPlan { share: Some(Share { index, of, whole }), ..plan.only(|id| mine.contains(id)) }
}

/// About how long an image's board takes until a case can start on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Boots {
    /// From a fork: a boot and the saving, or nothing where it is saved already.
    pub to_fork: Duration,
    /// As it was booted, which cases that share it do.
    pub plain: Duration,
}

/// A plan spread over at most `count` boards that run at once, which together are one run of it, by about
/// how long each case lasts, and each image's boots. Only what starts from forks is spread: the boards fork
/// from one that was saved once, and each other case needs a boot.
///
/// Each lane begins with another image, as far as there are images: where none is saved yet, they are
/// booted side by side. Cases of all images but the one with the most work are for lanes that begin with
/// theirs, up to a lane's share of all work, so that these need not wait for what another lane still boots.
#[must_use]
pub fn lanes(
    plan: BoardPlan,
    count: u32,
    weight: impl Fn(&PlannedCase) -> Duration,
    boots: impl Fn(&SessionPlan) -> Boots,
) -> Vec<BoardPlan> {
    let theirs = deal(&plan, count, weight, boots);
    let elsewhere: BTreeSet<CaseId> = theirs[1..].iter().flatten().cloned().collect();
    let others = (1..).zip(&theirs[1..]).filter(|(_, mine)| !mine.is_empty());
    let others = others.map(|(nth, mine)| {
        let mut lane = plan.clone().only(|id| mine.contains(id));
        let own = &plan.sessions[nth % plan.sessions.len()].digest;
        let first = lane.sessions.iter().position(|session| session.digest == *own);
        let first = first.unwrap_or(nth % lane.sessions.len());
        lane.sessions.rotate_left(first);
        lane
    });
    let first = plan.clone().only(|id| !elsewhere.contains(id));
    [first].into_iter().chain(others).collect()
}

/// Which forks each lane has, of at most `count` and at least one. All else counts for the first.
fn deal(
    plan: &BoardPlan,
    count: u32,
    weight: impl Fn(&PlannedCase) -> Duration,
    boots: impl Fn(&SessionPlan) -> Boots,
) -> Vec<BTreeSet<CaseId>> {
    let cases = plan.sessions.iter().enumerate();
    let cases = cases.flat_map(|(nth, session)| session.cases.iter().map(move |case| (nth, case)));
    let (mut forks, rest): (Vec<(usize, &PlannedCase)>, Vec<_>) =
        cases.partition(|(_, case)| case.isolation == Isolation::Fork);
    let sum = |cases: &mut dyn Iterator<Item = &(usize, &PlannedCase)>| -> Duration {
        cases.map(|(_, case)| weight(case)).sum()
    };
    let mut work = vec![Duration::ZERO; (count as usize).clamp(1, forks.len().max(1))];
    work[0] = sum(&mut rest.iter());
    let shares = |session: &&SessionPlan| {
        session.cases.iter().any(|case| case.isolation == Isolation::Shared)
    };
    work[0] += plan.sessions.iter().filter(shares).map(|one| boots(one).plain).sum::<Duration>();
    for (work, session) in work.iter_mut().zip(plan.sessions.iter().cycle()) {
        *work += boots(session).to_fork;
    }
    let fair = (work.iter().sum::<Duration>() + sum(&mut forks.iter())) / work.len() as u32;
    // The image with the most work levels what the others leave.
    let of = |session: &usize| sum(&mut forks.iter().filter(|(nth, _)| nth == session));
    let levels = (0..plan.sessions.len()).max_by_key(of);

    forks.sort_by_key(|(_, case)| (Reverse(weight(case)), derive_seed(0, &case.id.to_string())));
    let mut theirs = vec![BTreeSet::new(); work.len()];
    for (session, case) in forks {
        let begins_with_it = |lane: &usize| lane % plan.sessions.len() == session;
        let has_room = |lane: &usize| work[*lane] + weight(case) <= fair;
        let own = (0..work.len()).filter(|lane| begins_with_it(lane) && has_room(lane));
        let own = own.min_by_key(|lane| work[*lane]).filter(|_| Some(session) != levels);
        let least = own.or_else(|| (0..work.len()).min_by_key(|lane| work[*lane]));
        let Some(least) = least else { break };
        work[least] += weight(case);
        theirs[least].insert(case.id.clone());
    }
    theirs
}

fn millis(seconds: f64) -> u64 {
    (seconds.clamp(0.0, 1e9) * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::secs;
    use crate::plan::{PlannedSkip, Retries, Terms};
    use crate::rules::Rules;

    fn id(nth: u64) -> CaseId {
        CaseId { suite: format!("s{}", nth % 3), name: format!("case-{nth}"), round: 1 }
    }

    /// A plan of `cases` cases and some skips, with deadlines from a seed.
    fn plan(cases: u64, seed: u64) -> BoardPlan {
        let case = |nth: u64| PlannedCase {
            id: id(nth),
            seed: nth,
            cuts: Vec::new(),
            isolation: Isolation::Shared,
            deadline_s: (derive_seed(seed, &nth.to_string()) % 120 + 1) as f64,
            required: false,
            expected: None,
        };
        let session = |image: &str, of: std::ops::Range<u64>| SessionPlan {
            image: image.into(),
            system: image.into(),
            digest: image.into(),
            cases: of.map(case).collect(),
        };
        let skip = |nth| PlannedSkip { id: id(nth), reason: "no".into(), required: false };
        BoardPlan {
            terms: Terms::default(),
            again: String::new(),
            envelope: None,
            board: "b".into(),
            seed,
            sessions: vec![session("mini", 0..cases / 2), session("full", cases / 2..cases)],
            skips: (cases..cases + 3).map(skip).collect(),
            retries: Retries::default(),
            rules: Rules::default(),
            share: None,
        }
    }

    fn ids(plan: &BoardPlan) -> Vec<CaseId> {
        let cases = plan.sessions.iter().flat_map(|s| s.cases.iter().map(|case| case.id.clone()));
        cases.chain(plan.skips.iter().map(|skip| skip.id.clone())).collect()
    }

    fn work(plan: &BoardPlan) -> f64 {
        plan.sessions.iter().flat_map(|s| &s.cases).map(|case| case.deadline_s).sum()
    }

    #[test]
    fn every_case_is_in_exactly_one_share_for_any_number_of_shares() {
        for (cases, seed) in [(0, 1), (1, 2), (7, 3), (40, 4), (133, 5)] {
            let whole = plan(cases, seed);
            for of in 1..=(cases as u32 + 6) {
                let shares: Vec<BoardPlan> =
                    (1..=of).map(|index| shard(whole.clone(), index, of)).collect();
                let mut dealt: Vec<CaseId> = shares.iter().flat_map(ids).collect();
                let mut all = ids(&whole);
                assert!(shares.iter().all(|one| one.share.as_ref().unwrap().whole == all));
                dealt.sort();
                all.sort();
                assert_eq!(dealt, all, "{cases} cases in {of} shares");
                // No share waits for another by more than one case's time.
                let loads: Vec<f64> = shares.iter().map(work).collect();
                let spread = loads.iter().copied().fold(0.0, f64::max)
                    - loads.iter().copied().fold(f64::MAX, f64::min);
                assert!(spread <= 120.0, "{cases} cases in {of} shares: {loads:?}");
            }
        }
    }

    /// Boots of so many seconds before the first fork, and none else.
    fn boots(to_fork: u64) -> Boots {
        Boots { to_fork: secs(to_fork), ..Boots::default() }
    }

    fn by_deadline(case: &PlannedCase) -> Duration {
        Duration::from_secs_f64(case.deadline_s)
    }

    #[test]
    fn the_heaviest_case_has_a_lane_with_little_else() {
        let mut whole = plan(9, 6);
        let cases = whole.sessions.iter_mut().flat_map(|session| &mut session.cases);
        cases.for_each(|case| case.isolation = Isolation::Fork);
        let weight = |case: &PlannedCase| secs(if case.id == id(4) { 60 } else { 10 });
        let lanes = lanes(whole, 3, weight, |_| Boots::default());
        let with_it = lanes.iter().find(|lane| ids(lane).contains(&id(4))).unwrap();
        // Eight of ten seconds each are forty for each of the two others.
        assert_eq!(with_it.cases(), 1, "{lanes:?}");
    }

    #[test]
    fn lanes_take_each_case_once_and_only_forks_leave_the_first() {
        for count in 1..=12 {
            let mut whole = plan(9, 6);
            for (session, case) in [(0, 0), (0, 2), (1, 0), (1, 1), (1, 3)] {
                whole.sessions[session].cases[case].isolation = Isolation::Fork;
            }
            let lanes = lanes(whole.clone(), count, by_deadline, |_| boots(5));
            assert_eq!(
                lanes.len(),
                count.min(5) as usize,
                "a lane of its own for each fork at most"
            );
            let mut dealt: Vec<CaseId> = lanes.iter().flat_map(ids).collect();
            let mut all = ids(&whole);
            assert!(lanes.iter().all(|lane| lane.share.is_none()), "no other run has the rest");
            dealt.sort();
            all.sort();
            assert_eq!(dealt, all, "in {count} lanes");
            if count > 1 {
                let begun: BTreeSet<&str> = lanes.iter().map(|l| &*l.sessions[0].image).collect();
                assert_eq!(begun.len(), 2, "both images are booted at once in {count} lanes");
            }
            for lane in &lanes[1..] {
                let forks = |case: &PlannedCase| case.isolation == Isolation::Fork;
                assert!(lane.sessions.iter().flat_map(|s| &s.cases).all(forks));
                assert!(lane.cases() > 0 && lane.skips.is_empty());
            }
        }
    }

    /// So many cases of two images, all of them forks.
    fn forks(mini: usize, full: usize) -> BoardPlan {
        let mut whole = plan((mini + full) as u64, 3);
        let (first, second) = whole.sessions.split_at_mut(1);
        first[0].cases.append(&mut second[0].cases);
        second[0].cases = first[0].cases.split_off(mini);
        let cases = whole.sessions.iter_mut().flat_map(|session| &mut session.cases);
        cases.for_each(|case| case.isolation = Isolation::Fork);
        whole
    }

    /// How many of an image's cases each lane has.
    fn counts(lanes: &[BoardPlan], image: &str) -> Vec<usize> {
        let of = |lane: &BoardPlan| {
            let sessions = lane.sessions.iter().filter(|session| session.image == image);
            sessions.map(|session| session.cases.len()).sum()
        };
        lanes.iter().map(of).collect()
    }

    #[test]
    fn a_lane_takes_the_cases_of_the_image_it_begins_with_up_to_its_share() {
        // A second each, and two for one image's boot: 18 for three lanes, of which the first and the
        // last begin with the other image.
        let of = |session: &SessionPlan| boots(if session.image == "full" { 2 } else { 0 });
        let dealt = lanes(forks(6, 10), 3, |_| secs(1), of);
        assert_eq!(counts(&dealt, "mini"), [3, 0, 3]);
        assert_eq!(counts(&dealt, "full"), [3, 4, 3]);
        // Nine are more than the one lane's share that begins with theirs.
        let dealt = lanes(forks(12, 9), 3, |_| secs(1), |_| Boots::default());
        assert!(dealt.iter().all(|lane| lane.cases() == 7), "{dealt:?}");
    }

    #[test]
    fn the_first_lane_boots_each_image_on_which_cases_share_a_board() {
        let mut whole = forks(2, 8);
        whole.sessions[1].cases[0].isolation = Isolation::Shared;
        let plain =
            |seconds| move |_: &SessionPlan| Boots { plain: secs(seconds), ..Boots::default() };
        let cases = |plain| {
            let lanes = lanes(whole.clone(), 2, |_| secs(1), plain);
            lanes.iter().map(BoardPlan::cases).collect::<Vec<_>>()
        };
        // Of ten seconds of cases the first lane has two less where it boots for as long as four of them,
        // and one image only is booted for a case that shares it.
        assert_eq!(cases(plain(0)), [5, 5]);
        assert_eq!(cases(plain(4)), [3, 7]);
    }

    #[test]
    fn the_longest_cases_of_the_largest_image_are_spread() {
        let whole = forks(6, 12);
        let long: Vec<CaseId> =
            whole.sessions[1].cases[..3].iter().map(|case| case.id.clone()).collect();
        let weight = |case: &PlannedCase| secs(if long.contains(&case.id) { 3 } else { 1 });
        for lane in lanes(whole.clone(), 3, weight, |_| Boots::default()) {
            let here = ids(&lane).into_iter().filter(|id| long.contains(id)).count();
            assert_eq!(here, 1, "{lane:?}");
        }
    }

    #[test]
    fn lanes_are_level_and_begin_with_their_images_whatever_these_are() {
        for (cases, seed, count) in [(12, 1, 3), (12, 2, 3), (30, 3, 4), (31, 4, 7), (50, 5, 5)] {
            let mut whole = plan(cases, seed);
            let third = whole.sessions[1].cases.split_off(cases as usize / 3);
            let image = String::from("podman");
            let (system, digest) = (image.clone(), image.clone());
            whole.sessions.push(SessionPlan { image, system, digest, cases: third });
            let cases = whole.sessions.iter_mut().flat_map(|session| &mut session.cases);
            cases.for_each(|case| case.isolation = Isolation::Fork);
            let lanes = lanes(whole.clone(), count, by_deadline, |_| boots(30));
            let fair = work(&whole) / f64::from(count) + 30.0;
            for (nth, lane) in lanes.iter().enumerate() {
                // No case is longer than 120 s.
                assert!(work(lane) + 30.0 <= fair + 120.0, "lane {nth} of {lanes:?}");
                let own = &whole.sessions[nth % 3].image;
                let has_own = lane.sessions.iter().any(|session| session.image == *own);
                assert!(!has_own || lane.sessions[0].image == *own, "lane {nth} of {lanes:?}");
            }
        }
    }

    #[test]
    fn shares_depend_on_names_not_on_order_and_keep_seeds() {
        let whole = plan(40, 9);
        let mut turned = whole.clone();
        turned.sessions.reverse();
        turned.sessions.iter_mut().for_each(|session| session.cases.reverse());
        for index in 1..=4 {
            let (one, other) = (shard(whole.clone(), index, 4), shard(turned.clone(), index, 4));
            let (mut a, mut b) = (ids(&one), ids(&other));
            a.sort();
            b.sort();
            assert_eq!(a, b);
            for case in one.sessions.iter().flat_map(|session| &session.cases) {
                assert_eq!(id(case.seed), case.id);
            }
        }
    }
}
