//! What goes to the target: the pushed files and the runner script, as one tar archive.

use std::fs;
use std::path::{Path, PathBuf};

use hil_core::trouble::{Outcome, Trouble};
use tempfile::NamedTempFile;

const MOST_FILES: usize = 10_000;
const MOST_DEPTH: usize = 32;

/// Files to push, found and counted before anything is sent.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// Where each lies here, and its name on the target.
    files: Vec<(PathBuf, String)>,
    bytes: u64,
}

impl Package {
    /// Adds a file or a folder of `dir` by its relative path. What is missing or too much is the
    /// suite's mistake, and says nothing about the product.
    pub(super) fn add(&mut self, dir: &Path, path: &str, most_bytes: u64) -> Outcome {
        self.walk(&dir.join(path), path, 0).map_err(|error| {
            Trouble::rack(format!("push {}: {error}", dir.join(path).display()))
        })?;
        if self.bytes > most_bytes {
            let most = most_bytes >> 20;
            let why = format!("more than {most} MiB are to be pushed: see `limits` in suite.toml");
            return Err(Trouble::rack(why));
        }
        Ok(())
    }

    fn walk(&mut self, file: &Path, name: &str, depth: usize) -> std::io::Result<()> {
        // A link stays one: what it points to may be anything of this host's.
        let about = fs::symlink_metadata(file)?;
        if self.files.len() >= MOST_FILES || depth > MOST_DEPTH {
            let why = format!("more than {MOST_FILES} files, or deeper than {MOST_DEPTH} folders");
            return Err(std::io::Error::other(why));
        }
        if about.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(file)?.collect::<Result<_, _>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                self.walk(&entry.path(), &name, depth + 1)?;
            }
        } else if about.is_file() || about.is_symlink() {
            self.bytes += about.len();
            self.files.push((file.into(), name.into()));
        }
        Ok(())
    }

    /// The archive: `files/…` and `run.sh`.
    pub(super) fn archive(&self, runner: &str) -> Outcome<NamedTempFile> {
        self.write(runner).map_err(|error| Trouble::rack(format!("pack what is pushed: {error}")))
    }

    fn write(&self, runner: &str) -> std::io::Result<NamedTempFile> {
        let file = NamedTempFile::new()?;
        let mut tar = tar::Builder::new(file.reopen()?);
        tar.follow_symlinks(false);
        for (path, name) in &self.files {
            tar.append_path_with_name(path, format!("files/{name}"))?;
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(runner.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, "run.sh", runner.as_bytes())?;
        tar.finish()?;
        Ok(file)
    }
}
