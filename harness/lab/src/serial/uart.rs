//! An open tty as an async stream: no thread of its own, and its end is its end.
//!
//! It waits by epoll and reads until the kernel has no more. A port that was unplugged reads as
//! end or error at once and is dropped by `revive` then; a reader that ignores both spins.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::termios::QueueSelector;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::counters::{Counters, icount};
use super::revive::{Faults, Io};

/// How often the port's counters are read.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Uart {
    fd: AsyncFd<OwnedFd>,
    meter: Option<Meter>,
}

/// The port's error counters, where it has any.
struct Meter {
    counters: Counters,
    tick: Pin<Box<Sleep>>,
    faults: Faults,
}

impl Uart {
    /// Takes over a port that is set up already.
    #[expect(unsafe_code, reason = "tokio has no other way to wait for a file that is not its own")]
    pub(super) fn new(fd: OwnedFd) -> io::Result<Uart> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let start = icount(fd.as_fd()).ok();
        let meter = start.map(|start| Meter {
            counters: Counters::since(start),
            tick: Box::pin(sleep(TICK)),
            faults: Faults::default(),
        });
        // Safety: an `OwnedFd` stays open, and the same, for as long as the `AsyncFd` owns it.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Uart { fd, meter })
    }

    /// Reads the counters each tick; the tick wakes the reader.
    fn count(&mut self, cx: &mut Context<'_>) {
        let Some(meter) = &mut self.meter else { return };
        while meter.tick.as_mut().poll(cx).is_ready() {
            meter.tick.as_mut().reset(Instant::now() + TICK);
            if let Ok(now) = icount(self.fd.get_ref().as_fd()) {
                let new = meter.counters.advance(now);
                meter.faults.overruns += new.overruns;
                meter.faults.framing += new.framing;
                meter.faults.parity += new.parity;
                meter.faults.breaks += new.breaks;
            }
        }
    }
}

impl Drop for Uart {
    fn drop(&mut self) {
        // What the wire has not taken goes: closing would wait up to half a minute for a board
        // that holds CTS down. A port that was unplugged has nothing left to forget.
        let _ = rustix::termios::tcflush(self.fd.get_ref(), QueueSelector::OFlush);
    }
}

impl Io for Uart {
    fn faults(&mut self) -> Faults {
        self.meter.as_mut().map(|meter| std::mem::take(&mut meter.faults)).unwrap_or_default()
    }
}

impl AsyncRead for Uart {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.count(cx);
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let read = guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), space)?));
            match read {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Uart {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    /// What was written is the kernel's; waiting for the wire would block.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
