//! Forks of an emulated board: saved once, made ahead of time, resumed in milliseconds.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hil_core::parts::{Forks, Kept};
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::{Begin, SaveKind, Started};
use tokio::task::JoinHandle;

use super::life::{Life, Maker};
use super::power::QemuPower;
use super::ready::{Saved, Store, ram_in, state_in, vars_in};

/// Where one board is saved, and its forks are made.
pub(super) struct Nursery {
    store: Arc<Store>,
    kind: SaveKind,
    /// The name under which later runs find it, unless it must not outlive this one.
    key: Option<String>,
    /// What is being saved goes here: the RAM of the board that boots is in it already.
    dir: PathBuf,
    saved: Option<Arc<Saved>>,
    /// The next fork, loaded and standing still.
    spare: Option<JoinHandle<Outcome<(Life, Started)>>>,
}

impl Nursery {
    /// `disk`: the image, over which an earlier run's board may be found in the store.
    pub(super) fn new(
        store: Arc<Store>,
        kind: SaveKind,
        key: Option<String>,
        disk: Option<&PathBuf>,
    ) -> Outcome<Nursery> {
        let disk = disk.map(PathBuf::as_path);
        let saved = key.as_ref().and_then(|key| store.find(key, kind, disk)).map(Arc::new);
        let dir = store.begin("save")?;
        Ok(Nursery { store, kind, key, dir, saved, spare: None })
    }

    pub(super) fn has_saved(&self) -> bool {
        self.saved.is_some()
    }

    /// How a board begins that may be saved later.
    pub(super) fn begin(&self) -> Begin {
        match self.kind {
            SaveKind::Template if self.saved.is_none() => {
                Begin::Template { ram: ram_in(&self.dir) }
            }
            _ => Begin::PowerOn,
        }
    }

    /// Makes the next fork while this one is at work.
    fn prepare(&mut self, maker: &Maker) {
        if let Some(saved) = self.saved.clone() {
            let maker = maker.clone();
            self.spare = Some(tokio::spawn(async move { maker.fork(&saved).await }));
        }
    }

    async fn take(&mut self, maker: &Maker) -> Outcome<(Life, Started)> {
        if let Some(spare) = self.spare.take() {
            let made =
                spare.await.map_err(|why| Trouble::rack(format!("prepare a fork: {why}")))?;
            // One that died while it stood still is made again.
            if let Ok((life, started)) = made
                && started.qemu.loss().borrow().is_none()
            {
                return Ok((life, started));
            }
        }
        let saved = self.saved.clone().ok_or_else(|| Trouble::rack("no board was saved"))?;
        maker.fork(&saved).await
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        if let Some(spare) = &self.spare {
            spare.abort();
        }
    }
}

fn no_nursery() -> Trouble {
    Trouble::rack("this board cannot be forked")
}

#[async_trait]
impl Forks for QemuPower {
    fn label(&self) -> String {
        self.nursery.as_ref().map_or(String::new(), |nursery| nursery.kind.to_string())
    }

    fn saved(&self) -> Option<Kept> {
        Some(self.nursery.as_ref()?.saved.as_ref()?.kept.clone())
    }

    async fn save(&mut self, kept: Kept) -> Outcome {
        let nursery = self.nursery.as_ref().ok_or_else(no_nursery)?;
        let (kind, dir) = (nursery.kind, nursery.dir.clone());
        let qemu = self.live.as_ref().ok_or_else(|| Trouble::rack("the board has no power"))?;
        if !qemu.can_save(kind).await? {
            return Err(Trouble::rack(format!("{} cannot save by {kind}", qemu.label())));
        }
        qemu.save(kind, &state_in(&dir)).await?;
        self.end().await?;
        self.life.keep_vars(vars_in(&dir))?;
        let disk = self.life.disk.as_ref().map(|disk| disk.branch()).transpose()?;
        let nursery = self.nursery.as_mut().ok_or_else(no_nursery)?;
        let saved = nursery.store.finish(dir, nursery.key.as_deref(), kind, (kept, disk))?;
        nursery.saved = Some(Arc::new(saved));
        nursery.dir = nursery.store.begin("save")?;
        nursery.prepare(&self.maker);
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(nursery) = &mut self.nursery {
            if let Some(spare) = nursery.spare.take() {
                spare.abort();
            }
            // A spare that is still being made holds it for a moment longer; then it stays.
            if let Some(saved) = nursery.saved.take().and_then(Arc::into_inner) {
                nursery.store.discard(saved);
            }
        }
    }

    async fn fork(&mut self) -> Outcome {
        let nursery = self.nursery.as_mut().ok_or_else(no_nursery)?;
        let (life, started) = nursery.take(&self.maker).await?;
        self.end().await?;
        self.life = life;
        self.adopt(started).await;
        if let Some(qemu) = &self.live {
            qemu.resume().await?;
        }
        if let Some(nursery) = &mut self.nursery {
            nursery.prepare(&self.maker);
        }
        Ok(())
    }
}
