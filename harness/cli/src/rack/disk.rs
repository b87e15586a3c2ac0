//! A rig's disks: the image as a shared base, a layer for each life of the board, served with a
//! volatile cache.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hil_core::board::Medium as BoardMedium;
use hil_core::parts::{CutPolicy, CutReport, Tripwire};
use hil_core::trouble::{Outcome, Trouble};
use hil_disk::{
    Base, Disk, DiskLog, DiskOptions, Layer, Policy, Profile, Server, ServerOptions, WriteLog,
};
use hil_qemu::RunDir;
use hil_run::prepare::inject::{self, Medium};
use hil_run::rack::Lease;
use tokio::sync::watch;

use super::tripwire::Wire;

/// A board's medium as it is provisioned: the image, and what the manifest puts into it.
#[derive(Clone)]
pub(super) struct Blank {
    pub(super) base: Base,
    profile: Profile,
    atomic_unit: u64,
    /// Where layers take their space from.
    dir: PathBuf,
    write_log: bool,
}

/// A disk that a machine can be attached to.
pub(super) struct Served {
    server: Server,
    disk: Disk,
    fault: watch::Receiver<Option<Trouble>>,
    wire: Arc<Wire>,
}

/// Injects the image's files over the image. `None` without a disk.
pub(super) async fn provision(
    lease: &Lease,
    corner: &RunDir,
    write_log: bool,
) -> Outcome<Option<Blank>> {
    let Some(file) = lease.image.disk.clone() else { return Ok(None) };
    let (image, dir, board) = (lease.image.image.clone(), lease.dir.clone(), lease.board.clone());
    let journal = lease.journal.clone();
    let scratch = corner.path().to_path_buf();
    let blocking = move || {
        let base = Base::open(&file).map_err(broken)?;
        let given = board.storage.size_mib.map_or(base.size(), |mib| u64::from(mib) << 20);
        if given < base.size() {
            let (needs, has) = (base.size().div_ceil(1 << 20), given >> 20);
            let why = format!("the image needs {needs} MiB, and the board's medium has {has}");
            return Err(Trouble::rack(why));
        }
        let size = match board.storage.power_of_two {
            true => given.next_power_of_two(),
            false => given,
        };
        let layer = Mutex::new(Layer::create(&dir, &base, size).map_err(broken)?);
        if !image.inject.is_empty() {
            journal.doing("injecting files", None);
            // The run's own folder is in memory perhaps; a partition may have gigabytes.
            let injected = inject::apply(&image, &file, &Prepared(&layer), &scratch, &dir);
            injected.map_err(Trouble::rack)?;
        }
        let layer = layer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let profile = profile(board.storage.medium.unwrap_or_default());
        let atomic_unit = board.storage.atomic_unit();
        Ok(Blank { base: layer.freeze(), profile, atomic_unit, dir, write_log })
    };
    let made = tokio::task::spawn_blocking(blocking).await;
    made.unwrap_or_else(|error| Err(Trouble::rack(format!("disk set-up: {error}")))).map(Some)
}

impl Blank {
    pub(super) fn medium(&self) -> String {
        format!("{}, torn at {} bytes", self.profile.name(), self.atomic_unit)
    }

    /// A disk of its own over `base`: this medium, or what became of it when a board was saved.
    pub(super) fn serve(&self, base: &Base, socket: &Path) -> Outcome<Served> {
        let layer = Layer::create(&self.dir, base, base.size()).map_err(broken)?;
        let (told, fault) = watch::channel(None);
        let wire = Arc::new(Wire::default());
        let options = DiskOptions {
            profile: self.profile,
            atomic_unit: self.atomic_unit,
            log: self.log()?,
            on_event: Some(wire.clone().watches()),
            on_fault: Some(Box::new(move |fault| {
                told.send_replace(Some(Trouble::rack(format!("failed to {fault}"))));
            })),
            ..DiskOptions::default()
        };
        let disk = Disk::new(layer, options).map_err(broken)?;
        let server =
            Server::start(socket, disk.clone(), ServerOptions::default()).map_err(broken)?;
        Ok(Served { server, disk, fault, wire })
    }

    fn log(&self) -> Outcome<Option<DiskLog>> {
        if !self.write_log {
            return Ok(None);
        }
        let (log, content) = log_files(&self.dir);
        let log = WriteLog::create(log).map_err(broken)?;
        Ok(Some(DiskLog { log, disk: 0, content }))
    }
}

/// `writes-1.log` and its content for the board's first disk, `writes-2.log` for the next: each
/// image, and each fork, has one of its own.
fn log_files(dir: &Path) -> (PathBuf, PathBuf) {
    let file = |n: u32, kind: &str| dir.join(format!("writes-{n}.{kind}"));
    let free = (1..).find(|n| !file(*n, "log").exists()).unwrap_or(0);
    (file(free, "log"), file(free, "data"))
}

pub(super) fn broken(error: hil_disk::Error) -> Trouble {
    Trouble::rack(format!("failed to {error}"))
}

fn profile(medium: BoardMedium) -> Profile {
    match medium {
        BoardMedium::VirtioWb => Profile::VirtioWb,
        BoardMedium::EmmcCacheOff => Profile::EmmcCacheOff,
    }
}

impl Served {
    pub(super) fn socket(&self) -> &Path {
        self.server.path()
    }

    pub(super) fn fault(&self) -> watch::Receiver<Option<Trouble>> {
        self.fault.clone()
    }

    pub(super) fn tripwire(&self) -> Arc<dyn Tripwire> {
        self.wire.clone()
    }

    /// Nothing further is taken or answered: the instant of the cut.
    pub(super) fn freeze(&self) {
        self.disk.freeze();
    }

    /// All that the machine wrote, flushed or not, as the base of others. The machine is gone by now.
    pub(super) fn branch(&self) -> Outcome<Base> {
        self.disk.branch().map_err(broken)
    }

    /// Serves the next boot, whatever stopped the disk. The machine is gone by now.
    pub(super) fn thaw(&self) {
        if self.disk.is_frozen() {
            self.disk.thaw();
        }
    }

    /// Loses what was volatile. The machine is gone by now.
    pub(super) fn cut(&self, policy: CutPolicy, seed: u64) -> Outcome<CutReport> {
        let policy = match policy {
            CutPolicy::KeepAll => Policy::KeepAll,
            CutPolicy::DropAll => Policy::DropAll,
            CutPolicy::Subset => Policy::Subset,
        };
        let report = self.disk.power_cut(policy, seed).map_err(broken)?;
        let hil_disk::CutReport { pending, kept, dropped, torn, .. } = report;
        Ok(CutReport { pending, kept, dropped, torn, timing: None })
    }
}

/// The layer before it is served, for injects.
struct Prepared<'l>(&'l Mutex<Layer>);

impl Medium for Prepared<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let mut layer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        layer.write_at(offset, bytes).map_err(std::io::Error::other)
    }
}
