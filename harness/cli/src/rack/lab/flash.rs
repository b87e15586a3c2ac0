//! The image onto a physical board's medium, with what its manifest injects.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hil_core::deadline::{Deadline, secs};
use hil_core::event::{Journal, What};
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::storage::{Device, Files, Options, provision};
use hil_lab::{DriverError, Instance};
use hil_qemu::RUN_VARIABLE;
use hil_run::prepare::Prepared;
use hil_run::prepare::inject::{self, Medium};
use hil_run::rack::Lease;

/// The slowest card takes less for the largest image; what hangs ends here.
const LONGEST: u64 = 3600;

/// Writes the image, unless the instance counts as flashed; what the medium is, for the report.
pub(crate) async fn flash(instance: &Instance, lease: &Lease, run: &str) -> Outcome<String> {
    if instance.storage.is_none() {
        return Ok("physical, flashed already".into());
    }
    let cancel = Arc::new(AtomicBool::new(false));
    let job = Job {
        instance: instance.clone(),
        flash: lease.board.flash.clone(),
        image: lease.image.clone(),
        dir: lease.dir.clone(),
        journal: lease.journal.clone(),
        run: run.into(),
        cancel: cancel.clone(),
    };
    // An interrupted run drops this future: the thread that writes is told to stop.
    let _stop = Stop(cancel);
    let done = tokio::task::spawn_blocking(move || job.run()).await;
    done.unwrap_or_else(|error| Err(Trouble::rack(format!("flashing: {error}"))))?;
    Ok("physical".into())
}

/// Writes a session's image again, whenever a case asks for the medium as it was provisioned.
pub(crate) struct Renewal {
    lease: Lease,
    run: String,
}

impl Renewal {
    /// `None` where the lab file does not ask for it, or a loader would have to be entered.
    pub(super) fn of(instance: &Instance, lease: &Lease, run: &str) -> Option<Renewal> {
        let storage = instance.storage.as_ref()?;
        (storage.renew && storage.mux.is_some())
            .then(|| Renewal { lease: lease.clone(), run: run.into() })
    }

    pub(super) async fn write(&self, instance: &Instance) -> Outcome {
        flash(instance, &self.lease, &self.run).await.map(drop)
    }
}

struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Job {
    instance: Instance,
    flash: Option<hil_core::board::Flash>,
    image: Arc<Prepared>,
    dir: PathBuf,
    journal: Journal,
    run: String,
    cancel: Arc<AtomicBool>,
}

impl Job {
    fn run(self) -> Outcome {
        let Some(disk) = self.image.disk.clone() else {
            let file = self.image.image.file.display();
            return Err(Trouble::rack(format!("{file} has no [disk] that could be flashed")));
        };
        let begun = Instant::now();
        let journal = &self.journal;
        let progress = |done, total| journal.doing("flashing", Some((done, total)));
        let log = |line: &str| journal.doing(format!("flashing: {line}"), None);
        let env = [(RUN_VARIABLE.to_string(), self.run.clone())];
        let options = Options {
            progress: &progress,
            log: &log,
            cancel: &self.cancel,
            env: &env,
            deadline: Deadline::within(secs(LONGEST)),
        };
        let image = &self.image.image;
        let bootloader = image.bootloader.as_ref().map(|artefact| image.path(&artefact.file));
        let bootloader = bootloader.as_deref();
        let files = Files { image: &disk, bmap: None, bootloader, dir: &image.dir };
        let mut inject = |device: &Device| {
            if image.inject.is_empty() {
                return Ok(());
            }
            journal.doing("injecting files", None);
            let applied = inject::apply(image, &disk, &Written(device), &self.dir, &self.dir);
            applied.map_err(|error| DriverError::new(error.to_string()))
        };
        let spec = self.instance.storage.as_ref();
        let done = provision(spec, self.flash.as_ref(), &files, &options, &mut inject)?;
        let bytes = done.medium.as_ref().map_or(0, |(_, written)| written.data + written.zeroed);
        let took = begun.elapsed().as_secs_f64();
        self.journal.record(What::Flashed { how: done.to_string(), bytes, took });
        Ok(())
    }
}

/// The medium after the image was written.
struct Written<'d>(&'d Device);

impl Medium for Written<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
}
