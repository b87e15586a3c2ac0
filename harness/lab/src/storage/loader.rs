//! Runs the steps of a device type's `[flash.loader]`: the field's own tools (fastboot, uuu, …)
//! as data. What the tools do on USB is theirs; the board must be in the mode they talk to.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use hil_core::board::{Loader, Placeholder, Tool};
use hil_core::deadline::Deadline;
use hil_core::parts::Progress;
use regex::Regex;

use super::StorageSpec;
use super::tool::{Env, Errand, find};
use crate::error::DriverError;

/// The files that steps may name.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// The raw disk image, unpacked.
    pub image: &'f Path,
    /// Its block map; without it `IMAGE.bmap` is taken if it is there.
    pub bmap: Option<&'f Path>,
    /// The board's bootloader as one file.
    pub bootloader: Option<&'f Path>,
    /// The folder of the image's manifest.
    pub dir: &'f Path,
}

/// How the caller follows and stops the steps.
pub(crate) struct Watch<'w> {
    pub(crate) progress: Progress<'w>,
    pub(crate) log: &'w (dyn Fn(&str) + Send + Sync),
    pub(crate) cancel: &'w AtomicBool,
    pub(crate) env: &'w Env,
    pub(crate) deadline: Deadline,
}

/// Runs every step in order. Nothing is run unless every tool is there.
pub(crate) fn run(
    loader: &Loader,
    spec: &StorageSpec,
    files: &Files<'_>,
    watch: &Watch<'_>,
) -> Result<(), DriverError> {
    let steps = loader.commands(|open| value(open, spec, files)).map_err(unknown)?;
    for step in &steps {
        check(step, loader.tool, watch.env)?;
    }
    let percent = Regex::new(r"(?:^|[^\d.])(100|\d{1,2})(?:\.\d+)?\s?%")
        .map_err(|why| DriverError::new(format!("run the loader: {why}")))?;
    let all = 100 * steps.len() as u64;
    for (nth, argv) in steps.iter().enumerate() {
        (watch.log)(&format!("$ {}", argv.join(" ")));
        let begun = 100 * nth as u64;
        (watch.progress)(begun, all);
        let line = |line: &str| {
            (watch.log)(line);
            let last = percent.captures_iter(line).last();
            if let Some(done) = last.and_then(|found| found[1].parse::<u64>().ok()) {
                (watch.progress)(begun + done, all);
            }
        };
        let (env, deadline, cancel) = (watch.env, watch.deadline, Some(watch.cancel));
        let ended = Errand { argv, env, deadline, cancel, line: &line }.run()?.ok(argv);
        ended.map_err(|why| match &loader.enter {
            Some(enter) => DriverError::new(format!("{why}; is the board in its mode? {enter}")),
            None => why,
        })?;
        (watch.progress)(begun + 100, all);
    }
    Ok(())
}

fn value(open: Placeholder, spec: &StorageSpec, files: &Files<'_>) -> Option<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match open {
        Placeholder::Image => Some(text(files.image)),
        Placeholder::Bootloader => files.bootloader.map(text),
        Placeholder::Device => {
            spec.loader_device.clone().or_else(|| spec.device.as_deref().map(text))
        }
        Placeholder::Serial => spec.loader_serial.clone(),
        Placeholder::Dir => Some(text(files.dir)),
    }
}

fn unknown(open: Placeholder) -> DriverError {
    let from = match open {
        Placeholder::Device => "`loader_device` in the instance's [storage] gives it",
        Placeholder::Serial => "`loader_serial` in the instance's [storage] gives it",
        Placeholder::Bootloader => "[bootloader] in the image's manifest gives it",
        Placeholder::Image | Placeholder::Dir => "no image is given",
    };
    DriverError::new(format!("run the loader: its steps need {open}: {from}"))
}

fn check(step: &[String], tool: Tool, env: &Env) -> Result<(), DriverError> {
    let Some(program) = step.first() else {
        return Err(DriverError::new("run the loader: a step is empty"));
    };
    if find(program, env).is_some() {
        return Ok(());
    }
    let known = tool.program() == Some(program.as_str());
    let from = where_from(tool).filter(|_| known);
    let help = from.map_or(String::new(), |from| format!(": {from}"));
    Err(DriverError::new(format!("run the loader: `{program}` is not installed{help}")))
}

/// Names in Debian 12, and where else the tool is to be had.
fn where_from(tool: Tool) -> Option<&'static str> {
    match tool {
        Tool::Fastboot => Some("package `fastboot`"),
        Tool::Uuu => Some("package `uuu`, or https://github.com/nxp-imx/mfgtools"),
        Tool::DfuUtil => Some("package `dfu-util`"),
        Tool::Rpiboot => {
            Some("package `rpiboot` where there is one, or https://github.com/raspberrypi/usbboot")
        }
        Tool::SunxiFel => Some("package `sunxi-tools`"),
        Tool::Command => None,
    }
}
