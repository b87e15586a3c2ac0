//! A telnet connection as a stream of the data in it. The bytes are `codec`'s business.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::codec::{COM_PORT, Codec, subnegotiation};
use super::comport::{self, Notice};
use super::revive::{Faults, Io};
use crate::error::DriverError;

/// How long a server may take to answer the options, or a setting of its port.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much is read, and encoded, at once.
const CHUNK: usize = 4096;

/// Answers that the other side provokes and does not read end the connection at this many bytes.
const MOST: usize = 64 << 10;

/// A connection whose options are agreed on.
pub(super) struct Nvt {
    tcp: TcpStream,
    codec: Codec,
    /// Data that came and has not been read yet.
    data: Vec<u8>,
    taken: usize,
    /// Encoded bytes that are yet to be sent.
    out: Vec<u8>,
    /// Whoever waits to write, while the reader may be the one the socket wakes.
    writer: Option<Waker>,
    /// The other side asked us to wait (RFC 2217, FLOWCONTROL-SUSPEND).
    suspended: bool,
    faults: Faults,
}

impl Nvt {
    /// Agrees on options: eight bits, and control of the port where it is asked for.
    pub(super) async fn agree(tcp: TcpStream, com_port: bool) -> Result<Nvt, DriverError> {
        let mut nvt = Nvt {
            tcp,
            codec: Codec::new(com_port),
            data: Vec::new(),
            taken: 0,
            out: Vec::new(),
            writer: None,
            suspended: false,
            faults: Faults::default(),
        };
        let agreeing = async {
            while !nvt.codec.settled() {
                nvt.exchange().await?;
            }
            nvt.exchange_out().await
        };
        match timeout(PATIENCE, agreeing).await {
            Ok(Ok(())) => Ok(nvt),
            Ok(Err(error)) => Err(DriverError::new(format!("agree on telnet's options: {error}"))),
            Err(_) => Err(DriverError::new(format!(
                "agree on telnet's options: no answer within {} s; does it speak telnet? \
                 If not, take [console.tcp]",
                PATIENCE.as_secs()
            ))),
        }
    }

    pub(super) fn controls(&self) -> bool {
        self.codec.controls()
    }

    /// Has a setting of the port sent with what is sent next.
    pub(super) fn ask(&mut self, command: u8, value: &[u8]) {
        subnegotiation(COM_PORT, &[&[command], value].concat(), &mut self.out);
    }

    /// Sends a setting of the port and waits for its confirmation: the value that holds now.
    pub(super) async fn set(&mut self, command: u8, value: &[u8]) -> Result<Vec<u8>, DriverError> {
        self.ask(command, value);
        let asking = async {
            loop {
                for notice in self.notices() {
                    match notice {
                        Notice::Confirmed(of, value) if of == command => return Ok(value),
                        _ => {}
                    }
                }
                self.exchange().await?;
            }
        };
        let told: io::Result<Vec<u8>> = match timeout(PATIENCE, asking).await {
            Ok(told) => told,
            Err(_) => {
                let s = PATIENCE.as_secs();
                Err(io::Error::other(format!("no confirmation within {s} s")))
            }
        };
        told.map_err(|error| {
            DriverError::new(format!("set the port's {}: {error}", comport::name(command)))
        })
    }

    /// Sends what is to be sent and waits for something to come.
    async fn exchange(&mut self) -> io::Result<()> {
        // A server that closes at once says why first ("Port already in use").
        let sent = self.exchange_out().await;
        let mut raw = [0; CHUNK];
        let n = self.tcp.read(&mut raw).await.or_else(|error| sent.and(Err(error)))?;
        if n == 0 {
            let said = String::from_utf8_lossy(&self.data[self.taken..]).trim().to_string();
            let said = if said.is_empty() { said } else { format!(", saying `{said}`") };
            return Err(io::Error::other(format!("the server closed the connection{said}")));
        }
        self.take(&raw[..n]);
        Ok(())
    }

    async fn exchange_out(&mut self) -> io::Result<()> {
        self.out.append(&mut self.codec.replies);
        self.tcp.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    fn take(&mut self, raw: &[u8]) {
        if self.taken == self.data.len() {
            self.data.clear();
            self.taken = 0;
        }
        self.codec.decode(raw, &mut self.data);
    }

    /// What the other side told of its port; what concerns this connection is seen to.
    fn notices(&mut self) -> Vec<Notice> {
        let subs = std::mem::take(&mut self.codec.subs);
        let notices: Vec<Notice> = subs.iter().filter_map(|sub| comport::read(sub)).collect();
        for notice in &notices {
            match notice {
                Notice::Faults(new) => {
                    self.faults.overruns += new.overruns;
                    self.faults.framing += new.framing;
                    self.faults.parity += new.parity;
                    self.faults.breaks += new.breaks;
                }
                Notice::Suspend => self.suspended = true,
                Notice::Resume => {
                    self.suspended = false;
                    self.wake_writer();
                }
                Notice::Confirmed(..) => {}
            }
        }
        notices
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Sends what waits in `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.append(&mut self.codec.replies);
        let mut sent = 0;
        let done = loop {
            if sent == self.out.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.tcp).poll_write(cx, &self.out[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.out.drain(..sent);
        done
    }
}

impl Io for Nvt {
    fn faults(&mut self) -> Faults {
        std::mem::take(&mut self.faults)
    }
}

impl AsyncRead for Nvt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.taken < this.data.len() {
                let n = buf.remaining().min(this.data.len() - this.taken);
                buf.put_slice(&this.data[this.taken..this.taken + n]);
                this.taken += n;
                return Poll::Ready(Ok(()));
            }
            // Answers to options go out even where nobody writes. The socket wakes only who asked
            // last, so whoever waits to write is woken from here.
            if !(this.out.is_empty() && this.codec.replies.is_empty()) {
                if this.poll_out(cx)?.is_ready() {
                    this.wake_writer();
                } else if this.out.len() > MOST {
                    let why = "the server asks for options without end and reads no answer";
                    return Poll::Ready(Err(io::Error::other(why)));
                }
            }
            let mut raw = [0; CHUNK];
            let mut raw = ReadBuf::new(&mut raw);
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut raw))?;
            if raw.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.take(raw.filled());
            this.notices();
        }
    }
}

impl AsyncWrite for Nvt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.writer = Some(cx.waker().clone());
        if this.suspended {
            return Poll::Pending;
        }
        // One chunk at a time: what is encoded is as good as sent to whoever wrote it.
        ready!(this.poll_out(cx))?;
        this.writer = None;
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        this.codec.encode(chunk, &mut this.out);
        match this.poll_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(chunk.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.writer = Some(cx.waker().clone());
        ready!(this.poll_out(cx))?;
        this.writer = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
