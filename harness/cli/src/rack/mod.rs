//! The rack of emulators: plugs machine, disk, console and SSH together into a rig's parts.

pub(crate) mod boot;
pub(crate) mod both;
mod corners;
mod disk;
mod fork;
pub(crate) mod lab;
mod life;
mod power;
mod ready;
mod relay;
mod ssh;
mod tripwire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hil_console::{AimedSsh, Capture, CaptureOptions, ConsoleShell};
use hil_core::board::Board;
use hil_core::event::Clock;
use hil_core::image::Image;
use hil_core::parts::Shell;
use hil_core::rig::Parts;
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::catalogue::Catalogue;
use hil_qemu::keeper::Keeper;
use hil_qemu::probe::{Accel, Prober};
use hil_qemu::{AccelKind, Emulator, LaunchSpec, Machine, RunDir};
use hil_run::rack::{Lease, Leased, Rack};

use crate::args::AccelArg;
use crate::failure::Failure;
use crate::paths;
use corners::Corners;
use fork::Nursery;
use life::Maker;
use power::QemuPower;
use ready::Store;
use ssh::{Account, Ported, SshPort};

/// What the command line says about emulators.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) accel: AccelArg,
    pub(crate) write_log: bool,
    pub(crate) keep: bool,
    /// Boards that earlier runs saved are not used.
    pub(crate) fresh: bool,
    /// The boards are of sizes of their own (`--envelope`), which no later run is likely to want.
    pub(crate) enveloped: bool,
}

/// This host's emulators, for one run.
pub(crate) struct QemuRack {
    catalogue: Catalogue,
    settings: Settings,
    clock: Clock,
    prober: Prober,
    corners: Arc<Corners>,
    /// Where boards are saved, or why nowhere.
    store: Result<Arc<Store>, Trouble>,
    /// By the folder they write to.
    captures: Mutex<BTreeMap<PathBuf, Arc<Capture>>>,
    /// Dropped last: what this process could not clean up, the keeper will.
    keeper: Option<Keeper>,
}

impl QemuRack {
    pub(crate) fn new(
        catalogue: Catalogue,
        settings: Settings,
        clock: Clock,
    ) -> Result<QemuRack, Failure> {
        let failed = |error: hil_qemu::QemuError| Failure::host(format!("failed to {error}"));
        let run = RunDir::create(&run_id()).map_err(failed)?;
        // Not the program's path: that may lead to another build by now, or to none.
        let mut command = Command::new("/proc/self/exe");
        command.arg("keeper");
        let store = Store::open(store()?, run.run_id(), settings.fresh);
        let mut folders = vec![run.path()];
        folders.extend(store.iter().map(Store::staging));
        let keeper = Keeper::start(command, run.run_id(), &folders).map_err(failed)?;
        Ok(QemuRack {
            catalogue,
            settings,
            clock,
            prober: Prober::default(),
            corners: Arc::new(Corners::new(run)),
            store: store.map(Arc::new),
            captures: Mutex::default(),
            keeper: Some(keeper),
        })
    }

    /// The board's one capture, which goes on over all images booted on it in this run.
    /// Whether this is the board's first image, too.
    fn capture(&self, lease: &Lease) -> Outcome<(Arc<Capture>, bool)> {
        let marks = lease.board.stages.overridden_by(&lease.image.image.stages);
        let mut captures = self.captures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(capture) = captures.get(&lease.dir) {
            capture.set_marks(&marks)?;
            return Ok((capture.clone(), false));
        }
        let options = CaptureOptions::default();
        let masker = lease.masker.clone();
        let capture = Capture::open(&lease.dir, self.clock, &marks, masker, options)?;
        captures.insert(lease.dir.clone(), capture.clone());
        Ok((capture, true))
    }

    /// Ways to a board that is kept alive; the console's is opened only when it may be wanted.
    fn reach_by(
        &self,
        lease: &Lease,
        capture: &Arc<Capture>,
        account: Option<Account>,
        port: &SshPort,
        socket: &Path,
    ) -> Outcome<Box<dyn Fn() -> Vec<String> + Send + Sync>> {
        if self.settings.keep {
            relay::listen(socket, capture.clone())?;
        }
        let (port, socket) = (port.clone(), socket.display().to_string());
        let log = lease.dir.join("console.log");
        Ok(Box::new(move || {
            let mut ways = vec![
                format!("tail -f {}", log.display()),
                format!("socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{socket}    (Ctrl-] leaves)"),
            ];
            if let (Some(account), Some(port)) = (&account, port.get()) {
                ways.insert(0, account.words(port));
            }
            ways
        }))
    }

    /// Where this board is saved and forked; `None` where its machine cannot be.
    fn nursery(
        &self,
        lease: &Lease,
        machine: &Machine,
        spec: &LaunchSpec,
        version: &Option<String>,
    ) -> Outcome<Option<Nursery>> {
        let Some(kind) = machine.save else { return Ok(None) };
        let (image, digest) = (&*lease.image.image, lease.image.digest.as_str());
        let medium = &lease.board.storage;
        let key = ready::key((image, digest, medium), machine, spec, version.as_deref());
        let key = key.filter(|_| !self.settings.enveloped);
        let store = self.store.clone()?;
        store.must_have_room(spec.memory_mib.unwrap_or(machine.memory_mib))?;
        let lanes = store.lanes(format!("{} {digest}", lease.board.name));
        Nursery::new(store, kind, (key, lanes), lease.image.disk.as_ref()).map(Some)
    }

    async fn accelerator(&self, machine: &Machine) -> Outcome<Accel> {
        match self.settings.accel {
            AccelArg::Tcg => Ok(Accel { kind: AccelKind::Tcg, reason: None }),
            AccelArg::Auto => Ok(self.prober.probe(machine).await?),
            AccelArg::Kvm => match self.prober.probe(machine).await? {
                Accel { kind: AccelKind::Kvm, .. } => {
                    Ok(Accel { kind: AccelKind::Kvm, reason: None })
                }
                Accel { reason, .. } => {
                    let why = reason.unwrap_or_default();
                    Err(Trouble::rack(format!("--accel kvm cannot be had: {why}")))
                }
            },
        }
    }
}

impl Drop for QemuRack {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.done();
        }
    }
}

/// Where boards are saved.
fn store() -> Result<PathBuf, Failure> {
    Ok(paths::cache()?.join("ready"))
}

/// Whether forks of an image, by its digest, will probably need no boot: an earlier run has saved a board
/// of it.
pub(crate) fn likely_saved(digest: &str) -> bool {
    store().is_ok_and(|root| ready::likely_in(&root, digest))
}

/// Short, for socket paths; unique on this host among runs that live.
pub(crate) fn run_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.subsec_nanos());
    format!("{:x}-{:x}", std::process::id(), nanos)
}

#[async_trait]
impl Rack for QemuRack {
    async fn lease(&self, lease: &Lease) -> Outcome<Leased> {
        let (board, image) = (&lease.board, &lease.image.image);
        let on = board.qemu.as_ref();
        let found = on.and_then(|on| self.catalogue.machine(&on.machine)).cloned();
        let machine = found.ok_or_else(|| {
            Trouble::rack(format!("board `{}` has no emulated machine", board.name))
        })?;
        let qemuboot = boot::read_qemuboot(image).map_err(Trouble::rack)?;
        let mut machine = qemuboot.as_ref().map_or(machine.clone(), |boot| boot.apply(&machine));
        machine.smp = on.and_then(|on| on.cpus).unwrap_or(machine.smp);
        let accel = self.accelerator(&machine).await?;
        let emulator = Emulator::find(machine.emulator(accel.kind))?;
        let corner = self.corners.take()?;

        let (capture, first) = self.capture(lease)?;
        let blank = disk::provision(lease, &corner, self.settings.write_log);
        // Said of the session before its power is on, when there is no monitor to ask.
        let (blank, version) = tokio::join!(blank, emulator.version(&corner));
        let blank = blank?;
        let ssh_port = SshPort::default();
        let account = if uses_ssh(board, image) { account(image) } else { None };
        let console_socket = corner.socket("attach")?;
        let spec = LaunchSpec {
            name: format!("hil-{}", board.name),
            accel: accel.kind,
            memory_mib: memory(board, image, &machine),
            boot: boot::boot_with(board, &lease.image, qemuboot.as_ref())?,
            forwards: if uses_ssh(board, image) { ssh_ports(image) } else { Vec::new() },
            ..LaunchSpec::default()
        };
        let slowness = machine.slowness(accel.kind) * board.slowness;
        let medium = blank.as_ref().map_or("no disk".into(), disk::Blank::medium);
        // Said once a board, not once an image.
        let mut notes: Vec<String> = accel.reason.into_iter().filter(|_| first).collect();
        let nursery = match lease.forks.then(|| self.nursery(lease, &machine, &spec, &version)) {
            Some(Ok(nursery)) => {
                if nursery.as_ref().is_some_and(Nursery::has_saved) {
                    notes.push("cases start from a board that an earlier run saved".into());
                }
                nursery
            }
            Some(Err(why)) => {
                notes.push(format!("cases cannot start from forks: {why}"));
                None
            }
            None => None,
        };
        let maker = Maker { emulator, machine, spec, corners: self.corners.clone(), blank };
        let power = QemuPower::new(maker, nursery, version, capture.clone(), ssh_port.clone())?;
        let parts = Parts {
            board: board.clone(),
            image: image.clone(),
            reach_by: self.reach_by(
                lease,
                &capture,
                account.clone(),
                &ssh_port,
                &console_socket,
            )?,
            power: Box::new(power),
            console: capture.clone(),
            login: login(&capture, image)?,
            ssh: account.map(|account| -> Box<dyn Shell> {
                Box::new(AimedSsh::new(Ported::new(account, ssh_port.clone())))
            }),
            slowness,
        };
        Ok(Leased { parts, console: capture, notes, medium })
    }
}

fn uses_ssh(board: &Board, image: &Image) -> bool {
    board.network.works && image.ssh.is_some()
}

fn ssh_ports(image: &Image) -> Vec<u16> {
    image.ssh.iter().map(|ssh| ssh.port).collect()
}

fn login(capture: &Arc<Capture>, image: &Image) -> Outcome<Option<Box<dyn Shell>>> {
    let Some(login) = image.login.clone() else { return Ok(None) };
    Ok(Some(Box::new(ConsoleShell::new(capture.clone(), login)?)))
}

fn account(image: &Image) -> Option<Account> {
    let ssh = image.ssh.as_ref()?;
    Some(Account {
        user: ssh.user.clone(),
        // Absolute, since a person is told it, too.
        key: ssh
            .key
            .as_ref()
            .map(|key| image.path(key))
            .map(|key| std::path::absolute(&key).unwrap_or(key)),
        password: ssh.password.clone(),
    })
}

/// The larger of what board and image ask for; nothing where the machine cannot be changed.
fn memory(board: &Board, image: &Image, machine: &Machine) -> Option<u32> {
    if machine.fixed_memory {
        return None;
    }
    let of_board = board.qemu.as_ref().and_then(|on| on.memory_mib);
    of_board.into_iter().chain(image.memory_mib).max()
}
