//! The power of an emulated board: on starts QEMU, off kills it, a cut loses what was volatile.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hil_console::Capture;
use hil_core::parts::{CutPolicy, CutReport, Power, Tripwire};
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::{Emulator, LaunchSpec, Loss, Machine, Qemu, RunDir};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disk::Served;
use super::ssh::SshPort;

/// What a dead emulator's console may still hold is taken for this long.
const LINGER: Duration = Duration::from_millis(500);

pub(super) struct QemuPower {
    emulator: Emulator,
    version: Option<String>,
    machine: Machine,
    spec: LaunchSpec,
    corner: RunDir,
    capture: Arc<Capture>,
    disk: Option<Served>,
    ssh_port: SshPort,
    live: Option<Qemu>,
    watcher: Option<JoinHandle<()>>,
    loss: watch::Sender<Option<Trouble>>,
}

impl QemuPower {
    pub(super) fn new(
        emulator: Emulator,
        machine: Machine,
        spec: LaunchSpec,
        corner: RunDir,
        capture: Arc<Capture>,
        disk: Option<Served>,
        ssh_port: SshPort,
    ) -> QemuPower {
        let (loss, _) = watch::channel(None);
        QemuPower {
            emulator,
            version: None,
            machine,
            spec,
            corner,
            capture,
            disk,
            ssh_port,
            live: None,
            watcher: None,
            loss,
        }
    }

    /// The emulator's version, for the label before the first start.
    pub(super) fn of_version(self, version: Option<String>) -> QemuPower {
        QemuPower { version, ..self }
    }

    async fn end(&mut self) -> Outcome {
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

    /// Passes on what the emulator or the disk reports as lost.
    fn watch(&mut self, mut machine: watch::Receiver<Option<Loss>>) {
        let loss = self.loss.clone();
        let disk = self.disk.as_ref().map(Served::fault);
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
        match (&self.live, &self.version) {
            (Some(qemu), _) => qemu.label(),
            (None, Some(version)) => format!("QEMU {version} ({})", self.spec.accel),
            (None, None) => format!("{} ({})", self.emulator.name(), self.spec.accel),
        }
    }

    async fn on(&mut self) -> Outcome {
        if self.live.is_some() {
            return Ok(());
        }
        self.loss.send_replace(None);
        let started = Qemu::start(&self.emulator, &self.machine, &self.spec, &self.corner).await?;
        self.capture.attach(started.console).await;
        self.ssh_port.set(started.qemu.forwards().first().map(|forward| forward.host));
        self.watch(started.qemu.loss());
        self.live = Some(started.qemu);
        Ok(())
    }

    async fn off(&mut self) -> Outcome {
        self.end().await?;
        // Stopped by a tripwire, and no cut came: the next boot shall find a disk that answers.
        self.disk.iter().for_each(Served::thaw);
        Ok(())
    }

    async fn cut(&mut self, policy: CutPolicy, seed: u64) -> Outcome<CutReport> {
        if let Some(disk) = &self.disk {
            disk.freeze();
        }
        self.end().await?;
        match &self.disk {
            Some(disk) => disk.cut(policy, seed),
            None => Ok(CutReport::default()),
        }
    }

    fn tripwire(&self) -> Option<Arc<dyn Tripwire>> {
        self.disk.as_ref().map(Served::tripwire)
    }

    fn loss(&self) -> watch::Receiver<Option<Trouble>> {
        self.loss.subscribe()
    }
}
