//! A rig's disk: the image as a shared base, a layer of its own, served with a volatile cache.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hil_core::board::Medium as BoardMedium;
use hil_core::parts::{CutPolicy, CutReport};
use hil_core::trouble::{Outcome, Trouble};
use hil_disk::{
    Base, Disk, DiskLog, DiskOptions, Layer, Policy, Profile, Server, ServerOptions, WriteLog,
};
use hil_qemu::RunDir;
use hil_run::prepare::inject::{self, Medium};
use hil_run::rack::Lease;
use tokio::sync::watch;

/// A disk that a machine can be attached to.
pub(super) struct Served {
    server: Server,
    disk: Disk,
    profile: Profile,
    fault: watch::Receiver<Option<Trouble>>,
}

/// Makes the layer, injects the image's files into it, and serves it. `None` without a disk.
pub(super) async fn serve(
    lease: &Lease,
    corner: &RunDir,
    write_log: bool,
) -> Outcome<Option<Served>> {
    let Some(file) = lease.image.disk.clone() else { return Ok(None) };
    let (image, dir, board) = (lease.image.image.clone(), lease.dir.clone(), lease.board.clone());
    let socket = corner.socket("disk")?;
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
        let layer = Layer::create(&dir, &base, size).map_err(broken)?;
        let layer = Mutex::new(layer);
        if !image.inject.is_empty() {
            journal.doing("injecting files", None);
            // The run's own folder is in memory perhaps; a partition may have gigabytes.
            let injected = inject::apply(&image, &file, &Prepared(&layer), &scratch, &dir);
            injected.map_err(Trouble::rack)?;
        }
        let layer = layer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let profile = profile(board.storage.medium.unwrap_or_default());
        start(layer, profile, &socket, if write_log { Some(&dir) } else { None })
    };
    let served = tokio::task::spawn_blocking(blocking).await;
    served.unwrap_or_else(|error| Err(Trouble::rack(format!("disk set-up: {error}")))).map(Some)
}

fn start(
    layer: Layer,
    profile: Profile,
    socket: &Path,
    log_dir: Option<&PathBuf>,
) -> Outcome<Served> {
    let (told, fault) = watch::channel(None);
    let log = log_dir.map(|dir| {
        let (log, content) = log_files(dir);
        let log = WriteLog::create(log).map_err(broken)?;
        Ok::<_, Trouble>(DiskLog { log, disk: 0, content })
    });
    let options = DiskOptions {
        profile,
        log: log.transpose()?,
        on_fault: Some(Box::new(move |fault| {
            told.send_replace(Some(Trouble::rack(format!("failed to {fault}"))));
        })),
        ..DiskOptions::default()
    };
    let disk = Disk::new(layer, options).map_err(broken)?;
    let server = Server::start(socket, disk.clone(), ServerOptions::default()).map_err(broken)?;
    Ok(Served { server, disk, profile, fault })
}

/// `writes-1.log` and its content for the board's first image, `writes-2.log` for the next.
fn log_files(dir: &Path) -> (PathBuf, PathBuf) {
    let file = |n: u32, kind: &str| dir.join(format!("writes-{n}.{kind}"));
    let free = (1..).find(|n| !file(*n, "log").exists()).unwrap_or(0);
    (file(free, "log"), file(free, "data"))
}

fn broken(error: hil_disk::Error) -> Trouble {
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

    pub(super) fn medium(&self) -> String {
        self.profile.name().to_string()
    }

    pub(super) fn fault(&self) -> watch::Receiver<Option<Trouble>> {
        self.fault.clone()
    }

    /// Nothing further is taken or answered: the instant of the cut.
    pub(super) fn freeze(&self) {
        self.disk.freeze();
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
