//! Calls that the kernel may hold up for longer than anybody waits (a USB device that hangs, a
//! name server that is away), each on a thread of its own.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};

use hil_core::deadline::Deadline;

/// One device's calls, one after the other. A call that hangs is left behind, and no further one
/// is begun until it has ended: an "on" that comes out of the kernel late must not undo an "off".
#[derive(Default)]
pub(super) struct Lane {
    behind: Option<JoinHandle<()>>,
}

impl Lane {
    /// Runs `work`; past the deadline says that it hangs in `what`.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        deadline: &Deadline,
        what: &str,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.behind.take_if(|call| call.is_finished()).is_none() && self.behind.is_some() {
            return Err(format!(
                "an earlier call still hangs in {what}: unplug the device, see `dmesg`"
            ));
        }
        let (tell, told) = mpsc::sync_channel(1);
        let call = thread::Builder::new()
            .name("hil-power".into())
            .spawn(move || {
                // Nobody listens any more when the deadline has passed.
                let _ = tell.send(work());
            })
            .map_err(|error| format!("no thread could be started for it: {error}"))?;
        match told.recv_timeout(deadline.left()) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(format!("{what} broke off")),
            Err(RecvTimeoutError::Timeout) => {
                self.behind = Some(call);
                Err(format!("{what} did not end within {deadline}: it hangs in the kernel"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_overtakes_a_call_that_hangs() {
        let mut lane = Lane::default();
        let (release, held) = mpsc::channel::<()>();
        let short = Deadline::within(Duration::from_millis(20));
        let why = lane.run(&short, "the write", move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(why.unwrap_err().contains("the write did not end within"));
        let why = lane.run(&Deadline::within(Duration::from_secs(5)), "the write", || Ok(()));
        assert!(why.unwrap_err().contains("an earlier call still hangs"));

        release.send(()).unwrap();
        lane.behind.take().unwrap().join().unwrap();
        assert_eq!(lane.run(&Deadline::within(Duration::from_secs(5)), "it", || Ok(7)), Ok(7));
    }

    #[test]
    fn work_that_breaks_off_is_told() {
        let why = Lane::default().run::<()>(
            &Deadline::within(Duration::from_secs(5)),
            "the write",
            || panic!("on purpose"),
        );
        assert_eq!(why.unwrap_err(), "the write broke off");
    }
}
