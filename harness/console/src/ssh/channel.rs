//! What is done on an open SSH connection: a command with its input and both outputs, a connection to a
//! port as the server reaches it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use rustix::event::PollFlags;
use ssh2::{BlockDirections, Channel, ErrorCode};

use super::link::{AGAIN, Failure, Link, Step};

/// What a server may send ahead of what is read: bounds the memory a flood takes.
const WINDOW: u32 = 256 << 10;
const PACKET: u32 = 32 << 10;

impl Link {
    /// A channel on which the command is running.
    pub(crate) fn start(&self, command: &str, until: Instant) -> Step<Channel> {
        let open = || self.session.channel_open("session", WINDOW, PACKET, None);
        let mut channel = self.drive(until, open)?;
        loop {
            match channel.exec(command) {
                Ok(()) => return Ok(channel),
                Err(error) => self.again(error, until)?,
            }
        }
    }

    /// Feeds `input` to the command and hands its output to `take` (`true` for stderr) until it
    /// has ended; its status, 128 + N for a death by signal N.
    pub(crate) fn run(
        &self,
        command: &str,
        input: &mut dyn Read,
        take: &mut dyn FnMut(bool, &[u8]) -> Step,
        until: Instant,
    ) -> Step<i32> {
        let mut channel = self.start(command, until)?;
        let mut feed = Feed { chunk: Vec::new(), at: 0, half_sent: false, done: false };
        let mut buffer = vec![0; 16 << 10];
        loop {
            let mut moved = false;
            for (nth, is_stderr) in [(0, false), (1, true)] {
                match channel.stream(nth).read(&mut buffer) {
                    Ok(0) => {}
                    Ok(n) => {
                        take(is_stderr, &buffer[..n])?;
                        moved = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(Failure::Line(error.to_string())),
                }
            }
            // Last, since reading takes in whatever has come: a window that the server opens meanwhile
            // must be seen before the wait for it, which would have no end.
            moved |= self.feed(&mut feed, &mut channel, input)?;
            if channel.eof() {
                // The command ended without having read everything: libssh2 says nothing more, not even
                // that the channel is closed, before the packet that went out in part is out whole.
                while feed.half_sent {
                    self.wait(PollFlags::OUT, until, "the server does not take what was begun")?;
                    self.feed(&mut feed, &mut channel, &mut std::io::empty())?;
                }
                return self.ending(&mut channel, until);
            }
            if self.cutter.is_cut() || Instant::now() >= until {
                self.wait(PollFlags::IN, until, "the command goes on")?;
            }
            if !moved {
                self.ready_or_a_moment(until, "the command goes on")?;
            }
        }
    }

    /// Writes to the command what its window and the socket take; true if something moved.
    fn feed(&self, feed: &mut Feed, channel: &mut Channel, input: &mut dyn Read) -> Step<bool> {
        let moved = feed.step(channel, input)?;
        feed.half_sent = !moved && !feed.done && self.wants_to_write();
        Ok(moved)
    }

    fn wants_to_write(&self) -> bool {
        matches!(self.session.block_directions(), BlockDirections::Outbound | BlockDirections::Both)
    }

    /// Sends `request` to a TCP port as the server reaches it, and reads until that closes.
    pub(crate) fn dial(
        &self,
        to: SocketAddr,
        request: &[u8],
        most: usize,
        until: Instant,
    ) -> Step<Vec<u8>> {
        let host = to.ip().to_string();
        let open = || self.session.channel_direct_tcpip(&host, to.port(), None);
        let mut channel = match self.drive(until, open) {
            // The server lives and says that nobody listens there, or that it forwards nothing.
            Err(Failure::Line(why)) if self.is_alive() => {
                return Err(Failure::Refused(format!("no connection to {to}: {why}")));
            }
            other => other?,
        };
        let mut sent = 0;
        while sent < request.len() {
            match channel.write(&request[sent..]) {
                Ok(n) => sent += n,
                Err(error) => self.again_io(&error, until)?,
            }
        }
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        while !channel.eof() {
            match channel.read(&mut buffer) {
                Ok(0) if !channel.eof() => self.ready(until, "the port does not answer")?,
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                Err(error) => self.again_io(&error, until)?,
            }
            if answer.len() > most {
                return Err(Failure::Host(format!("{to} sent more than {} MiB", most >> 20)));
            }
        }
        Ok(answer)
    }

    /// As [`Link::again`], of a channel's reading and writing.
    fn again_io(&self, error: &std::io::Error, until: Instant) -> Step {
        match error.kind() {
            ErrorKind::WouldBlock => self.ready(until, "the port does not answer"),
            _ => Err(Failure::Line(error.to_string())),
        }
    }

    fn ending(&self, channel: &mut Channel, until: Instant) -> Step<i32> {
        for step in [Channel::close, Channel::wait_close] {
            while let Err(error) = step(channel) {
                self.again(error, until)?;
            }
        }
        let line = |error: ssh2::Error| Failure::Line(error.to_string());
        let signal = channel.exit_signal().map_err(line)?.exit_signal;
        match signal {
            Some(name) => Ok(128 + signal_number(&name)),
            None => channel.exit_status().map_err(line),
        }
    }
}

/// What is still to be written to a command's stdin.
struct Feed {
    chunk: Vec<u8>,
    at: usize,
    /// libssh2 holds a packet that the socket has not taken, or not whole.
    half_sent: bool,
    done: bool,
}

impl Feed {
    /// Writes what the window takes; true if something moved.
    fn step(&mut self, channel: &mut Channel, input: &mut dyn Read) -> Step<bool> {
        if self.done {
            return Ok(false);
        }
        if self.at == self.chunk.len() {
            self.chunk.resize(16 << 10, 0);
            let n = input.read(&mut self.chunk);
            let n = n.map_err(|why| Failure::Host(format!("read the local file: {why}")))?;
            self.chunk.truncate(n);
            self.at = 0;
            if n == 0 {
                return self.end(channel);
            }
        }
        match channel.write(&self.chunk[self.at..]) {
            Ok(n) => {
                self.at += n;
                Ok(n > 0)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Failure::Line(error.to_string())),
        }
    }

    fn end(&mut self, channel: &mut Channel) -> Step<bool> {
        match channel.send_eof() {
            Ok(()) => self.done = true,
            Err(error) if error.code() == ErrorCode::Session(AGAIN) => {}
            Err(error) => return Err(Failure::Line(error.to_string())),
        }
        Ok(self.done)
    }
}

fn signal_number(name: &str) -> i32 {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
    ];
    let name = name.trim_start_matches("SIG");
    NAMES.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number)
}
