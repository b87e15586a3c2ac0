//! Reads the attached stream until it ends, whatever readers do: a guest nobody reads from stalls.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Inner, TICK};

/// How much is read at once.
const READ: usize = 64 << 10;

/// The task that reads one stream. Dropping it ends the reading.
pub(crate) struct Pump(JoinHandle<()>);

impl Pump {
    pub(crate) fn start(inner: Arc<Inner>, reader: impl AsyncRead + Send + 'static) -> Pump {
        Pump(tokio::spawn(async move {
            tokio::pin!(reader);
            let mut buffer = vec![0; READ];
            let tick = sleep(TICK);
            tokio::pin!(tick);
            let mut ticking = false;
            loop {
                tokio::select! {
                    biased;
                    () = &mut tick, if ticking => {
                        ticking = inner.tick();
                        if ticking {
                            tick.as_mut().reset(Instant::now() + TICK);
                        }
                    }
                    // An error ends a stream as its end does: a pty whose other side has gone.
                    read = reader.read(&mut buffer) => match read {
                        Ok(n) if n > 0 => {
                            inner.take(&buffer[..n]);
                            if !ticking {
                                ticking = true;
                                tick.as_mut().reset(Instant::now() + TICK);
                            }
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        _ => break,
                    },
                }
            }
            inner.end();
        }))
    }

    pub(crate) fn runs(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for the stream's end, at most for `linger`.
    pub(crate) async fn finish(mut self, linger: Duration) {
        // The task's own failure cannot be told from its end here: the stream is over either way.
        let _ = timeout(linger, &mut self.0).await;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    fn take(&self, bytes: &[u8]) {
        let news = self.state().take(bytes, self.clock.now());
        self.grown.notify_waiters();
        if news {
            self.seen.notify_waiters();
        }
    }

    /// True while another tick is needed.
    fn tick(&self) -> bool {
        let mut state = self.state();
        let news = state.tick(self.clock.now(), TICK);
        let pending = state.is_pending();
        drop(state);
        if news {
            self.seen.notify_waiters();
        }
        pending
    }

    fn end(&self) {
        let news = self.state().end();
        self.grown.notify_waiters();
        if news {
            self.seen.notify_waiters();
        }
    }
}
