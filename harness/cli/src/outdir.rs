//! The folder of a run's results: claimed by one run at a time, emptied of the run before.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use hil_report::rebuild::is_board;
use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

const LOCK: &str = ".hil-lock";
/// What `hil report` makes of all boards together.
const REPORTS: [&str; 3] = ["junit.xml", "summary.md", "report.html"];

/// Held by a run; the claim ends with the process, however that ends.
pub(crate) struct OutDir {
    path: PathBuf,
    _lock: File,
}

impl OutDir {
    /// Claims the folder and removes what an earlier run of hil left there; other files stay.
    pub(crate) fn claim(path: &Path) -> Result<OutDir, Failure> {
        let failed = |error: std::io::Error| {
            Failure::host(format!("failed to prepare --out {}: {error}", path.display()))
        };
        fs::create_dir_all(path).map_err(failed)?;
        let file = path.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&file).map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = fs::read_to_string(&file).unwrap_or_default();
            return Err(Failure::usage(format!(
                "--out {} is in use by another run (process {})\nhelp: give this run its own --out",
                path.display(),
                holder.trim()
            )));
        }
        lock.set_len(0).map_err(failed)?;
        writeln!(&lock, "{}", std::process::id()).map_err(failed)?;
        for entry in fs::read_dir(path).map_err(failed)? {
            let found = entry.map_err(failed)?.path();
            let name = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_board(&found) {
                fs::remove_dir_all(&found).map_err(failed)?;
            } else if REPORTS.contains(&name.trim_end_matches(".new")) {
                // A run that is killed must not leave the green reports of the one before.
                fs::remove_file(&found).map_err(failed)?;
            }
        }
        Ok(OutDir { path: path.to_path_buf(), _lock: lock })
    }

    /// Makes one board's folder in it.
    pub(crate) fn board(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.path.join(name);
        fs::create_dir(&dir).map_err(|error| {
            let help = "it holds files that are no run of hil's; give another --out";
            Failure::usage(format!("failed to make {}: {error}\nhelp: {help}", dir.display()))
        })?;
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "events.jsonl";

    #[test]
    fn only_earlier_runs_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        for (board, file) in [("a", EVENTS), ("mine", "thesis.tex")] {
            fs::create_dir(dir.path().join(board)).unwrap();
            fs::write(dir.path().join(board).join(file), "x").unwrap();
        }
        fs::create_dir_all(dir.path().join("merged/runs/1")).unwrap();
        fs::write(dir.path().join("merged/runs/1").join(EVENTS), "x").unwrap();
        for file in ["junit.xml", "report.html", "junit.xml.new", "notes.txt"] {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        let out = OutDir::claim(dir.path()).unwrap();
        assert!(!dir.path().join("a").exists() && !dir.path().join("merged").exists());
        for file in ["junit.xml", "report.html", "junit.xml.new"] {
            assert!(!dir.path().join(file).exists(), "{file} of the run before is left");
        }
        assert!(dir.path().join("notes.txt").exists());
        assert!(dir.path().join("mine/thesis.tex").exists());
        assert!(out.board("mine").unwrap_err().message.contains("no run of hil's"));
    }

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = OutDir::claim(dir.path()).unwrap();
        let error = OutDir::claim(dir.path()).err().unwrap();
        assert!(error.message.contains(&std::process::id().to_string()), "{}", error.message);
        drop(first);
        assert!(OutDir::claim(dir.path()).is_ok());
    }
}
