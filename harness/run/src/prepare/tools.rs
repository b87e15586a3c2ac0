//! The host's tools: where they are. What they are for is their callers' affair.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File system tools live here, and the `PATH` of plain users often lacks it.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The program of that name: along `PATH`, then in the system's own folders.
pub fn find(tool: &str) -> Option<PathBuf> {
    find_along(&std::env::var_os("PATH").unwrap_or_default(), tool)
}

fn find_along(path: &OsStr, tool: &str) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).chain(SYSTEM.map(PathBuf::from));
    folders.map(|folder| folder.join(tool)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A command for the tool; where there is none, starting it fails with `NotFound`.
pub(super) fn command(tool: &str) -> Command {
    Command::new(find(tool).unwrap_or_else(|| PathBuf::from(tool)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_no_program_is_passed_over() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for dir in &dirs {
            fs::write(dir.path().join("tool"), "").unwrap();
        }
        let path = std::env::join_paths(dirs.iter().map(tempfile::TempDir::path)).unwrap();
        assert_eq!(find_along(&path, "tool"), None);
        let second = dirs[1].path().join("tool");
        fs::set_permissions(&second, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_along(&path, "tool"), Some(second));
    }

    #[test]
    fn system_tools_are_found_without_their_folder_in_path() {
        let found = find_along(OsStr::new("/nonexistent"), "e2fsck");
        let found = found.expect("e2fsck (package e2fsprogs) must be installed");
        assert!(found.ends_with("sbin/e2fsck"), "{found:?}");
    }
}
