//! The plan: board × image × case × seed, resolved before anything is touched.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::case::{Case, Isolation, Need, Suite};
use crate::cut::{Cuts, PlannedCut, Told};
use crate::envelope::Envelope;
use crate::image::Image;
use crate::parts::CutPolicy;
use crate::rules::Rules;
use crate::shard::Share;

/// Which case; its text form is `suite/name`, or `suite/name#2` for a repetition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CaseId {
    pub suite: String,
    pub name: String,
    /// From 1; more where `--repeat` asks for it.
    pub round: u32,
}

impl CaseId {
    /// The name of a test within this case.
    #[must_use]
    pub fn within(mut self, name: &str) -> CaseId {
        self.name = format!("{}/{name}", self.name);
        self
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.suite, self.name)?;
        if self.round > 1 {
            write!(f, "#{}", self.round)?;
        }
        Ok(())
    }
}

/// One case that will run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedCase {
    pub id: CaseId,
    pub seed: u64,
    /// Seconds, before scaling by board and accelerator.
    pub deadline_s: f64,
    #[serde(default)]
    pub isolation: Isolation,
    /// A skip of this case is a failure (`--require`).
    pub required: bool,
    /// Why a failure is expected, from the expected-failures file.
    pub expected: Option<String>,
    /// Where it cuts the power.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<PlannedCut>,
}

/// Cases that run on one boot of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// The image's label and digest.
    pub image: String,
    /// The label without the version: what runs of one thing have in common.
    #[serde(default)]
    pub system: String,
    pub digest: String,
    pub cases: Vec<PlannedCase>,
}

/// A case that cannot run on this board with these images, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedSkip {
    pub id: CaseId,
    pub reason: String,
    pub required: bool,
}

/// What becomes of a case that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// How often at most it is run again.
    pub most: u32,
    /// A pass after a fail is a failure all the same.
    pub flaky_fails: bool,
}

/// What the command line says of how cases run, all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What the cases start from that ask for a fork.
    pub forks_as: Isolation,
    pub cut_policy: CutPolicy,
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--isolation {}, --cut-policy {}", self.forks_as.name(), self.cut_policy.name())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardPlan {
    pub board: String,
    pub seed: u64,
    #[serde(default)]
    pub terms: Terms,
    /// The smaller device that the board is to be (`--envelope`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    pub sessions: Vec<SessionPlan>,
    pub skips: Vec<PlannedSkip>,
    #[serde(default)]
    pub retries: Retries,
    #[serde(default)]
    pub rules: Rules,
    /// Where the plan is spread over several runs.
    #[serde(default)]
    pub share: Option<Share>,
    /// The command that runs a part of this plan again, but for its `--replay`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub again: String,
}

impl BoardPlan {
    pub fn cases(&self) -> usize {
        self.sessions.iter().map(|session| session.cases.len()).sum()
    }

    /// The plan with only some of its cases, and no session without one.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&CaseId) -> bool) -> BoardPlan {
        for session in &mut self.sessions {
            session.cases.retain(|case| wanted(&case.id));
        }
        self.sessions.retain(|session| !session.cases.is_empty());
        self.skips.retain(|skip| wanted(&skip.id));
        self
    }

    /// The command that runs one of its cases again, with the same seed.
    pub fn again_for(&self, case: &PlannedCase) -> Option<String> {
        let (CaseId { suite, name, .. }, seed) = (&case.id, case.seed);
        (!self.again.is_empty()).then(|| format!("{} --replay {suite}/{name}@{seed}", self.again))
    }
}

/// What of all cases is wanted.
pub struct Selection<'s> {
    pub suites: &'s [Suite],
    /// Whether a `suite/name` is asked for.
    pub wanted: &'s dyn Fn(&str) -> bool,
    pub required: &'s dyn Fn(&str) -> bool,
    /// Why `board/suite/name` is expected to fail.
    pub expected: &'s dyn Fn(&str) -> Option<String>,
    pub repeat: u32,
    pub seed: u64,
    pub terms: Terms,
    pub envelope: Option<Envelope>,
    /// How often a case that cuts the power is run, each time with other cuts.
    pub cuts: u32,
    /// The seed with which a case ran before: it is run once, with this one.
    pub replay: Option<u64>,
}

/// Plans one board: each case once, on the first image that has what it needs.
///
/// `images` are ordered from the smallest to the largest, each with its digest.
pub fn plan_board(
    board: &Board,
    images: &[(&Image, String)],
    selection: &Selection<'_>,
) -> BoardPlan {
    let mut sessions: Vec<SessionPlan> = images
        .iter()
        .map(|(image, digest)| SessionPlan {
            image: image.label(),
            system: image.system(),
            digest: digest.clone(),
            cases: Vec::new(),
        })
        .collect();
    let mut skips = Vec::new();
    for (suite, case) in selected(selection) {
        let fit = images.iter().position(|(image, _)| missing(board, image, case).is_empty());
        for round in 1..=rounds(case, selection) {
            let id = CaseId { suite: suite.name.into(), name: case.name.into(), round };
            let required = (selection.required)(&format!("{}/{}", suite.name, case.name));
            match fit {
                Some(index) => {
                    let planned = planned((board, images[index].0), id, case, required, selection);
                    sessions[index].cases.push(planned);
                }
                None => {
                    let reason = why_not(board, images, case);
                    skips.push(PlannedSkip { id, reason, required });
                }
            }
        }
    }
    sessions.retain(|session| !session.cases.is_empty());
    for session in &mut sessions {
        // Those that share a board come before those that each have one of their own.
        session.cases.sort_by_key(|case| case.isolation);
    }
    BoardPlan {
        board: board.name.clone(),
        seed: selection.seed,
        terms: selection.terms,
        envelope: selection.envelope,
        sessions,
        skips,
        retries: Retries::default(),
        rules: Rules::default(),
        share: None,
        again: String::new(),
    }
}

fn rounds(case: &Case, selection: &Selection<'_>) -> u32 {
    let samples = if case.cuts.is_some() { selection.cuts.max(1) } else { 1 };
    match selection.replay {
        Some(_) => 1,
        None => selection.repeat.max(1).saturating_mul(samples),
    }
}

fn planned(
    (board, image): (&Board, &Image),
    id: CaseId,
    case: &Case,
    required: bool,
    selection: &Selection<'_>,
) -> PlannedCase {
    let full = format!("{}/{}/{}", board.name, id.suite, id.name);
    let own = || derive_seed(selection.seed, &format!("{}/{id}", board.name));
    let seed = selection.replay.unwrap_or_else(own);
    let draw = |cuts: Cuts| cuts.draw(seed, &Told::by(board, image), selection.terms.cut_policy);
    PlannedCase {
        cuts: case.cuts.map(draw).unwrap_or_default(),
        seed,
        deadline_s: case.deadline.as_secs_f64(),
        isolation: match case.isolation {
            Isolation::Fork => selection.terms.forks_as,
            other => other,
        },
        required,
        expected: (selection.expected)(&full),
        id,
    }
}

fn selected<'s>(selection: &'s Selection<'_>) -> impl Iterator<Item = (&'s Suite, &'s Case)> {
    let all = selection.suites.iter().flat_map(|s| s.cases.iter().map(move |c| (s, c)));
    all.filter(|(suite, case)| (selection.wanted)(&format!("{}/{}", suite.name, case.name)))
}

fn missing(board: &Board, image: &Image, case: &Case) -> Vec<Need> {
    let offers: BTreeSet<Need> = board.offers().into_iter().chain(image.offers()).collect();
    let lacks = |need: &&Need| match need {
        // SSH is a promise of the image and of the board's network together.
        Need::Ssh => !offers.contains(&Need::Ssh) || !offers.contains(&Need::Network),
        need => !offers.contains(need),
    };
    case.needs.iter().filter(lacks).copied().collect()
}

fn why_not(board: &Board, images: &[(&Image, String)], case: &Case) -> String {
    let fewest = images.iter().map(|(image, _)| missing(board, image, case)).min_by_key(Vec::len);
    let lacks: Vec<String> = fewest
        .unwrap_or_default()
        .into_iter()
        .map(|need| format!("needs {need}: {}", need.hint()))
        .collect();
    lacks.join("; ")
}

/// A case's own seed: the run's seed mixed with the case's full name (FNV-1a, then splitmix64),
/// so that adding a case changes no other case's seed.
pub fn derive_seed(seed: u64, name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut z = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, step);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::Mark;
    use crate::deadline::secs;
    use crate::rig::Rig;
    use crate::trouble::Outcome;
    use std::path::Path;

    async fn nothing(_rig: &mut Rig) -> Outcome {
        Ok(())
    }

    const fn case(name: &'static str, needs: &'static [Need]) -> Case {
        Case::new(name, secs(5), crate::body!(nothing)).needs(needs)
    }

    const CUTS: Cuts =
        Cuts { in_a_row: 2, after: &[Mark::Begin], ms: 900, writes: 900, flushes: 900 };

    const SUITE: Suite = Suite {
        name: "s",
        about: "",
        cases: &[
            case("plain", &[]),
            case("engine", &[Need::Engine]),
            case("updater", &[Need::Updater]),
            case("cut", &[]).cuts(CUTS),
        ],
        deadline: secs(60),
    };

    fn image(variant: &str, extra: &str) -> Image {
        let text = format!(
            "name = \"os\"\nvariant = \"{variant}\"\narch = \"arm\"\n[boot.kernel]\nfile = \"k\"\n{extra}"
        );
        Image::parse(&text, Path::new("image.toml")).unwrap()
    }

    fn plan(repeat: u32) -> BoardPlan {
        plan_with(repeat, 1, None)
    }

    fn plan_with(repeat: u32, cuts: u32, replay: Option<u64>) -> BoardPlan {
        let text = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n";
        let board = Board::parse(text, Path::new("qemu-x.toml")).unwrap();
        let (mini, full) = (image("mini", ""), image("full", "[engine.docker]\n"));
        let selection = Selection {
            suites: &[SUITE],
            wanted: &|_| true,
            required: &|id| id == "s/updater",
            expected: &|_| None,
            repeat,
            seed: 7,
            terms: Terms { forks_as: Isolation::Fork, cut_policy: CutPolicy::Subset },
            envelope: None,
            cuts,
            replay,
        };
        plan_board(&board, &[(&mini, "d1".into()), (&full, "d2".into())], &selection)
    }

    #[test]
    fn a_case_runs_on_the_smallest_image_that_has_what_it_needs() {
        let plan = plan(1);
        assert_eq!(plan.sessions.len(), 2);
        assert_eq!(plan.sessions[0].cases[0].id.to_string(), "s/plain");
        assert_eq!(plan.sessions[1].cases[0].id.to_string(), "s/engine");
        assert_eq!(plan.skips[0].reason, "needs updater: no [updater.…] in image.toml");
        assert!(plan.skips[0].required);
    }

    #[test]
    fn repetitions_have_names_and_seeds_of_their_own() {
        let plan = plan(2);
        let cases = &plan.sessions[0].cases;
        assert_eq!(cases[1].id.to_string(), "s/plain#2");
        assert_ne!(cases[0].seed, cases[1].seed);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(plan(3), plan(3));
    }

    /// The runs of the case that cuts the power.
    fn samples(plan: &BoardPlan) -> Vec<&PlannedCase> {
        let cases = plan.sessions.iter().flat_map(|session| &session.cases);
        cases.filter(|case| case.id.name == "cut").collect()
    }

    #[test]
    fn a_case_that_cuts_is_sampled_and_each_sample_can_be_had_again() {
        let plan = plan_with(1, 4, None);
        let taken = samples(&plan);
        assert_eq!((taken.len(), plan.cases()), (4, 6), "the other two once each");
        assert!(taken.iter().all(|sample| sample.cuts.len() == 2));
        assert_ne!(taken[0].cuts, taken[1].cuts);
        let again = plan_with(1, 4, Some(taken[2].seed));
        let again = samples(&again);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].seed, &again[0].cuts), (taken[2].seed, &taken[2].cuts));
    }
}
