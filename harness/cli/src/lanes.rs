//! The lanes of a board: its cases on several boards of its kind at once, each in a folder of its own,
//! as `hil merge` would put them together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hil_core::board::Board;
use hil_core::case::Suite;
use hil_core::deadline::secs;
use hil_core::plan::{BoardPlan, PlannedCase, SessionPlan};
use hil_core::shard::{Boots, lanes};
use hil_report::rebuild::run_dir;
use hil_run::prepare::Prepared;

use crate::failure::Failure;

/// About how long an image takes under TCG until it is booted, warmed and saved: an engine is what lasts.
const BOOT: Duration = secs(8);
const BOOT_WITH_ENGINE: Duration = secs(35);

/// What one of them runs.
pub(crate) struct Lane {
    /// For those who watch.
    pub(crate) label: String,
    pub(crate) dir: PathBuf,
    pub(crate) plan: BoardPlan,
}

/// Spreads a plan whose folder is `dir`. A physical board is one board. `saved`: whether an image, by its
/// digest, need not be booted before a case can start from a fork.
pub(crate) fn of(
    board: &Board,
    plan: BoardPlan,
    (count, suites): (u32, &[Suite]),
    (images, saved): (&[Arc<Prepared>], impl Fn(&str) -> bool),
    dir: &Path,
) -> Result<Vec<Lane>, Failure> {
    let name = &board.name;
    let weight = |planned: &PlannedCase| {
        let cases = suites.iter().filter(|suite| suite.name == planned.id.suite);
        let case = cases.flat_map(|suite| suite.cases).find(|case| case.name == planned.id.name);
        case.map(|case| case.weight()).unwrap_or_default()
    };
    let boots = |session: &SessionPlan| {
        let image = images.iter().find(|image| image.digest == session.digest);
        let has_engine = image.is_some_and(|image| image.image.engine.is_some());
        let plain = if has_engine { BOOT_WITH_ENGINE } else { BOOT };
        let to_fork = if saved(&session.digest) { Duration::ZERO } else { plain };
        Boots { to_fork, plain }
    };
    let plans = match board.is_emulated() {
        true if count > 1 => lanes(plan, count, weight, boots),
        _ => vec![plan],
    };
    if let [_] = plans[..] {
        let lane = |plan| Lane { label: name.clone(), dir: dir.to_path_buf(), plan };
        return Ok(plans.into_iter().map(lane).collect());
    }
    let lane = |(nth, plan)| {
        let dir = run_dir(dir, nth);
        fs::create_dir_all(&dir)
            .map_err(|why| Failure::host(format!("failed to make {}: {why}", dir.display())))?;
        Ok(Lane { label: format!("{name}/{nth}"), dir, plan })
    };
    (1..).zip(plans).map(lane).collect()
}

#[cfg(test)]
mod tests {
    use hil_core::case::{Case, Isolation, Need};
    use hil_core::image::Image;
    use hil_core::parts::CutPolicy;
    use hil_core::plan::{Selection, Terms, plan_board};
    use hil_core::rig::Rig;
    use hil_core::trouble::Outcome;

    use super::*;

    async fn nothing(_rig: &mut Rig) -> Outcome {
        Ok(())
    }

    const fn case(name: &'static str) -> Case {
        let case = Case::new(name, secs(60), hil_core::body!(nothing));
        case.isolation(Isolation::Fork).lasts(secs(20))
    }

    const SUITES: &[Suite] = &[Suite {
        name: "s",
        about: "",
        cases: &[
            case("any"),
            case("one").needs(&[Need::Engine]),
            case("two").needs(&[Need::Engine]),
        ],
        deadline: secs(600),
    }];

    fn image(variant: &str, extra: &str) -> Arc<Prepared> {
        let text = format!("name = \"os\"\nvariant = \"{variant}\"\narch = \"arm\"\n{extra}");
        let text = format!("{text}[boot.kernel]\nfile = \"k\"\n");
        let image = Image::parse(&text, Path::new("image.toml")).unwrap();
        Arc::new(Prepared { image: Arc::new(image), disk: None, digest: variant.into() })
    }

    /// The numbers of cases in two lanes of two twenty-second cases on a small image, and four on one
    /// with an engine, where boards of these images are saved.
    fn dealt(saved: &[&str]) -> Vec<usize> {
        let board = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n";
        let board = Board::parse(board, Path::new("qemu-x.toml")).unwrap();
        let images = [image("mini", ""), image("full", "[engine.docker]\n")];
        let selection = Selection {
            suites: SUITES,
            wanted: &|_| true,
            required: &|_| false,
            expected: &|_| None,
            repeat: 2,
            seed: 7,
            terms: Terms { forks_as: Isolation::Fork, cut_policy: CutPolicy::Subset },
            envelope: None,
            cuts: 1,
            replay: None,
        };
        let known = images.each_ref().map(|one| (&*one.image, one.digest.clone()));
        let plan = plan_board(&board, &known, &selection);
        let dir = tempfile::tempdir().unwrap();
        let lanes = of(
            &board,
            plan,
            (2, SUITES),
            (&images, |digest: &str| saved.contains(&digest)),
            dir.path(),
        );
        let Ok(lanes) = lanes else { panic!("no lanes") };
        lanes.iter().map(|lane| lane.plan.cases()).collect()
    }

    #[test]
    fn a_lane_that_boots_an_engine_has_fewer_cases_unless_its_board_is_saved() {
        assert_eq!(dealt(&[]), [4, 2]);
        assert_eq!(dealt(&["mini"]), [4, 2]);
        assert_eq!(dealt(&["full"]), [3, 3]);
        assert_eq!(dealt(&["mini", "full"]), [3, 3]);
    }
}
