//! The lab's rack: takes a free instance, writes the image to it, and plugs its power, line and SSH
//! together into a rig's parts. The keeper holds the board meanwhile.

pub(crate) mod flash;
mod held;
pub(crate) mod loader;
mod power;
mod ssh;
mod uboot;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hil_console::{AimedSsh, ConsoleShell};
use hil_core::board::Board;
use hil_core::event::{Clock, Journal, What};
use hil_core::image::Image;
use hil_core::parts::{Power, Shell};
use hil_core::rig::Parts;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::calibrate::Calibration;
use hil_lab::keeper::{Answer, Ask};
use hil_lab::lock::Holder;
use hil_lab::{DriverError, Instance, KeeperLink, Places, quarantine};
use hil_run::rack::{Lease, Leased, Rack};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ssh::Account;
use flash::Renewal;
pub(crate) use held::Held;
use loader::LoaderMode;
pub(crate) use power::LabPower;
use ssh::Found;
use uboot::Typist;

/// A lock taken elsewhere sends no word when it is free: it is asked for this often.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The keeper answers from memory or a lock file, and settles within its own patience.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// What the command line says about the lab's boards.
pub(crate) struct Wishes {
    pub(crate) wait: Duration,
    pub(crate) holder: Holder,
    /// The names by which boards of this run go, and who may play each.
    pub(crate) instances: BTreeMap<String, Vec<Instance>>,
    pub(crate) stagger: Duration,
}

/// This lab's boards, for one run.
pub(crate) struct LabRack {
    wishes: Wishes,
    places: Places,
    clock: Clock,
    run: String,
    held: Mutex<BTreeMap<String, Arc<Held>>>,
    link: Arc<KeeperLink>,
}

impl LabRack {
    pub(crate) fn new(wishes: Wishes, places: Places, clock: Clock) -> Outcome<LabRack> {
        let run = super::run_id();
        let link = Arc::new(start_keeper(&run)?);
        Ok(LabRack { wishes, places, clock, run, held: Mutex::default(), link })
    }

    /// The board's instance, taken at its first session and kept over all of them.
    async fn held(&self, lease: &Lease) -> Outcome<Arc<Held>> {
        let mut held = self.held.lock().await;
        if let Some(board) = held.get(&lease.board.name) {
            return Ok(board.clone());
        }
        // Not under the lock: another board must not wait for this one's waiting.
        drop(held);
        let (instance, left_by) = self.take(lease).await?;
        let words =
            format!("{}, {}", instance.name, instance.console.label(lease.board.console.baud));
        lease.journal.note(words);
        if let Some(holder) = left_by {
            lease.journal.note(format!("{holder} died holding {}", instance.name));
        }
        let board = Held::open(instance, lease, self.clock, self.link.gone()).await;
        let board = match board {
            Ok(board) => Arc::new(board),
            Err(trouble) => {
                self.let_go(&lease.board.name, &lease.journal).await;
                return Err(trouble);
            }
        };
        held = self.held.lock().await;
        held.insert(lease.board.name.clone(), board.clone());
        Ok(board)
    }

    /// A free instance of those that may play the board; waits for one as long as is wished.
    async fn take(&self, lease: &Lease) -> Outcome<(Instance, Option<Holder>)> {
        let none = Vec::new();
        let candidates = self.wishes.instances.get(&lease.board.name).unwrap_or(&none);
        let until = Instant::now() + self.wishes.wait;
        loop {
            let mut why = Vec::new();
            for instance in candidates {
                if let Some(found) = quarantine::read(&self.places, &instance.name) {
                    why.push(format!("{} is in quarantine: {found}", instance.name));
                    continue;
                }
                match ask_for(&self.link, instance, &self.wishes.holder).await? {
                    Answer::Held { left_by } => return Ok((instance.clone(), left_by)),
                    Answer::Busy { holder } => {
                        let holder = holder.map_or("somebody".into(), |holder| holder.to_string());
                        why.push(format!("{} is held by {holder}", instance.name));
                    }
                    Answer::Failed { why } => return Err(Trouble::rack(why)),
                    Answer::Released => {}
                }
            }
            let why = why.join("; ");
            if Instant::now() >= until {
                let name = &lease.board.name;
                let hint = "--wait SECONDS waits for one; `hil lab` shows all";
                return Err(Trouble::rack(format!("no `{name}` is free: {why} ({hint})")));
            }
            lease.journal.doing(format!("waiting: {why}"), None);
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// The board takes the image in its loader's mode, and is without power afterwards.
    async fn by_loader(
        &self,
        loader: &LoaderMode,
        held: &Held,
        power: &mut LabPower,
        lease: &Lease,
    ) -> Outcome<String> {
        lease.journal.doing("entering the loader's mode", None);
        loader.close().await?;
        let from = power.give().await?;
        loader.enter(&held.capture, from).await?;
        let medium = flash::flash(&held.instance, lease, &self.run).await?;
        power.off().await?;
        loader.open().await?;
        Ok(medium)
    }

    async fn let_go(&self, board: &str, journal: &Journal) {
        let instances = self.wishes.instances.get(board);
        for instance in instances.into_iter().flatten() {
            if let Err(trouble) = release(&self.link, &instance.name).await {
                journal.note(trouble.to_string());
            }
        }
    }
}

/// Starts the process that outlives this one. `run` marks the children that it ends first.
pub(crate) fn start_keeper(run: &str) -> Result<KeeperLink, DriverError> {
    // Not the program's path: that may lead to another build by now, or to none.
    let mut command = Command::new("/proc/self/exe");
    command.args(["lab-keeper", run]).current_dir("/");
    hil_qemu::keeper::detach(&mut command);
    KeeperLink::start(command)
}

pub(crate) async fn ask_for(
    link: &KeeperLink,
    instance: &Instance,
    holder: &Holder,
) -> Result<Answer, DriverError> {
    let (name, instance) = (instance.name.clone(), Box::new(instance.clone()));
    link.ask(Ask::Hold { name, instance, holder: holder.clone() }, ANSWER).await
}

/// Made safe and let go of; a board that this keeper does not hold is no error.
pub(crate) async fn release(link: &KeeperLink, name: &str) -> Outcome {
    match link.ask(Ask::Release { name: name.into() }, ANSWER).await? {
        Answer::Failed { why } => {
            Err(Trouble::rack(format!("{name} could not be brought into its safe state: {why}")))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Rack for LabRack {
    async fn lease(&self, lease: &Lease) -> Outcome<Leased> {
        let held = self.held(lease).await?;
        let image = &lease.image.image;
        let loader = LoaderMode::of(&held.instance, &lease.board, image)?;
        if let Some(loader) = &loader {
            loader.must_go_alone(&held.instance)?;
        }
        let typist = Typist::of(&held, lease)?;
        held.capture.set_marks(&lease.board.stages.overridden_by(&image.stages))?;
        let mut power = LabPower::new(held.clone(), self.wishes.stagger, lease.journal.clone());
        match Calibration::read(&self.places, &held.instance.name, &held.label) {
            Ok(found) => power.set_calibration(found),
            Err(error) => lease.journal.note(format!("failed to {error}")),
        }
        power.begin_without().await?;
        let medium = match &loader {
            None => flash::flash(&held.instance, lease, &self.run).await?,
            Some(loader) => self.by_loader(loader, &held, &mut power, lease).await?,
        };
        power.set_typist(typist);
        if loader.is_none() {
            power.set_renewal(Renewal::of(&held.instance, lease, &self.run));
        }
        let parts = Parts {
            board: lease.board.clone(),
            image: image.clone(),
            reach_by: reach_by(&held.instance, lease),
            slowness: lease.board.slowness,
            power: Box::new(power),
            console: held.capture.clone(),
            login: login(&held, image)?,
            ssh: ssh(&held, &lease.board, image)?,
        };
        Ok(Leased { parts, console: held.capture.clone(), notes: Vec::new(), medium })
    }

    async fn release(&self, board: &Board, journal: &Journal) {
        if let Some(held) = self.held.lock().await.remove(&board.name) {
            held.capture.detach(Duration::ZERO).await;
            if let Err(trouble) = release(&self.link, &held.instance.name).await {
                journal.record(What::LeftUnsafe { why: trouble.to_string() });
            }
        }
    }
}

fn login(held: &Held, image: &Image) -> Outcome<Option<Box<dyn Shell>>> {
    let Some(login) = image.login.clone() else { return Ok(None) };
    Ok(Some(Box::new(ConsoleShell::new(held.capture.clone(), login)?)))
}

fn ssh(held: &Held, board: &Board, image: &Image) -> Outcome<Option<Box<dyn Shell>>> {
    let Some((spec, account)) = image.ssh.as_ref().zip(super::account(image)) else {
        return Ok(None);
    };
    if !board.network.works {
        return Ok(None);
    }
    // A console shell of its own: it finds the login that the rig's has left, and asks there.
    let asker = match image.login.clone() {
        Some(login) => Some(ConsoleShell::new(held.capture.clone(), login)?),
        None => None,
    };
    let found = Found::new(account, spec.port, held.instance.ssh.clone(), asker);
    Ok(Some(Box::new(AimedSsh::new(found))))
}

fn reach_by(instance: &Instance, lease: &Lease) -> Box<dyn Fn() -> Vec<String> + Send + Sync> {
    let log = lease.dir.join("console.log").display().to_string();
    let account = super::account(&lease.image.image);
    let ssh = instance.ssh.clone().and_then(|ssh| Some((ssh.host?, ssh.port)));
    let port = lease.image.image.ssh.as_ref().map_or(22, |ssh| ssh.port);
    let ssh = account
        .zip(ssh)
        .map(|(account, (host, own)): (Account, _)| account.words_for(&host, own.unwrap_or(port)));
    Box::new(move || ssh.iter().cloned().chain([format!("tail -f {log}")]).collect())
}
