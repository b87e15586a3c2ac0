//! The version with the commit it was built from, so that a report says which hil made it.

use std::process::Command;

/// What hil is made of: a change in it makes the commit a lie, which `+` then says.
const SOURCES: &[&str] =
    &["harness", "suites", "boards", "qemu-configs", "Cargo.toml", "Cargo.lock"];

fn main() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={root}/{source}");
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let version = match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(commit) => {
            let changed = git(&[&["status", "--porcelain", "--"], SOURCES].concat());
            let plus = if changed.is_some_and(|changed| changed.is_empty()) { "" } else { "+" };
            format!("{version} ({commit}{plus})")
        }
        // Built from an archive of the sources.
        None => version.to_string(),
    };
    println!("cargo::rustc-env=HIL_VERSION={version}");
}
