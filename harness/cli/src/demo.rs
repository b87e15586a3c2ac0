//! The demo images: found in the cache, built by fixtures/demo-os when absent or stale.

use std::env;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hil_core::arch::Arch;

use crate::failure::Failure;
use crate::paths;

/// Smallest first: a case runs on the first that has what it needs.
const VARIANTS: [&str; 2] = ["mini", "full"];
const BUILDER: &str = "fixtures/demo-os/build";

/// The machine of an image whose name says nothing of it: QEMU's own, of each architecture.
const PLAIN: &str = "virt";

/// Manifests of the demo images for a machine of the builder's, such as `virt` or `cubieboard`.
pub(crate) fn images(arch: Arch, machine: &str) -> Result<Vec<PathBuf>, Failure> {
    VARIANTS.iter().map(|variant| image(&Demo { arch, variant, machine })).collect()
}

/// One of the demo images.
struct Demo<'d> {
    arch: Arch,
    variant: &'d str,
    machine: &'d str,
}

impl fmt::Display for Demo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.arch, self.variant)?;
        if self.machine == PLAIN { Ok(()) } else { write!(f, "-{}", self.machine) }
    }
}

fn image(demo: &Demo<'_>) -> Result<PathBuf, Failure> {
    let folder = paths::cache()?.join(format!("images/demo-os/{demo}"));
    let manifest = folder.join("image.toml");
    let (builder, passed_over) = builder();
    match builder {
        Some(builder) => build(&builder, demo, &folder)?,
        None if manifest.exists() => {}
        None => {
            let passed_over: String =
                passed_over.iter().map(|why| format!("\npassed over {why}")).collect();
            return Err(Failure::usage(format!(
                "no --image, and the demo image {demo} is not built{passed_over}\n\
                 help: give --image, or run once inside hil's source tree, whose {BUILDER} makes it"
            )));
        }
    }
    Ok(manifest)
}

/// The builder of the source tree we run in, or were built in, and why others were passed over.
///
/// Somebody else's folder may be above ours (`/tmp` is above many), and what is found is executed:
/// only a tree that none but the caller and root can change is taken.
fn builder() -> (Option<PathBuf>, Vec<String>) {
    let here = env::current_dir().ok();
    let exe = env::current_exe().ok();
    let starts = [here.as_deref(), exe.as_deref()].into_iter().flatten();
    let mut passed_over = Vec::new();
    for root in starts.flat_map(Path::ancestors) {
        let builder = root.join(BUILDER);
        if !builder.is_file() {
            continue;
        }
        match why_not(root) {
            None => return (Some(builder), passed_over),
            Some(why) => passed_over.push(format!("{}: {why}", builder.display())),
        }
    }
    (None, passed_over)
}

/// Why nothing of the tree may be executed, looking at the builder and each folder above it.
fn why_not(root: &Path) -> Option<String> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let builder = root.join(BUILDER);
    let up_to_root = builder.ancestors().take(Path::new(BUILDER).components().count() + 1);
    up_to_root.into_iter().find_map(|path| {
        let why = match path.metadata() {
            Ok(data) => others_can_change(&data, uid, gid)?.to_string(),
            Err(error) => error.to_string(),
        };
        Some(format!("{} {why}", path.display()))
    })
}

fn others_can_change(data: &Metadata, uid: u32, gid: u32) -> Option<&'static str> {
    changeable((data.uid(), data.gid(), data.mode()), uid, gid)
}

fn changeable((owner, group, mode): (u32, u32, u32), uid: u32, gid: u32) -> Option<&'static str> {
    let own_group = group == gid || group == 0;
    match () {
        () if owner != uid && owner != 0 => Some("belongs to another user"),
        () if mode & 0o002 != 0 => Some("can be written by everybody"),
        // Many systems give each user a group of their own and make files writable by it.
        () if mode & 0o020 != 0 && !own_group => Some("can be written by a group"),
        () => None,
    }
}

/// Does nothing, quickly, where the image is there and its recipe unchanged.
fn build(builder: &Path, demo: &Demo<'_>, out: &Path) -> Result<(), Failure> {
    let what = format!("build the demo image {demo}");
    let status = Command::new(builder)
        .args(["--arch", demo.arch.name(), "--variant", demo.variant])
        .args(["--board", demo.machine, "--out"])
        .arg(out)
        .stdin(Stdio::null())
        // Its progress belongs beside ours; stdout is for results.
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| Failure::host(format!("failed to {what}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::host(format!("failed to {what}: see above ({status})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_caller_and_root_alone_can_change_is_executed() {
        let (me, mine) = (1000, 1000);
        for trusted in [(me, mine, 0o755), (0, 0, 0o755), (me, mine, 0o775), (0, 0, 0o775)] {
            assert_eq!(changeable(trusted, me, mine), None, "{trusted:?}");
        }
        let strange = [(1001, mine, 0o755), (me, mine, 0o757), (0, 0, 0o1777), (me, 50, 0o775)];
        for strange in strange {
            assert!(changeable(strange, me, mine).is_some(), "{strange:?}");
        }
        assert!(changeable((me, mine, 0o755), 0, 0).is_some(), "root does not run a user's file");
    }
}
