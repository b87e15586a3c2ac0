//! One life of an emulated board: from one start of its emulator, on one layer of its disk, until
//! another takes its place. A power cycle stays within a life; a fork and a fresh medium are new ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_core::trouble::{Outcome, Trouble};
use hil_disk::Base;
use hil_qemu::{Begin, BootWith, Emulator, LaunchSpec, Machine, Qemu, RunDir, Started};

use super::corners::Corners;
use super::disk::{Blank, Served};
use super::ready::Saved;

/// What all lives of a board have in common.
#[derive(Clone)]
pub(super) struct Maker {
    pub(super) emulator: Emulator,
    pub(super) machine: Machine,
    /// Its sockets and the file of UEFI variables are each life's own.
    pub(super) spec: LaunchSpec,
    pub(super) corners: Arc<Corners>,
    /// `None` where the board has no disk.
    pub(super) blank: Option<Blank>,
}

pub(super) struct Life {
    pub(super) corner: RunDir,
    pub(super) spec: LaunchSpec,
    pub(super) disk: Option<Served>,
}

impl Maker {
    /// A board as it was provisioned.
    pub(super) fn anew(&self, begin: Begin) -> Outcome<Life> {
        let base = self.blank.as_ref().map(|blank| blank.base.clone());
        let vars = match &self.spec.boot {
            BootWith::Uefi { vars, .. } => Some(vars.as_path()),
            _ => None,
        };
        self.life(base.as_ref(), vars, begin)
    }

    /// A board as it was saved, standing still; [`Qemu::resume`] lets it go on.
    pub(super) async fn fork(&self, saved: &Saved) -> Outcome<(Life, Started)> {
        let begin = Begin::Saved { ram: saved.ram() };
        let life = self.life(saved.disk.as_ref(), Some(&saved.vars()), begin)?;
        let started = life.start(self).await?;
        started.qemu.load(saved.kind, &saved.state()).await?;
        Ok((life, started))
    }

    fn life(&self, base: Option<&Base>, vars: Option<&Path>, begin: Begin) -> Outcome<Life> {
        let corner = self.corners.take()?;
        let disk = match (&self.blank, base) {
            (Some(blank), Some(base)) => Some(blank.serve(base, &corner.socket("disk")?)?),
            _ => None,
        };
        let mut spec = self.spec.clone();
        spec.begin = begin;
        spec.console = corner.socket("console")?;
        spec.qmp = corner.socket("qmp")?;
        spec.disks = disk.iter().map(|disk| disk.socket().to_path_buf()).collect();
        if let (BootWith::Uefi { vars: own, .. }, Some(vars)) = (&mut spec.boot, vars) {
            // The guest writes its variables.
            *own = copy(vars, corner.file("vars.fd"))?;
        }
        Ok(Life { corner, spec, disk })
    }
}

impl Life {
    pub(super) async fn start(&self, maker: &Maker) -> Outcome<Started> {
        if let Begin::Template { ram } = &self.spec.begin {
            // RAM is empty at power-on; what an earlier start left in the file must not be there.
            let _ = fs::remove_file(ram);
        }
        Ok(Qemu::start(&maker.emulator, &maker.machine, &self.spec, &self.corner).await?)
    }

    /// Keeps the UEFI variables with what is saved.
    pub(super) fn keep_vars(&self, to: PathBuf) -> Outcome {
        match &self.spec.boot {
            BootWith::Uefi { vars, .. } => copy(vars, to).map(drop),
            _ => Ok(()),
        }
    }
}

fn copy(from: &Path, to: PathBuf) -> Outcome<PathBuf> {
    fs::copy(from, &to)
        .map_err(|why| Trouble::rack(format!("failed to copy {}: {why}", from.display())))?;
    Ok(to)
}
