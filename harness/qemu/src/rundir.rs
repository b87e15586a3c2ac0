//! A run's private folder for sockets and small files: short names, gone when the run is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::QemuError;

/// The file that says whose folder it is: nothing without it is ever removed. Locked while its run
/// lives, which the kernel sees to.
const MARK: &str = ".hil-run-lives";

/// `sun_path` has 108 bytes, the last of which is zero.
const SOCKET_LIMIT: usize = 107;

/// A run's folder; dropping it removes it and what is in it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    run_id: String,
    _alive: File,
}

impl RunDir {
    /// Removes folders in `base` whose runs are gone: what a crash of the host has left. Where a run
    /// was only just killed its keeper is at the same work.
    pub fn sweep(base: &Path) {
        let Ok(entries) = fs::read_dir(base) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(mark) = File::open(path.join(MARK)) else { continue };
            if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    /// Makes the folder where the system keeps such things, in memory if there is such a place.
    pub fn create(run_id: &str) -> Result<RunDir, QemuError> {
        let usable = |base: &PathBuf| base.is_absolute() && base.is_dir();
        let base = ["XDG_RUNTIME_DIR", "TMPDIR"]
            .into_iter()
            .filter_map(std::env::var_os)
            .map(PathBuf::from)
            .find(usable)
            .unwrap_or_else(|| PathBuf::from("/tmp"));
        RunDir::create_in(&base, run_id)
    }

    /// Makes the folder inside `base`.
    pub fn create_in(base: &Path, run_id: &str) -> Result<RunDir, QemuError> {
        check_run_id(run_id)?;
        let path = base.join(format!("hil-{run_id}"));
        // Not recursive: a folder that exists belongs to somebody else, and that is an error.
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(QemuError::io("create the run's folder", &path))?;
        match mark(&path, run_id) {
            Ok(alive) => Ok(RunDir { path, run_id: run_id.into(), _alive: alive }),
            Err(why) => {
                let _ = fs::remove_dir_all(&path);
                Err(QemuError::io("mark", &path)(why))
            }
        }
    }

    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The name of a socket in the folder, known to be short enough.
    pub fn socket(&self, name: &str) -> Result<PathBuf, QemuError> {
        let path = self.file(name);
        let length = path.as_os_str().as_bytes().len();
        if length > SOCKET_LIMIT {
            return Err(QemuError::SocketPathTooLong { path, length, limit: SOCKET_LIMIT });
        }
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path, &self.run_id);
    }
}

/// Marks a new folder, locked from the moment the mark is there.
fn mark(dir: &Path, run_id: &str) -> io::Result<File> {
    let unseen = dir.join("mark");
    let mut mark = File::create(&unseen)?;
    flock(&mark, FlockOperation::NonBlockingLockExclusive)?;
    mark.write_all(run_id.as_bytes())?;
    fs::rename(&unseen, dir.join(MARK))?;
    Ok(mark)
}

/// Removes a run's folder, if it is one.
pub(crate) fn remove(path: &Path, run_id: &str) {
    let is_ours = fs::read(path.join(MARK)).is_ok_and(|mark| mark == run_id.as_bytes());
    if is_ours {
        let _ = fs::remove_dir_all(path);
    }
}

/// A run's name goes into file names and an environment variable.
pub(crate) fn check_run_id(run_id: &str) -> Result<(), QemuError> {
    let fits = (1..=64).contains(&run_id.len());
    let plain = run_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits && plain { Ok(()) } else { Err(QemuError::RunId(run_id.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let dir = RunDir::create_in(base.path(), "a1").unwrap();
        fs::write(dir.file("x"), "x").unwrap();
        let path = dir.path().to_path_buf();
        assert!(RunDir::create_in(base.path(), "a1").is_err(), "a second run of the same name");
        assert!(path.join("x").exists(), "the loser must not remove the winner's folder");
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_crash_left_is_swept_and_what_lives_stays() {
        let base = tempfile::tempdir().unwrap();
        let alive = RunDir::create_in(base.path(), "a1").unwrap();
        let (crashed, other) = (base.path().join("hil-b2"), base.path().join("hil-c3"));
        for folder in [&crashed, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("ram"), "secret").unwrap();
        }
        fs::write(crashed.join(MARK), "b2").unwrap();
        RunDir::sweep(base.path());
        assert!(alive.path().exists() && !crashed.exists() && other.exists());
    }

    #[test]
    fn a_folder_of_somebody_else_stays() {
        let base = tempfile::tempdir().unwrap();
        remove(base.path(), "a1");
        fs::write(base.path().join(MARK), "b2").unwrap();
        remove(base.path(), "a1");
        assert!(base.path().exists());
    }

    #[test]
    fn a_long_socket_name_says_what_to_do() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("d".repeat(90));
        fs::create_dir(&deep).unwrap();
        let dir = RunDir::create_in(&deep, "a1").unwrap();
        let error = dir.socket("console.sock").unwrap_err().to_string();
        assert!(error.contains("107 are the limit; point XDG_RUNTIME_DIR"), "{error}");
        assert!(dir.socket(&"x".repeat(200)).is_err());
    }

    #[test]
    fn a_run_id_is_no_path() {
        let base = tempfile::tempdir().unwrap();
        for bad in ["", "../x", "a b", "a=b", &"x".repeat(65)] {
            assert!(RunDir::create_in(base.path(), bad).is_err(), "{bad}");
        }
    }
}
