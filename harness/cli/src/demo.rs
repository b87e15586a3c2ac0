//! The demo images: found in the cache, built by fixtures/demo-os when absent or stale.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hil_core::arch::Arch;

use crate::failure::Failure;
use crate::paths;

/// Smallest first: a case runs on the first that has what it needs.
const VARIANTS: [&str; 2] = ["mini", "full"];
const BUILDER: &str = "fixtures/demo-os/build";

/// Manifests of the demo images of an architecture.
pub(crate) fn images(arch: Arch) -> Result<Vec<PathBuf>, Failure> {
    VARIANTS.iter().map(|variant| image(arch, variant)).collect()
}

fn image(arch: Arch, variant: &str) -> Result<PathBuf, Failure> {
    let folder = paths::cache()?.join(format!("images/demo-os/{arch}-{variant}"));
    let manifest = folder.join("image.toml");
    match builder() {
        Some(builder) => build(&builder, arch, variant, &folder)?,
        None if manifest.exists() => {}
        None => {
            return Err(Failure::usage(format!(
                "no --image, and the demo image {arch}-{variant} is not built\n\
                 help: give --image, or run once inside hil's source tree, whose {BUILDER} makes it"
            )));
        }
    }
    Ok(manifest)
}

/// The builder of the source tree we run in, or were built in.
fn builder() -> Option<PathBuf> {
    let here = env::current_dir().ok();
    let exe = env::current_exe().ok();
    let starts = [here.as_deref(), exe.as_deref()].into_iter().flatten();
    starts.flat_map(Path::ancestors).map(|dir| dir.join(BUILDER)).find(|path| path.is_file())
}

/// Does nothing, quickly, where the image is there and its recipe unchanged.
fn build(builder: &Path, arch: Arch, variant: &str, out: &Path) -> Result<(), Failure> {
    let what = format!("build the demo image {arch}-{variant}");
    let status = Command::new(builder)
        .args(["--arch", arch.name(), "--variant", variant, "--out"])
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
