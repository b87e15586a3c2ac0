//! Who holds which board: one lock file an instance on this host, with the holder's own words in it.
//!
//! The lock is the kernel's (`flock`), so it is gone with the last process that holds it. The words
//! stay when a holder died without letting go: the next one knows that the board may be in any
//! state.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::DriverError;

/// Who holds a board, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub user: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// `hil run --board beaglebone`.
    pub what: String,
    /// Set by `hil lab hold`: the same user's commands by hand may use the board meanwhile.
    #[serde(default)]
    pub by_hand: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {}) since {}, for `{}`", self.user, self.pid, self.since, self.what)
    }
}

/// RFC 3339 to the second, UTC: since when a board is held.
pub fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    now.ok().and_then(|now| now.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A board held by this process. Dropping it lets go and removes the holder's words.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// What an earlier holder left behind when it died.
    pub left_by: Option<Holder>,
}

/// What came of asking for a board.
#[derive(Debug)]
pub enum Asked {
    Held(Lock),
    /// Somebody else has it. Who, unless that is being written at this moment.
    Busy(Option<Holder>),
}

impl Lock {
    /// Takes the lock, if nobody has it.
    pub fn ask(locks: &Path, instance: &str, holder: &Holder) -> Result<Asked, DriverError> {
        let path = path_of(locks, instance);
        let failed = |why: std::io::Error| {
            let hint = match why.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "; it belongs to another user: chmod 666 it"
                }
                _ => "",
            };
            DriverError::new(format!("open the lock {}: {why}{hint}", path.display()))
        };
        let mut file = open(&path).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(Asked::Busy(read(&mut file)));
        }
        let left_by = read(&mut file);
        let words = serde_json::to_string(holder).unwrap_or_default();
        let written = file.set_len(0).and_then(|()| file.rewind());
        written.and_then(|()| file.write_all(words.as_bytes())).map_err(failed)?;
        Ok(Asked::Held(Lock { file, left_by }))
    }

    /// Who holds the instance now.
    pub fn holder(locks: &Path, instance: &str) -> Option<Holder> {
        let mut file = File::open(path_of(locks, instance)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(read(&mut file).unwrap_or_else(|| Holder {
                pid: 0,
                user: "somebody".into(),
                since: "just now".into(),
                what: "?".into(),
                by_hand: false,
            })),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Empty words mean: let go in order. The lock itself goes with the file.
        let _ = self.file.set_len(0);
    }
}

fn path_of(locks: &Path, instance: &str) -> PathBuf {
    locks.join(format!("{instance}.lock"))
}

/// The file is never removed: a lock on a removed file would exclude nobody.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).mode(0o666).open(path) {
        Ok(file) => {
            // Whatever the umask was: other users of the lab take this lock, too.
            let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
            Ok(file)
        }
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => options.open(path),
        Err(why) => Err(why),
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(what: &str) -> Holder {
        let (user, since) = ("me".into(), "2026-01-01T00:00:00Z".into());
        Holder { pid: 1, user, since, what: what.into(), by_hand: false }
    }

    fn held(dir: &Path, what: &str) -> Lock {
        match Lock::ask(dir, "bbb-1", &me(what)).unwrap() {
            Asked::Held(lock) => lock,
            Asked::Busy(holder) => panic!("{holder:?}"),
        }
    }

    #[test]
    fn a_second_asker_is_told_who_holds_what_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = held(dir.path(), "hil run");
        match Lock::ask(dir.path(), "bbb-1", &me("other")).unwrap() {
            Asked::Busy(Some(holder)) => assert_eq!(holder.what, "hil run"),
            other => panic!("{other:?}"),
        }
        assert_eq!(Lock::holder(dir.path(), "bbb-1"), Some(me("hil run")));
        assert_eq!(Lock::holder(dir.path(), "bbb-2"), None);
        drop(lock);
        assert_eq!(Lock::holder(dir.path(), "bbb-1"), None);
        assert_eq!(held(dir.path(), "again").left_by, None);
    }

    #[test]
    fn a_holder_that_died_is_known_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let lock = held(dir.path(), "hil run");
        // Dying closes the file and runs no destructor.
        drop(lock.file.try_clone().unwrap());
        let words = std::fs::read(path_of(dir.path(), "bbb-1")).unwrap();
        drop(lock);
        std::fs::write(path_of(dir.path(), "bbb-1"), words).unwrap();
        assert_eq!(held(dir.path(), "next").left_by, Some(me("hil run")));
    }
}
