//! The lanes of a board: its cases on several boards of its kind at once, each in a folder of its own,
//! as `hil merge` would put them together.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::board::Board;
use hil_core::plan::BoardPlan;
use hil_core::shard::lanes;
use hil_report::rebuild::run_dir;

use crate::failure::Failure;

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
    count: u32,
    dir: &Path,
) -> Result<Vec<Lane>, Failure> {
    let name = &board.name;
    let plans = match board.is_emulated() {
        true if count > 1 => lanes(plan, count),
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
