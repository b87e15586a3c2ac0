//! Stops an emulated disk at its n-th write or flush: in the disk's own thread, under its lock, so
//! that nothing can come between the event and the freeze. Killing the emulator is `power`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hil_core::parts::{DiskEvent, Tripwire};
use hil_disk::{Event, Kind, Next, OnEvent, Phase};
use tokio::sync::oneshot;

/// At most one trip is armed; a later one takes its place.
#[derive(Default)]
pub(super) struct Wire(Mutex<Option<Armed>>);

struct Armed {
    event: DiskEvent,
    /// How many such events are still to come, the last one included.
    left: u32,
    sprung: oneshot::Sender<()>,
}

impl Wire {
    /// What the disk is to call on every event.
    pub(super) fn watches(self: Arc<Wire>) -> OnEvent {
        Box::new(move |event| self.sees(event))
    }

    fn sees(&self, event: &Event) -> Next {
        let mut slot = self.lock();
        let Some(armed) = slot.as_mut().filter(|armed| armed.counts(event)) else {
            return Next::Continue;
        };
        armed.left = armed.left.saturating_sub(1);
        if armed.left > 0 {
            return Next::Continue;
        }
        let sprung = slot.take().is_some_and(|armed| armed.sprung.send(()).is_ok());
        // Nobody waits any more: a disk that stops now would never go on.
        if sprung { Next::Freeze } else { Next::Continue }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn counts(&self, event: &Event) -> bool {
        let of_kind = match self.event {
            DiskEvent::Write => matches!(event.kind, Kind::Write | Kind::Zeroes),
            DiskEvent::Flush => event.kind == Kind::Flush,
        };
        of_kind && event.phase == Phase::Submitted
    }
}

#[async_trait]
impl Tripwire for Wire {
    async fn trip(&self, event: DiskEvent, nth: u32) {
        let (sprung, springs) = oneshot::channel();
        *self.lock() = Some(Armed { event, left: nth.max(1), sprung });
        if springs.await.is_err() {
            // Replaced by a later trip: this one never comes.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_disk::{Base, Disk, DiskOptions, Layer, Policy, Refused, Request, Session};

    /// A disk of one MiB, its wire, and a guest.
    fn disk(dir: &std::path::Path) -> (Disk, Arc<Wire>, Session) {
        let image = dir.join("disk.img");
        std::fs::write(&image, vec![0; 1 << 20]).unwrap();
        let base = Base::open(&image).unwrap();
        let layer = Layer::create(dir, &base, base.size()).unwrap();
        let wire = Arc::new(Wire::default());
        let on_event = Some(wire.clone().watches());
        let disk = Disk::new(layer, DiskOptions { on_event, ..DiskOptions::default() }).unwrap();
        let session = disk.session().unwrap();
        (disk, wire, session)
    }

    fn write(session: &Session) -> Result<(), Refused> {
        let mut content = session.content(512)?;
        content.append(&[7; 512])?;
        session.begin(Request::Write { offset: 0, content, fua: false })?.finish()
    }

    fn flush(session: &Session) -> Result<(), Refused> {
        session.begin(Request::Flush)?.finish()
    }

    #[tokio::test]
    async fn the_disk_stops_at_the_event_and_not_an_event_later() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, wire, session) = disk(dir.path());
        write(&session).unwrap();
        let guest = async {
            tokio::task::yield_now().await;
            for _ in 0..2 {
                write(&session).unwrap();
                flush(&session).unwrap();
            }
            assert_eq!(write(&session), Err(Refused::Frozen), "the third since the trip");
            assert_eq!(write(&session), Err(Refused::Frozen), "nothing after it");
        };
        tokio::join!(wire.trip(DiskEvent::Write, 3), guest);
        assert_eq!(disk.stats().writes, 4);
        // The write that sprang it is in flight, what was flushed is not.
        let cut = disk.power_cut(Policy::DropAll, 1).unwrap();
        assert_eq!((cut.pending, cut.in_flight), (1, 1));
    }

    #[tokio::test]
    async fn a_flush_that_springs_it_makes_nothing_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, wire, session) = disk(dir.path());
        let guest = async {
            tokio::task::yield_now().await;
            write(&session).unwrap();
            assert_eq!(flush(&session), Err(Refused::Frozen));
        };
        tokio::join!(wire.trip(DiskEvent::Flush, 1), guest);
        assert_eq!(disk.power_cut(Policy::DropAll, 1).unwrap().dropped, 1);
    }

    #[tokio::test]
    async fn a_trip_that_nobody_awaits_any_more_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, wire, session) = disk(dir.path());
        let trip = wire.trip(DiskEvent::Write, 1);
        let passed = tokio::time::timeout(std::time::Duration::ZERO, trip).await;
        assert!(passed.is_err());
        write(&session).unwrap();
        assert!(!disk.is_frozen());
    }
}
