//! One SSH connection: connecting, authenticating, waiting, every step bounded by a deadline and cut off
//! at once when the socket is shut down. It blocks its thread; the thread is `worker`'s business, what
//! is done on the open connection `channel`'s.
//!
//! libssh2 runs in its non-blocking mode throughout and all waiting is done here, in poll(2): its
//! own blocking calls know no deadline for a whole step, and its destructors may wait for ever.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hil_core::trouble::Trouble;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, ErrorCode, Session};

use super::worker::Cutter;

/// Where an SSH server is and how one logs in there.
///
/// Host keys are not checked: a test board gets a new one with every installation, and its port
/// is one of this machine's own.
#[derive(Clone, Debug)]
pub struct SshTarget {
    pub address: SocketAddr,
    pub user: String,
    /// Private key file.
    pub key: Option<PathBuf>,
    pub password: Option<String>,
}

/// How far a connection came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection cannot be made or was lost; says at which step.
    Line(String),
    /// The server lives and refused the login.
    Refused(String),
    /// The deadline passed.
    Late(String),
    /// This host is at fault: a missing key file, say.
    Host(String),
}

impl Failure {
    pub(crate) fn trouble(self) -> Trouble {
        match self {
            Failure::Line(why) => Trouble::Transport(why),
            Failure::Refused(why) => Trouble::Product(why),
            Failure::Late(why) => Trouble::Unmet(why),
            Failure::Host(why) => Trouble::Rack(why),
        }
    }
}

pub(crate) type Step<T = ()> = Result<T, Failure>;

/// libssh2's `LIBSSH2_ERROR_EAGAIN`, `…_AUTHENTICATION_FAILED`, `…_PUBLICKEY_UNVERIFIED`,
/// `…_METHOD_NOT_SUPPORTED`; and `…_FILE`, a key that is none.
pub(super) const AGAIN: i32 = -37;
const NO_KEY: i32 = -16;
const REFUSALS: [i32; 3] = [-18, -19, -33];

/// The longest wait between two looks at whether the job was given up.
const SLICE: Duration = Duration::from_millis(500);

/// A connection that is open.
pub(crate) struct Link {
    pub(super) session: Session,
    stream: TcpStream,
    pub(super) cutter: Arc<Cutter>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // libssh2 says goodbye when it is freed; without a socket it cannot wait for an answer.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Link {
    /// Connects and authenticates.
    pub(crate) fn open(target: &SshTarget, cutter: &Arc<Cutter>, until: Instant) -> Step<Link> {
        let line = |step: &str, why: &dyn std::fmt::Display| {
            Failure::Line(format!("{} as `{}`: {step}: {why}", target.address, target.user))
        };
        // A refused or unanswered connection is the usual thing before the server runs.
        let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        let left = left.max(Duration::from_millis(1));
        let stream = TcpStream::connect_timeout(&target.address, left)
            .map_err(|why| line("connect", &why))?;
        cutter.hold(&stream).map_err(|why| line("connect", &why))?;
        let host = |why: &dyn std::fmt::Display| Failure::Host(format!("set up SSH: {why}"));
        stream.set_nodelay(true).map_err(|why| host(&why))?;
        let mut session = Session::new().map_err(|why| host(&why))?;
        session.set_tcp_stream(stream.try_clone().map_err(|why| host(&why))?);
        session.set_blocking(false);
        let mut link = Link { session, stream, cutter: cutter.clone() };

        link.banner(until).map_err(|why| line("no banner", &told(why)))?;
        link.shake_hands(until).map_err(|why| line("key exchange", &told(why)))?;
        link.authenticate(target, until)?;
        Ok(link)
    }

    /// Whether the other side has not closed the connection meanwhile; libssh2 has made the socket
    /// a non-blocking one.
    pub(crate) fn is_alive(&self) -> bool {
        // What the server said before it closed may still lie here unread: ask for the end itself.
        let mut ends = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        if poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ended| ended > 0) {
            return false;
        }
        match self.stream.peek(&mut [0]) {
            Ok(n) => n > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Waits for the server's first byte: what accepts the connection (an emulator's network, say)
    /// need not be the server.
    fn banner(&self, until: Instant) -> Step {
        self.wait(PollFlags::IN, until, "the server said nothing")?;
        let mut byte = [0];
        match self.stream.peek(&mut byte) {
            Ok(0) => Err(Failure::Line("the connection was closed at once".into())),
            Ok(_) => Ok(()),
            Err(why) => Err(Failure::Line(why.to_string())),
        }
    }

    fn shake_hands(&mut self, until: Instant) -> Step {
        loop {
            match self.session.handshake() {
                Ok(()) => return Ok(()),
                Err(error) => self.again(error, until)?,
            }
        }
    }

    fn authenticate(&self, target: &SshTarget, until: Instant) -> Step {
        let SshTarget { address, user, key, password } = target;
        let (mut tried, mut refused) = (Vec::new(), String::new());
        let mut attempt = |what: String, by: &dyn Fn() -> Result<(), ssh2::Error>| {
            let result = self.drive(until, by);
            tried.push(what);
            match result {
                Ok(()) => Ok(true),
                Err(Failure::Refused(why)) => {
                    refused = why;
                    Ok(false)
                }
                Err(Failure::Host(why)) => {
                    Err(Failure::Host(format!("log in over SSH with {}: {why}", tried.concat())))
                }
                Err(other) => {
                    let why = told(other);
                    Err(Failure::Line(format!("{address} as `{user}`: authentication: {why}")))
                }
            }
        };
        if let Some(key) = key {
            // Read here, since libssh2's own error does not tell a missing file from a refusal.
            let text = std::fs::read_to_string(key)
                .map_err(|why| Failure::Host(format!("read SSH key {}: {why}", key.display())))?;
            let by = || self.session.userauth_pubkey_memory(user, None, &text, None);
            if attempt(format!("key {}", key.display()), &by)? {
                return Ok(());
            }
        }
        if let Some(password) = password
            && attempt("password".into(), &|| self.session.userauth_password(user, password))?
        {
            return Ok(());
        }
        if key.is_none() && password.is_none() {
            // Asking for the methods is a login without any, which succeeds where none is needed.
            let none = || match self.session.auth_methods(user) {
                _ if self.session.authenticated() => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(ssh2::Error::new(ErrorCode::Session(-18), "a login is needed")),
            };
            if attempt("nothing".into(), &none)? {
                return Ok(());
            }
        }
        let tried = tried.join(", then ");
        Err(Failure::Refused(format!(
            "the SSH server at {address} refused `{user}` with {tried}: {refused}; check user and \
             key under [ssh] in image.toml"
        )))
    }

    /// Runs a non-blocking call until it is done.
    pub(crate) fn drive<T>(
        &self,
        until: Instant,
        call: impl Fn() -> Result<T, ssh2::Error>,
    ) -> Step<T> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) => self.again(error, until)?,
            }
        }
    }

    /// Waits where a call wants to be made again; fails where it failed.
    pub(super) fn again(&self, error: ssh2::Error, until: Instant) -> Step {
        match error.code() {
            ErrorCode::Session(AGAIN) => self.ready(until, "the server does not answer"),
            ErrorCode::Session(code) if REFUSALS.contains(&code) => {
                Err(Failure::Refused(error.message().to_string()))
            }
            ErrorCode::Session(NO_KEY) => Err(Failure::Host(error.message().to_string())),
            _ => Err(Failure::Line(error.to_string())),
        }
    }

    /// Waits until the socket is ready for what libssh2 wants to do with it.
    pub(crate) fn ready(&self, until: Instant, late: &str) -> Step {
        let flags = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::None | BlockDirections::Inbound => PollFlags::IN,
        };
        self.wait(flags, until, late)
    }

    /// As [`Link::ready`], but no longer than [`SLICE`]: where several things are read and written in
    /// turns, what is waited for may have been taken in already.
    pub(super) fn ready_or_a_moment(&self, until: Instant, late: &str) -> Step {
        match self.ready(until.min(Instant::now() + SLICE), late) {
            Err(Failure::Late(_)) if Instant::now() < until => Ok(()),
            other => other,
        }
    }

    pub(super) fn wait(&self, flags: PollFlags, until: Instant, late: &str) -> Step {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.cutter.is_cut() {
                return Err(Failure::Line("the connection was given up".into()));
            }
            if left.is_zero() {
                return Err(Failure::Late(late.to_string()));
            }
            let slice = left.min(SLICE);
            let timeout =
                Timespec { tv_sec: slice.as_secs() as i64, tv_nsec: slice.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.stream, flags)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(why) => return Err(Failure::Line(why.to_string())),
            }
        }
    }
}

/// A failure's own words.
fn told(failure: Failure) -> String {
    match failure {
        Failure::Line(why) | Failure::Refused(why) | Failure::Late(why) | Failure::Host(why) => why,
    }
}
