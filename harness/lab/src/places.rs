//! Where this host keeps what concerns its racks: locks until the next reboot, findings for good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::DriverError;

/// Folders that every user of this host's racks shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// One lock file an instance; gone after a reboot, like the processes that held them.
    pub locks: PathBuf,
    /// Quarantines and calibrations; they outlive a reboot.
    pub state: PathBuf,
}

impl Places {
    /// `$HIL_LAB_STATE` for both; otherwise `/run/lock/hil` and `/var/lib/hil` where they can be
    /// had, and this user's own folders where not.
    pub fn of_host() -> Result<Places, DriverError> {
        if let Some(folder) = std::env::var_os("HIL_LAB_STATE").map(PathBuf::from) {
            return Places::below(&folder);
        }
        let home = std::env::var_os("HOME").map_or("/tmp".into(), PathBuf::from);
        let own = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let own = own.unwrap_or_else(|| home.join(".local/state")).join("hil");
        let shared = |path: &str| Some(PathBuf::from(path)).filter(|path| usable(path));
        Ok(Places {
            locks: match shared("/run/lock/hil") {
                Some(folder) => folder,
                None => made(own.join("locks"))?,
            },
            state: match shared("/var/lib/hil") {
                Some(folder) => folder,
                None => made(own)?,
            },
        })
    }

    /// Both below one folder: for tests, and for racks that one user has to himself.
    pub fn below(folder: &Path) -> Result<Places, DriverError> {
        Ok(Places { locks: made(folder.join("locks"))?, state: made(folder.join("state"))? })
    }
}

/// Whether the folder is there, or can be made, and takes files of ours.
fn usable(path: &Path) -> bool {
    if fs::create_dir(path).is_ok() {
        // Like /tmp: whoever uses the lab may lock in it, and nobody removes another's files.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o1777));
    }
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

fn made(path: PathBuf) -> Result<PathBuf, DriverError> {
    match fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(why) => Err(DriverError::new(format!("create {}: {why}", path.display()))),
    }
}
