//! The files of a run's reports, written when it ends and rebuilt from its events at any time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hil_core::plan::{CaseId, Retries, Terms};
use hil_core::rules::Rules;
use hil_core::verdict::Verdict;

use crate::events_file::FILE_NAME;
use crate::fold::{FoldError, fold, unplanned_case};
use crate::github::summary_of;
use crate::html::html_of;
use crate::junit::junit_of;
use crate::merge::join;
use crate::read::{ReadError, read_events};
use crate::report::{End, Merged, Placed, Report, Standing};
use crate::verdicts::OWN_SUITE;

/// Of a board that several runs were merged for, the folder that holds them.
const RUNS: &str = "runs";

/// Finishes the sentence "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("report on {}: failed to {error}", path.display())]
    Fold { path: PathBuf, error: FoldError },
    #[error("list {}: {error}", path.display())]
    List { path: PathBuf, error: io::Error },
    #[error(
        "find {FILE_NAME} in {} or in a directory of it; \
         give the --out directory of a run, or one board's directory in it",
        path.display()
    )]
    Nothing { path: PathBuf },
    #[error("write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
}

/// What a rebuild found and wrote.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    pub reports: Vec<Report>,
    pub written: Vec<PathBuf>,
}

/// Rebuilds every report of a run from its events: `dir` is the run's `--out` directory or that of
/// one of its boards.
pub fn rebuild(dir: &Path) -> Result<Rebuilt, RebuildError> {
    if is_board(dir) {
        let report = report_of(dir)?;
        let written = write_into(dir, &[Placed { report: &report, under: "" }])?;
        return Ok(Rebuilt { reports: vec![report], written });
    }
    let mut boards: Vec<(PathBuf, Report)> = Vec::new();
    for board_dir in board_dirs(dir)? {
        let report = report_of(&board_dir)?;
        boards.push((board_dir, report));
    }
    let written = write_reports(dir, &boards)?;
    Ok(Rebuilt { reports: boards.into_iter().map(|(_, report)| report).collect(), written })
}

/// Writes `junit.xml`, `summary.md` and `report.html` into each board's directory, and merged
/// ones into `out`.
pub fn write_reports(
    out: &Path,
    boards: &[(PathBuf, Report)],
) -> Result<Vec<PathBuf>, RebuildError> {
    let mut written = Vec::new();
    let mut merged: Vec<(String, &Report)> = Vec::new();
    for (dir, report) in boards {
        written.extend(write_into(dir, &[Placed { report, under: "" }])?);
        let under = dir.strip_prefix(out).unwrap_or(dir).to_string_lossy().into_owned();
        merged.push((under, report));
    }
    // By name, not in the order the command line had them, which the events do not hold.
    merged.sort_by(|a, b| (&a.1.board, &a.0).cmp(&(&b.1.board, &b.0)));
    let placed: Vec<Placed<'_>> =
        merged.iter().map(|(under, report)| Placed { report, under }).collect();
    written.extend(write_into(out, &placed)?);
    Ok(written)
}

/// The report of a board's directory: of its events, or of the several runs merged in it.
pub fn report_of(board_dir: &Path) -> Result<Report, RebuildError> {
    let runs = runs_in(board_dir);
    if runs == [board_dir] {
        return report_of_run(board_dir);
    }
    let mut reports = Vec::new();
    for (nth, dir) in runs.iter().enumerate() {
        let mut report = report_of_run(dir)?;
        let under = format!("{RUNS}/{}", nth + 1);
        for path in report.cases.iter_mut().flat_map(|case| &mut case.attachments) {
            *path = format!("{under}/{path}");
        }
        reports.push(report);
    }
    join(reports).ok_or_else(|| RebuildError::Nothing { path: board_dir.into() })
}

/// Of a run that died before its first event was whole, the report says that.
fn report_of_run(board_dir: &Path) -> Result<Report, RebuildError> {
    let path = board_dir.join(FILE_NAME);
    let recorded = read_events(&path)?;
    let mut report = match fold(&recorded.events) {
        Ok(report) => report,
        Err(error @ FoldError::Empty) => nothing_recorded(board_dir, &error),
        Err(error) => return Err(RebuildError::Fold { path, error }),
    };
    report.notes.extend(recorded.torn.map(|torn| torn.to_string()));
    Ok(report)
}

fn nothing_recorded(board_dir: &Path, error: &FoldError) -> Report {
    let within = |dir: &Path| dir.file_name().is_some_and(|name| name == RUNS);
    let of_several = board_dir.parent().filter(|dir| within(dir)).and_then(Path::parent);
    let name = of_several.unwrap_or(board_dir).file_name().unwrap_or_default();
    let board = name.to_string_lossy().into_owned();
    let mut case =
        unplanned_case(&CaseId { suite: OWN_SUITE.into(), name: "run".into(), round: 1 }, None);
    (case.verdict, case.standing) = (Verdict::Broken, Standing::Broken);
    case.why = Some(format!("failed to {error}"));
    Report {
        board,
        host: String::new(),
        hil: String::new(),
        started: String::new(),
        seed: 0,
        terms: Terms::default(),
        rules: Rules::default(),
        envelope: None,
        retries: Retries::default(),
        share: None,
        took: 0.0,
        sessions: Vec::new(),
        cases: vec![case],
        notes: Vec::new(),
        end: End::Died,
    }
}

/// Whether a folder is a board's: of one run, or of several that were merged.
pub fn is_board(dir: &Path) -> bool {
    dir.join(FILE_NAME).is_file() || run_dir(dir, 1).join(FILE_NAME).is_file()
}

/// Where the `nth` run (from 1) of a merged board lies.
pub fn run_dir(board_dir: &Path, nth: usize) -> PathBuf {
    board_dir.join(format!("{RUNS}/{nth}"))
}

/// The runs that a board's folder holds: itself, or those that were merged, in their order.
pub fn runs_in(board_dir: &Path) -> Vec<PathBuf> {
    let merged = (1..).map(|nth| run_dir(board_dir, nth));
    let merged: Vec<PathBuf> = merged.take_while(|dir| dir.join(FILE_NAME).is_file()).collect();
    if merged.is_empty() { vec![board_dir.to_path_buf()] } else { merged }
}

/// The folders of boards in a run's `--out` directory; at least one.
pub fn board_dirs(dir: &Path) -> Result<Vec<PathBuf>, RebuildError> {
    let at_dir = |error| RebuildError::List { path: dir.into(), error };
    let mut dirs = Vec::new();
    for entry in fs::read_dir(dir).map_err(at_dir)? {
        let path = entry.map_err(at_dir)?.path();
        if is_board(&path) {
            dirs.push(path);
        }
    }
    dirs.sort();
    match dirs.is_empty() {
        true => Err(RebuildError::Nothing { path: dir.into() }),
        false => Ok(dirs),
    }
}

fn write_into(dir: &Path, placed: &[Placed<'_>]) -> Result<Vec<PathBuf>, RebuildError> {
    let merged = Merged::of(placed.iter().map(|placed| placed.report).collect());
    let files = [
        ("junit.xml", junit_of(placed)),
        ("summary.md", summary_of(&merged)),
        ("report.html", html_of(placed)),
    ];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        replace(&path, &text).map_err(|error| RebuildError::Write { path: path.clone(), error })?;
        written.push(path);
    }
    Ok(written)
}

/// Whole or not at all: a CI job that is cancelled meanwhile must not upload half a report.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}
