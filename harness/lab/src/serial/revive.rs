//! A line that goes and comes back: unplugged and plugged again, disconnected and connected again.
//! What a port is, and how it is opened, is its own file's business.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::{Health, Line, Stream};
use crate::error::DriverError;

/// A port that has been up for this long is tried again at once when it goes.
const SETTLED: Duration = Duration::from_secs(5);

/// Servers that close at once say why in a line; what is longer is the board's.
const SHORT: usize = 120;

/// How a port is opened, as often as it takes.
#[async_trait]
pub(super) trait Port: Send + Sync + 'static {
    type Io: Io;

    /// `again`: it was open before. Bounded in time by itself.
    async fn open(&self, again: bool) -> Result<Self::Io, DriverError>;

    /// How long to wait before it is tried for the `nth` time, from 0.
    fn pause(&self, nth: u32) -> Duration;

    /// Why the stream has ended, for people: `error` is none at a plain end, `said` is all that
    /// came since it was opened, where that is short.
    fn why(&self, error: Option<&io::Error>, said: &str) -> String;
}

/// An open port. Its end and its errors are both taken for its loss.
pub(super) trait Io: Stream {
    /// What it noticed since it was asked last.
    fn faults(&mut self) -> Faults {
        Faults::default()
    }
}

impl Io for tokio::net::TcpStream {}

/// Trouble on the wire, as increments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) overruns: u64,
    pub(super) framing: u64,
    pub(super) parity: u64,
    pub(super) breaks: u64,
}

impl Faults {
    fn add_to(self, health: &mut Health) {
        health.overruns += self.overruns;
        health.framing_errors += self.framing;
        health.parity_errors += self.parity;
        health.breaks += self.breaks;
    }
}

type Attempt<I> = Pin<Box<dyn Future<Output = Result<I, DriverError>> + Send>>;

enum State<P: Port> {
    Up { io: P::Io, since: Instant, said: Vec<u8> },
    Gone { why: String, attempt: Attempt<P::Io> },
}

/// The stream of a [`Port`].
struct Revived<P: Port> {
    port: Arc<P>,
    state: State<P>,
    /// Attempts since it was last up for long.
    tries: u32,
    health: watch::Sender<Health>,
}

/// Opens a port for the first time; afterwards it looks after itself.
pub(super) async fn open<P: Port>(port: P) -> Result<Line, DriverError> {
    let io = port.open(false).await?;
    let (sender, health) = watch::channel(Health::default());
    let state = State::Up { io, since: Instant::now(), said: Vec::new() };
    let revived = Revived { port: Arc::new(port), state, tries: 0, health: sender };
    Ok(Line { stream: Box::new(revived), health })
}

impl<P: Port> Revived<P> {
    fn attempt(&mut self) -> Attempt<P::Io> {
        let (port, pause) = (self.port.clone(), self.port.pause(self.tries));
        self.tries = self.tries.saturating_add(1);
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            port.open(true).await
        })
    }

    fn lose(&mut self, error: Option<&io::Error>) {
        let State::Up { since, said, .. } = &self.state else { return };
        if since.elapsed() >= SETTLED {
            self.tries = 0;
        }
        let said = if said.len() > SHORT { &[] } else { said.trim_ascii() };
        let why = self.port.why(error, &String::from_utf8_lossy(said));
        self.health.send_modify(|health| health.gone = Some(why.clone()));
        self.state = State::Gone { why, attempt: self.attempt() };
    }

    fn come_back(&mut self, io: P::Io) {
        self.state = State::Up { io, since: Instant::now(), said: Vec::new() };
        self.health.send_modify(|health| {
            health.gone = None;
            health.replugs += 1;
        });
    }

    fn try_again(&mut self, error: &DriverError) {
        let next = self.attempt();
        let State::Gone { why, attempt } = &mut self.state else { return };
        *attempt = next;
        let told = format!("{why}; since then: failed to {error}");
        self.health.send_if_modified(|health| {
            let news = health.gone.as_ref() != Some(&told);
            health.gone = Some(told);
            news
        });
    }
}

impl<P: Port> AsyncRead for Revived<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Up { io, said, .. } => {
                    let before = buf.filled().len();
                    let read = Pin::new(&mut *io).poll_read(cx, buf);
                    let faults = io.faults();
                    if faults != Faults::default() {
                        this.health.send_modify(|health| faults.add_to(health));
                    }
                    match read {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) if buf.filled().len() > before => {
                            if said.len() <= SHORT {
                                let fresh = &buf.filled()[before..];
                                said.extend_from_slice(&fresh[..fresh.len().min(SHORT + 1)]);
                            }
                            return Poll::Ready(Ok(()));
                        }
                        Poll::Ready(Ok(())) if buf.remaining() == 0 => return Poll::Ready(Ok(())),
                        Poll::Ready(Ok(())) => this.lose(None),
                        Poll::Ready(Err(error)) => this.lose(Some(&error)),
                    }
                }
                State::Gone { attempt, .. } => match attempt.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(io)) => this.come_back(io),
                    Poll::Ready(Err(error)) => this.try_again(&error),
                },
            }
        }
    }
}

impl<P: Port> AsyncWrite for Revived<P> {
    /// Fails while the line is gone: whoever sent it could not know where it will end up. A
    /// failed write leaves the loss to be found by the read, which then waits for the return.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.state {
            State::Up { io, .. } => match Pin::new(io).poll_write(cx, bytes) {
                Poll::Ready(Err(error)) => {
                    Poll::Ready(Err(io::Error::other(this.port.why(Some(&error), ""))))
                }
                other => other,
            },
            State::Gone { why, .. } => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, why.clone())))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Up { io, .. } => Pin::new(io).poll_flush(cx),
            State::Gone { .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

// `P` itself is behind an `Arc`, and its open port is `Unpin` by `Stream`.
impl<P: Port> Unpin for Revived<P> {}
