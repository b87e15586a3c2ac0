//! Forks of an emulated board: saved once, made ahead of time, resumed in milliseconds.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hil_core::parts::{Forks, Kept};
use hil_core::trouble::{Outcome, Trouble};
use hil_qemu::{Begin, SaveKind, Started};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::life::{Life, Maker};
use super::power::QemuPower;
use super::ready::{Lanes, Saved, Store, ram_in, state_in, vars_in};

/// Where one board is saved, and its forks are made.
pub(super) struct Nursery {
    store: Arc<Store>,
    kind: SaveKind,
    /// The name under which later runs find it, unless it must not outlive this one.
    key: Option<String>,
    /// What is being saved goes here: the RAM of the board that boots is in it already.
    dir: PathBuf,
    saved: Option<Arc<Saved>>,
    /// Where this run's other lanes are told of it; `claim` while they wait for this one.
    lanes: Lanes,
    claim: Option<OwnedMutexGuard<Option<Arc<Saved>>>>,
    /// The next fork, loaded and standing still.
    spare: Option<JoinHandle<Outcome<(Life, Started)>>>,
}

impl Nursery {
    /// `disk`: the image, over which an earlier run's board may be found in the store.
    pub(super) fn new(
        store: Arc<Store>,
        kind: SaveKind,
        (key, lanes): (Option<String>, Lanes),
        disk: Option<&PathBuf>,
    ) -> Outcome<Nursery> {
        let disk = disk.map(PathBuf::as_path);
        let saved = key.as_ref().and_then(|key| store.find(key, kind, disk)).map(Arc::new);
        let dir = store.begin("save")?;
        Ok(Nursery { store, kind, key, dir, saved, lanes, claim: None, spare: None })
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

    async fn claim(&mut self) -> bool {
        let Some(nursery) = &mut self.nursery else { return false };
        if nursery.saved.is_none() && nursery.claim.is_none() {
            let claim = nursery.lanes.clone().lock_owned().await;
            nursery.saved.clone_from(&claim);
            nursery.claim = Some(claim).filter(|claim| claim.is_none());
        }
        nursery.saved.is_some()
    }

    async fn save(&mut self, kept: Kept) -> Outcome {
        let nursery = self.nursery.as_mut().ok_or_else(no_nursery)?;
        // Dropped with an error: then another lane may try.
        let claim = nursery.claim.take();
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
        let saved = Arc::new(saved);
        if let Some(mut claim) = claim {
            *claim = Some(saved.clone());
        }
        nursery.saved = Some(saved);
        nursery.dir = nursery.store.begin("save")?;
        nursery.prepare(&self.maker);
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(nursery) = &mut self.nursery {
            if let Some(spare) = nursery.spare.take() {
                spare.abort();
            }
            nursery.claim = None;
            let Some(saved) = nursery.saved.take() else { return };
            if let Ok(mut told) = nursery.lanes.try_lock()
                && told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &saved))
            {
                *told = None;
            }
            // Another lane may hold it, or a spare that is still being made; then it stays.
            if let Some(saved) = Arc::into_inner(saved) {
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
