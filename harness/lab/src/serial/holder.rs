//! Which process holds a port, as far as /proc tells: other users' open files are not shown to
//! those who are not root.

use std::fmt;
use std::fs::read_dir;
use std::path::Path;

/// A process that has a file open.
pub(super) struct Holder {
    pid: u32,
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.name)
    }
}

/// The first process but this one that has `port` open.
pub(super) fn of(port: &Path) -> Option<Holder> {
    let port = port.canonicalize().ok()?;
    for process in read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // This process's other boards would be looked through for each of them.
        if pid == std::process::id() {
            continue;
        }
        let Ok(files) = read_dir(process.path().join("fd")) else { continue };
        let is_port = |file: &std::fs::DirEntry| {
            std::fs::read_link(file.path()).is_ok_and(|target| target == port)
        };
        if files.flatten().any(|file| is_port(&file)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim_end().to_string() });
        }
    }
    None
}
