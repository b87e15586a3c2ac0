//! `hil merge`: the folders of several runs as one run's, with everything in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hil_report::Report;
use hil_report::merge::differences;
use hil_report::rebuild::{board_dirs, is_board, report_of, run_dir, runs_in};

use crate::args::MergeArgs;
use crate::failure::Failure;
use crate::outdir::OutDir;
use crate::run::finish;

/// One board's part of a run to be merged.
struct Part {
    dir: PathBuf,
    report: Report,
}

pub(crate) fn merge(args: &MergeArgs) -> Result<u8, Failure> {
    let mut boards: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for dir in &args.dirs {
        apart(dir, &args.out)?;
        for part in parts(dir)? {
            boards.entry(part.report.board.clone()).or_default().push(part);
        }
    }
    for (board, parts) in &mut boards {
        // Shards in their order, whatever order they were given in; else the earlier run first.
        parts.sort_by_key(|part| {
            let shard = part.report.share.as_ref().map(|share| share.index);
            (shard, part.report.started.clone())
        });
        belong_together(board, parts)?;
    }
    let out = OutDir::claim(&args.out)?;
    let mut dirs = Vec::new();
    for (board, parts) in &boards {
        let dir = out.board(board)?;
        for (part, nth) in parts.iter().zip(1..) {
            copy(&part.dir, &run_dir(&dir, nth)).map_err(|error| {
                Failure::host(format!("failed to copy {}: {error}", part.dir.display()))
            })?;
        }
        dirs.push(dir);
    }
    Ok(finish(&args.out, &dirs))
}

/// Claiming `out` empties it, which must never hit what is to be merged.
fn apart(dir: &Path, out: &Path) -> Result<(), Failure> {
    let whole = |path: &Path| path.canonicalize().ok();
    let (Some(dir), Some(out)) = (whole(dir), whole(out)) else { return Ok(()) };
    match dir.starts_with(&out) || out.starts_with(&dir) {
        false => Ok(()),
        true => Err(Failure::usage(format!(
            "--out {} and {} lie in one another\nhelp: give the merged run a folder of its own",
            out.display(),
            dir.display()
        ))),
    }
}

fn parts(dir: &Path) -> Result<Vec<Part>, Failure> {
    let failed = |error| Failure::usage(format!("failed to {error}"));
    let boards = match is_board(dir) {
        true => vec![dir.to_path_buf()],
        false => board_dirs(dir).map_err(failed)?,
    };
    let read = |dir: PathBuf| Ok(Part { report: report_of(&dir).map_err(failed)?, dir });
    boards.iter().flat_map(|board| runs_in(board)).map(read).collect()
}

fn belong_together(board: &str, parts: &[Part]) -> Result<(), Failure> {
    let reports: Vec<Report> = parts.iter().map(|part| part.report.clone()).collect();
    let differences = differences(&reports);
    if differences.is_empty() {
        return Ok(());
    }
    let runs: Vec<String> = parts
        .iter()
        .zip(1..)
        .map(|(part, nth)| format!("run {nth} is {}", part.dir.display()))
        .collect();
    Err(Failure::usage(format!(
        "the runs of {board} do not belong together:\n  {}\n  {}\nhelp: merge runs of one commit of \
         hil, with the same images, seed and selection",
        differences.join("\n  "),
        runs.join("\n  ")
    )))
}

/// All files: the evidence is the run's, wherever it lies.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
