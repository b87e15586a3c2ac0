//! Where the power goes in a case: drawn from the case's seed when the run is planned, so that the
//! plan shows it, the report names it and a replay meets it again. Waiting for it is the rig's.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::board::{Board, Medium};
use crate::image::{Image, UpdaterSpec};
use crate::parts::CutPolicy;
use crate::plan::derive_seed;
use crate::stage::Stage;

/// Where the power goes: a step after a mark, as in "flush 7 after kernel".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutPoint {
    pub after: Mark,
    pub step: Step,
}

/// Something that can be seen of a case's work, from which the way to the cut is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The work begins.
    Begin,
    /// The console shows this stage.
    Stage(Stage),
    /// An update says on the console that it has come so far, in percent.
    Progress(u8),
}

/// How far after its mark the cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Milliseconds on a fast host, stretched for board and accelerator like a deadline.
    Ms(u32),
    /// At the n-th (from 1) write that reaches the disk.
    Write(u32),
    /// At the n-th flush.
    Flush(u32),
}

impl fmt::Display for CutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Ms(ms) => write!(f, "{ms} ms after ")?,
            Step::Write(nth) => write!(f, "write {nth} after ")?,
            Step::Flush(nth) => write!(f, "flush {nth} after ")?,
        }
        match self.after {
            Mark::Begin => f.write_str("the begin"),
            Mark::Stage(stage) => write!(f, "{stage}"),
            Mark::Progress(percent) => write!(f, "{percent} %"),
        }
    }
}

/// A cut that a case will make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedCut {
    pub point: CutPoint,
    pub policy: CutPolicy,
    /// What was drawn, where this board and image cannot tell of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<CutPoint>,
}

impl fmt::Display for PlannedCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.point, self.policy.name())?;
        match &self.instead_of {
            Some(drawn) => write!(f, " (instead of {drawn}: it cannot be told here)"),
            None => Ok(()),
        }
    }
}

/// What a case draws its cuts from. Numbers are the most that is drawn; 0 leaves a kind out.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    pub in_a_row: u32,
    pub after: &'static [Mark],
    /// Never 0: it is what a board is left with whose disk nobody counts on.
    pub ms: u32,
    pub writes: u32,
    pub flushes: u32,
}

impl Cuts {
    /// The cuts of the case with this seed.
    pub fn draw(&self, seed: u64, told: &Told, policy: CutPolicy) -> Vec<PlannedCut> {
        (0..self.in_a_row).map(|index| self.draw_one(cut_seed(seed, index), told, policy)).collect()
    }

    fn draw_one(&self, seed: u64, told: &Told, policy: CutPolicy) -> PlannedCut {
        let below = |what: &str, bound: usize| {
            // Two draws that are told apart by their name are independent of each other.
            (derive_seed(seed, what) % (bound as u64).max(1)) as usize
        };
        let after = self.after.get(below("mark", self.after.len())).copied();
        let ms = Step::Ms(below("ms", self.ms as usize + 1) as u32);
        let mut steps = vec![ms];
        // What a boot or an install writes differs by orders of magnitude from image to image: each
        // doubling is as likely as the next.
        let nth = |what: &str, most: u32| {
            let scale = 1 << below(&format!("{what} scale"), most.ilog2() as usize + 1);
            (1 + below(what, scale) as u32).min(most)
        };
        if self.writes > 0 {
            steps.push(Step::Write(nth("write", self.writes)));
        }
        if self.flushes > 0 {
            steps.push(Step::Flush(nth("flush", self.flushes)));
        }
        let step = steps[below("step", steps.len())];
        let drawn = CutPoint { after: after.unwrap_or(Mark::Begin), step };
        let point = CutPoint {
            after: if told.tells(drawn.after) { drawn.after } else { Mark::Begin },
            step: if told.counts(step) { step } else { ms },
        };
        PlannedCut { point, policy, instead_of: (point != drawn).then_some(drawn) }
    }
}

/// The seed of a case's cut: the case's own for its first one.
pub fn cut_seed(seed: u64, index: u32) -> u64 {
    if index == 0 { seed } else { derive_seed(seed, &format!("cut {index}")) }
}

/// What a board and an image tell of themselves that a cut can be timed by.
#[derive(Clone, Debug, Default)]
pub struct Told {
    stages: BTreeSet<Stage>,
    progress: bool,
    writes: bool,
    flushes: bool,
}

impl Told {
    pub fn by(board: &Board, image: &Image) -> Told {
        let marks = board.stages.overridden_by(&image.stages);
        let progress = match &image.updater {
            Some(UpdaterSpec::Rauc(_)) => true,
            Some(UpdaterSpec::Custom(custom)) => custom.progress.is_some(),
            None => false,
        };
        let medium = board.storage.medium.unwrap_or_default();
        // An emulated disk is counted at; a kernel with its initrd may have none.
        let writes = board.is_emulated() && image.disk.is_some();
        Told {
            stages: marks.by_stage().into_keys().collect(),
            progress,
            writes,
            flushes: writes && medium == Medium::VirtioWb,
        }
    }

    fn tells(&self, mark: Mark) -> bool {
        match mark {
            Mark::Begin => true,
            Mark::Stage(stage) => self.stages.contains(&stage),
            Mark::Progress(_) => self.progress,
        }
    }

    fn counts(&self, step: Step) -> bool {
        match step {
            Step::Ms(_) => true,
            Step::Write(_) => self.writes,
            Step::Flush(_) => self.flushes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTS: Cuts = Cuts {
        in_a_row: 1,
        after: &[Mark::Begin, Mark::Stage(Stage::Kernel)],
        ms: 500,
        writes: 300,
        flushes: 40,
    };

    fn all() -> Told {
        let stages = BTreeSet::from([Stage::Kernel]);
        Told { stages, progress: true, writes: true, flushes: true }
    }

    fn points(told: &Told) -> Vec<PlannedCut> {
        (0..400).flat_map(|seed| CUTS.draw(seed, told, CutPolicy::Subset)).collect()
    }

    #[test]
    fn every_kind_and_every_scale_is_drawn() {
        let drawn = points(&all());
        assert!(drawn.iter().all(|cut| cut.instead_of.is_none()));
        let count =
            |what: &dyn Fn(&CutPoint) -> bool| drawn.iter().filter(|cut| what(&cut.point)).count();
        assert!(count(&|p| p.after == Mark::Begin) > 100);
        assert!(count(&|p| p.after != Mark::Begin) > 100);
        assert!(count(&|p| matches!(p.step, Step::Ms(0..=500))) > 80);
        assert!(count(&|p| matches!(p.step, Step::Write(1..=4))) > 10);
        assert!(count(&|p| matches!(p.step, Step::Write(100..=300))) > 5);
        assert!(count(&|p| matches!(p.step, Step::Flush(1..=40))) > 80);
    }

    #[test]
    fn a_seed_is_a_point() {
        assert_eq!(points(&all()), points(&all()));
        let cuts = Cuts { in_a_row: 3, ..CUTS }.draw(9, &all(), CutPolicy::DropAll);
        assert_eq!(cuts.len(), 3);
        assert!(cuts[0] != cuts[1] || cuts[1] != cuts[2], "{cuts:?}");
        assert_eq!(cuts[0].point, CUTS.draw(9, &all(), CutPolicy::DropAll)[0].point);
    }

    #[test]
    fn what_a_board_cannot_tell_becomes_a_time_and_says_so() {
        let relay = Told { stages: BTreeSet::from([Stage::Kernel]), ..Told::default() };
        for (cut, here) in points(&relay).iter().zip(points(&all())) {
            assert!(matches!(cut.point.step, Step::Ms(_)));
            match here.point.step {
                Step::Ms(_) => assert_eq!(cut, &here),
                _ => assert_eq!(cut.instead_of, Some(here.point)),
            }
        }
    }

    #[test]
    fn points_read_well() {
        let point = CutPoint { after: Mark::Stage(Stage::Kernel), step: Step::Flush(7) };
        assert_eq!(point.to_string(), "flush 7 after kernel");
        let time = CutPoint { after: Mark::Progress(80), step: Step::Ms(120) };
        let cut = PlannedCut { point: time, policy: CutPolicy::Subset, instead_of: Some(point) };
        let text =
            "120 ms after 80 %, subset (instead of flush 7 after kernel: it cannot be told here)";
        assert_eq!(cut.to_string(), text);
    }
}
