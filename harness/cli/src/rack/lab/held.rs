//! A board of the lab while a run holds it: its switch on a thread of its own, and its line, which
//! is captured from the beginning to the end, with and without power.

use std::sync::Arc;

use hil_console::{Capture, CaptureOptions};
use hil_core::event::Clock;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::serial::Health;
use hil_lab::{Instance, Wired, Worker};
use hil_run::rack::Lease;
use tokio::sync::watch;

pub(crate) struct Held {
    pub(crate) instance: Instance,
    pub(crate) capture: Arc<Capture>,
    pub(crate) switch: Worker<Wired>,
    pub(crate) label: String,
    pub(crate) health: watch::Receiver<Health>,
    /// Set once nobody would make the board safe any more.
    pub(crate) keeper_gone: watch::Receiver<Option<Trouble>>,
}

impl Held {
    pub(super) async fn open(
        instance: Instance,
        lease: &Lease,
        clock: Clock,
        keeper_gone: watch::Receiver<Option<Trouble>>,
    ) -> Outcome<Held> {
        let wired = Wired::new(&instance);
        let label = wired.label();
        let switch = Worker::start(label.clone(), wired)?;
        let marks = lease.board.stages.overridden_by(&lease.image.image.stages);
        let (masker, options) = (lease.masker.clone(), CaptureOptions::default());
        let capture = Capture::open(&lease.dir, clock, &marks, masker, options)?;
        let line = instance.console.open(lease.board.console.baud).await?;
        capture.attach(line.stream).await;
        Ok(Held { instance, capture, switch, label, health: line.health, keeper_gone })
    }
}
