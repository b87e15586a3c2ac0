//! `hil keeper RUN FOLDER…`: the process that outlives hil and leaves nothing behind.
//!
//! hil starts it itself; nobody types it, so it is no subcommand of the command line's.

use std::path::PathBuf;
use std::process::ExitCode;

/// The keeper's exit code, if this process was started as one.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != "keeper" {
        return None;
    }
    let Some(run) = words.next().and_then(|run| run.into_string().ok()) else {
        return Some(ExitCode::from(2));
    };
    let folders: Vec<PathBuf> = words.map(PathBuf::from).collect();
    Some(hil_qemu::keeper::keeper_main(&run, &folders))
}
