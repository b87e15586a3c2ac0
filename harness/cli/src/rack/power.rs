//! The power of an emulated board: on starts QEMU, off kills it, a cut loses what was volatile.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hil_console::Capture;
use hil_core::parts::{CutPolicy, CutReport, Forks, Power, Scheduled, Tripwire};
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::{Begin, Loss, Qemu, Started};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disk::Served;
use super::fork::Nursery;
use super::life::{Life, Maker};
use super::ssh::SshPort;

/// What a dead emulator's console may still hold is taken for this long.
const LINGER: Duration = Duration::from_millis(500);

pub(super) struct QemuPower {
    pub(super) maker: Maker,
    pub(super) life: Life,
    /// Where saved boards are kept and forks made, if this board is to be forked.
    pub(super) nursery: Option<Nursery>,
    version: Option<String>,
    capture: Arc<Capture>,
    ssh_port: SshPort,
    pub(super) live: Option<Qemu>,
    watcher: Option<JoinHandle<()>>,
    loss: watch::Sender<Option<Trouble>>,
}

impl QemuPower {
    /// `version` is the emulator's, for the label before the first start.
    pub(super) fn new(
        maker: Maker,
        nursery: Option<Nursery>,
        version: Option<String>,
        capture: Arc<Capture>,
        ssh_port: SshPort,
    ) -> Outcome<QemuPower> {
        let begin = nursery.as_ref().map_or(Begin::PowerOn, Nursery::begin);
        let life = maker.anew(begin)?;
        let (loss, _) = watch::channel(None);
        Ok(QemuPower {
            maker,
            life,
            nursery,
            version,
            capture,
            ssh_port,
            live: None,
            watcher: None,
            loss,
        })
    }

    pub(super) async fn end(&mut self) -> Outcome {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
        self.ssh_port.set(None);
        if let Some(qemu) = self.live.take() {
            qemu.kill().await?;
        }
        self.capture.detach(LINGER).await;
        Ok(())
    }

    /// Takes a machine over as the living one, with its console and its port.
    pub(super) async fn adopt(&mut self, started: Started) {
        self.loss.send_replace(None);
        self.capture.attach(started.console).await;
        self.ssh_port.set(started.qemu.forwards().first().map(|forward| forward.host));
        self.watch(started.qemu.loss());
        self.live = Some(started.qemu);
    }

    /// Passes on what the emulator or the disk reports as lost.
    fn watch(&mut self, mut machine: watch::Receiver<Option<Loss>>) {
        let loss = self.loss.clone();
        let disk = self.life.disk.as_ref().map(Served::fault);
        self.watcher = Some(tokio::spawn(async move {
            let faulty = async {
                match disk {
                    Some(mut disk) => hil_core::rig::lost(&mut disk).await,
                    None => std::future::pending().await,
                }
            };
            let trouble = tokio::select! {
                // The disk's own fault says more than the emulator's view of it.
                biased;
                trouble = faulty => trouble,
                found = machine.wait_for(Option::is_some) => match found.map(|l| l.clone()) {
                    Ok(Some(loss)) => trouble_of(loss),
                    _ => return,
                },
            };
            loss.send_replace(Some(trouble));
        }));
    }
}

/// A guest that switches itself off is the product's doing; all else is the rack's.
fn trouble_of(loss: Loss) -> Trouble {
    match loss.by_guest() {
        true => Trouble::product(format!("the board switched itself off: {loss}")),
        false => loss.into(),
    }
}

#[async_trait]
impl Power for QemuPower {
    fn label(&self) -> String {
        let accel = self.maker.spec.accel;
        match (&self.live, &self.version) {
            (Some(qemu), _) => qemu.label(),
            (None, Some(version)) => format!("QEMU {version} ({accel})"),
            (None, None) => format!("{} ({accel})", self.maker.emulator.name()),
        }
    }

    async fn on(&mut self) -> Outcome {
        if self.live.is_some() {
            return Ok(());
        }
        self.loss.send_replace(None);
        // A fork that lost its power boots as any board does.
        if let Begin::Saved { .. } = self.life.spec.begin {
            self.life.spec.begin = Begin::PowerOn;
        }
        let started = self.life.start(&self.maker).await?;
        self.adopt(started).await;
        Ok(())
    }

    async fn off(&mut self) -> Outcome {
        self.end().await?;
        // Stopped by a tripwire, and no cut came: the next boot shall find a disk that answers.
        self.life.disk.iter().for_each(Served::thaw);
        Ok(())
    }

    async fn cut(&mut self, policy: CutPolicy, seed: u64) -> Outcome<CutReport> {
        if let Some(disk) = &self.life.disk {
            disk.freeze();
        }
        self.end().await?;
        match &self.life.disk {
            Some(disk) => disk.cut(policy, seed),
            None => Ok(CutReport::default()),
        }
    }

    fn tripwire(&self) -> Option<Arc<dyn Tripwire>> {
        self.life.disk.as_ref().map(Served::tripwire)
    }

    fn scheduled(&self) -> Scheduled {
        self.live.as_ref().map(Qemu::scheduled).unwrap_or_default()
    }

    fn loss(&self) -> watch::Receiver<Option<Trouble>> {
        self.loss.subscribe()
    }

    async fn renew(&mut self) -> Outcome<bool> {
        let begin = self.nursery.as_ref().map_or(Begin::PowerOn, Nursery::begin);
        self.life = self.maker.anew(begin)?;
        Ok(true)
    }

    fn forks(&mut self) -> Option<&mut dyn Forks> {
        match self.nursery {
            Some(_) => Some(self),
            None => None,
        }
    }
}
