//! From an image on this host to a board that can boot it: the mux, the guard, the writing, the
//! reading back, and the mux again; or the loader of the board's type.
//!
//! The board is without power while its medium is on the host's side; for a loader it has power and
//! is in the loader's mode, the lines for U-Boot typed already: that is the caller's part.
//!
//! After any failure the medium is taken from the host again: connected to neither side where the
//! mux can do that (half an image boots nobody), to the board otherwise. A killed hil leaves the
//! mux as it was; the next provisioning begins by switching it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use hil_core::board::{Flash, Loader, Provides};
use hil_core::deadline::{Deadline, secs};
use hil_core::parts::Progress;

use super::StorageSpec;
use super::block::{self, Watch, Written};
use super::device::Device;
use super::guard::Kernel;
use super::loader::{self, Files};
use super::mux::{self, Mux, MuxSpec, Side};
use super::present::{self, Presence};
use super::source::Source;
use super::tool::Env;
use crate::error::DriverError;

/// How long a medium may take to appear behind a mux or a loader, or to go.
const APPEARS: std::time::Duration = secs(20);

/// Which way the image takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way<'w> {
    /// It is on the board already.
    Flashed,
    /// The host writes `device`, switched by the mux if there is one.
    Medium(&'w Path, Option<&'w MuxSpec>),
    /// The board takes it by its loader, and must have power. Where `provides` is absent the host
    /// never sees the medium: what is to be injected must be in the image.
    Loader(&'w Loader),
}

impl Way<'_> {
    /// The way for an instance's wiring and its type's facts: a mux if there is one; a loader if
    /// the wiring speaks of it, or if it is the only way; else the bare device.
    pub fn of<'w>(
        spec: Option<&'w StorageSpec>,
        flash: Option<&'w Flash>,
    ) -> Result<Way<'w>, DriverError> {
        let Some(spec) = spec else { return Ok(Way::Flashed) };
        let loader = flash.and_then(|flash| flash.loader.as_ref());
        let card = flash.is_none_or(|flash| flash.sd.is_some() || flash.usb.is_some());
        let meant = spec.loader_serial.is_some() || spec.loader_device.is_some();
        match (&spec.device, &spec.mux, loader) {
            (Some(device), Some(mux), _) => Ok(Way::Medium(device, Some(mux))),
            (None, Some(_), _) => Err(DriverError::new("provision: a mux needs `device`")),
            (_, None, Some(loader)) if meant || !card || spec.device.is_none() => {
                Ok(Way::Loader(loader))
            }
            (Some(device), None, _) => Ok(Way::Medium(device, None)),
            (None, None, _) => Err(DriverError::new(
                "provision: the instance's [storage] gives neither `device` nor a mux, and its \
                 type has no [flash.loader]",
            )),
        }
    }
}

/// How the caller follows and stops it.
#[derive(Clone, Copy)]
pub struct Options<'o> {
    /// Of the step under way; a new step begins at 0.
    pub progress: Progress<'o>,
    /// What is being done, and what tools print.
    pub log: &'o (dyn Fn(&str) + Send + Sync),
    pub cancel: &'o AtomicBool,
    /// For every tool that is started.
    pub env: &'o Env,
    pub deadline: Deadline,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provisioned {
    /// Absent if the host wrote nothing itself.
    pub medium: Option<(PathBuf, Written)>,
    /// Whether a loader ran.
    pub loader: bool,
    /// The mux, and whether it was seen to switch: it said so, or the medium came and went.
    pub mux: Option<(String, bool)>,
}

impl fmt::Display for Provisioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.medium, self.loader) {
            (None, false) => f.write_str("flashed already"),
            (None, true) => f.write_str("flashed by its loader"),
            (Some((path, written)), _) => write!(f, "{}: {written}", path.display()),
        }?;
        match &self.mux {
            Some((mux, false)) => write!(f, "; {mux} cannot be asked whether it switched"),
            _ => Ok(()),
        }
    }
}

/// What changes the medium once the image is on it.
pub type Inject<'i> = &'i mut dyn FnMut(&Device) -> Result<(), DriverError>;

/// Brings an image onto a board. Blocks, for minutes: call it on a thread of its own.
pub fn provision(
    spec: Option<&StorageSpec>,
    flash: Option<&Flash>,
    files: &Files<'_>,
    options: &Options<'_>,
    inject: Inject<'_>,
) -> Result<Provisioned, DriverError> {
    let way = Way::of(spec, flash)?;
    let (Some(spec), false) = (spec, way == Way::Flashed) else {
        return Ok(Provisioned::default());
    };
    let job = Job { spec, files, options };
    match way {
        Way::Flashed => Ok(Provisioned::default()),
        Way::Medium(device, Some(mux)) => job.behind_mux(device, mux, inject),
        Way::Medium(device, None) => {
            job.appeared(device, "check `device` in the lab file")?;
            Ok(Provisioned { medium: Some(job.write(inject)?), ..Provisioned::default() })
        }
        Way::Loader(loader) => job.by_loader(loader, inject),
    }
}

struct Job<'j> {
    spec: &'j StorageSpec,
    files: &'j Files<'j>,
    options: &'j Options<'j>,
}

impl Job<'_> {
    fn log(&self, line: &str) {
        (self.options.log)(line);
    }

    fn behind_mux(
        &self,
        device: &Path,
        spec: &MuxSpec,
        inject: Inject<'_>,
    ) -> Result<Provisioned, DriverError> {
        let mut mux = mux::open(spec, self.options.env);
        let before = self.before(device, &mut *mux)?;
        let done = self.to_host(device, &mut *mux).and_then(|asked| {
            let medium = self.write(inject)?;
            Ok((asked, medium))
        });
        let (asked, medium) = match done {
            Ok(done) => done,
            Err(why) => return Err(self.park(&mut *mux, why)),
        };
        let follows = !before.is_there();
        self.to_board(device, &mut *mux, follows)?;
        let mux = Some((mux.label(), asked || follows));
        Ok(Provisioned { medium: Some(medium), loader: false, mux })
    }

    /// What is at the device's path while the mux has the medium elsewhere. A disk that is there
    /// all the same is not behind this mux, and whose it is nobody knows.
    fn before(&self, device: &Path, mux: &mut dyn Mux) -> Result<Presence, DriverError> {
        if mux.get()? == Some(Side::Host) {
            // Left so by a run that was killed; switched away, to be seen coming.
            self.log(&format!("{} is switched to the host already", mux.label()));
            let away = if mux.has_off() { Side::Off } else { Side::Dut };
            mux::turn(mux, away)?;
            let gone = |now: Presence| !now.is_there();
            present::wait(device, gone, self.soon(), self.options.cancel)?;
        }
        let now = present::look(device)?;
        if now.is_there() && !device.is_file() && mux.get()?.is_some() {
            return Err(DriverError::new(format!(
                "write {}: it is there although {} has the medium on the board's side: this is \
                 another disk; check `device` in the lab file",
                device.display(),
                mux.label()
            )));
        }
        Ok(now)
    }

    fn to_host(&self, device: &Path, mux: &mut dyn Mux) -> Result<bool, DriverError> {
        self.log(&format!("switching {} to the host", mux.label()));
        let asked = mux::turn(mux, Side::Host)?;
        let says = if asked { "says it is switched" } else { "took the command to switch" };
        let check = "its card, its USB cable, and `device` in the lab file";
        self.appeared(device, &format!("{} {says} to the host: check {check}", mux.label()))?;
        Ok(asked)
    }

    fn to_board(&self, device: &Path, mux: &mut dyn Mux, follows: bool) -> Result<(), DriverError> {
        self.log(&format!("switching {} to the board", mux.label()));
        mux::turn(mux, Side::Dut)?;
        if !follows {
            return Ok(());
        }
        let deadline = self.soon();
        let gone = |now: Presence| !now.is_there();
        match present::wait(device, gone, deadline, self.options.cancel)?.is_there() {
            false => Ok(()),
            true => Err(DriverError::new(format!(
                "switch {} to the board: it took the command, yet {} is still there after \
                 {deadline}: check whether it is jammed",
                mux.label(),
                device.display()
            ))),
        }
    }

    /// Takes the medium from the host after a failure; if that fails, too, both are told.
    fn park(&self, mux: &mut dyn Mux, why: DriverError) -> DriverError {
        let side = if mux.has_off() { Side::Off } else { Side::Dut };
        match mux::turn(mux, side) {
            Ok(_) => why,
            Err(then) => DriverError::new(format!("{why}; and then failed to {then}")),
        }
    }

    fn by_loader(&self, loader: &Loader, inject: Inject<'_>) -> Result<Provisioned, DriverError> {
        let Options { progress, log, cancel, env, deadline } = *self.options;
        let watch = loader::Watch { progress, log, cancel, env, deadline };
        loader::run(loader, self.spec, self.files, &watch)?;
        let mut done = Provisioned { loader: true, ..Provisioned::default() };
        if let Some(Provides::BlockDevice) = loader.provides {
            let Some(device) = &self.spec.device else {
                return Err(DriverError::new(
                    "write the medium that the loader provides: the instance's [storage] gives no \
                     `device`",
                ));
            };
            self.appeared(device, "the loader ended well: check `device` in the lab file")?;
            done.medium = Some(self.write(inject)?);
        }
        Ok(done)
    }

    fn appeared(&self, device: &Path, hint: &str) -> Result<(), DriverError> {
        let deadline = self.soon();
        let found = present::wait(device, Presence::is_there, deadline, self.options.cancel)?;
        let what = match found {
            Presence::There(_) => return Ok(()),
            Presence::Nowhere => "did not appear",
            Presence::Empty => "held no medium",
        };
        let device = device.display();
        Err(DriverError::new(format!(
            "find {device}, which {what} within {deadline}, although {hint}"
        )))
    }

    fn soon(&self) -> Deadline {
        self.options.deadline.or_sooner(APPEARS)
    }

    /// Guards, writes, reads back, injects.
    fn write(&self, inject: Inject<'_>) -> Result<(PathBuf, Written), DriverError> {
        let source = Source::open(self.files.image, self.files.bmap)?;
        let target = Kernel::default().guard(self.spec)?;
        let device = Device::open(&target)?;
        let (image, path) = (source.path.display(), target.path.display());
        self.log(&format!("writing {image} to {path}, {} bytes", source.work()));
        let Options { progress, cancel, deadline, .. } = *self.options;
        let written = block::write(&source, &device, &Watch { progress, cancel, deadline })?;
        self.log(&format!("{written}"));
        inject(&device)?;
        device.sync().map_err(|why| DriverError::new(format!("sync {path}: {why}")))?;
        Ok((target.path, written))
    }
}
