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
use hil_core::shard::lanes;
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

/// Spreads a plan whose folder is `dir`. A physical board is one board.
pub(crate) fn of(
    board: &Board,
    plan: BoardPlan,
    (count, suites): (u32, &[Suite]),
    images: &[Arc<Prepared>],
    dir: &Path,
) -> Result<Vec<Lane>, Failure> {
    let name = &board.name;
    let weight = |planned: &PlannedCase| {
        let cases = suites.iter().filter(|suite| suite.name == planned.id.suite);
        let case = cases.flat_map(|suite| suite.cases).find(|case| case.name == planned.id.name);
        case.map(|case| case.weight()).unwrap_or_default()
    };
    let boot = |session: &SessionPlan| {
        let image = images.iter().find(|image| image.digest == session.digest);
        let has_engine = image.is_some_and(|image| image.image.engine.is_some());
        if has_engine { BOOT_WITH_ENGINE } else { BOOT }
    };
    let plans = match board.is_emulated() {
        true if count > 1 => lanes(plan, count, weight, boot),
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
