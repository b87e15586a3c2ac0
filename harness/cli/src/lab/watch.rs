//! Where the console of a board that somebody else holds is being written, to look on.

use std::fs;
use std::path::{Path, PathBuf};

use hil_lab::Instance;
use hil_lab::lock::Holder;

/// The `console.log` that the holder's process has open for this board, as far as /proc shows it:
/// another user's open files are shown to root only.
pub(super) fn log_of(holder: &Holder, instance: &Instance) -> Option<PathBuf> {
    let files = fs::read_dir(format!("/proc/{}/fd", holder.pid)).ok()?;
    let open = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let logs: Vec<PathBuf> = open.filter(|file| file.ends_with("console.log")).collect();
    let names = [&instance.name, &instance.board];
    let of_board = |log: &&PathBuf| {
        let folder = log.parent().and_then(Path::file_name);
        names.iter().any(|name| folder.is_some_and(|folder| folder == name.as_str()))
    };
    match logs.as_slice() {
        [one] => Some(one.clone()),
        several => several.iter().find(of_board).cloned(),
    }
}
