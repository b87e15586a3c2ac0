//! A real shell on a real terminal for tests, with a kernel that talks in between.

#![expect(clippy::unwrap_used, reason = "a test's own plumbing fails by panicking")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Sync;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hil_console::{Capture, CaptureOptions};
use hil_core::event::Clock;
use hil_core::image::Login;
use hil_core::mask::Masker;
use hil_core::stage::StageMarks;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::net::UnixStream;

/// A wire that loses a byte, or all too many.
#[derive(Default)]
pub(crate) struct Wire {
    /// Which byte from now on is lost; 0 for none.
    lose: AtomicUsize,
    /// Whether each byte that many bytes later is lost, too.
    again: AtomicUsize,
}

impl Wire {
    pub(crate) fn lose(&self, nth: usize) {
        self.lose.store(nth, Ordering::SeqCst);
    }

    pub(crate) fn lose_each(&self, nth: usize) {
        self.again.store(nth, Ordering::SeqCst);
        self.lose(nth);
    }

    fn carry(&self, bytes: &[u8]) -> Vec<u8> {
        let mut carried = bytes.to_vec();
        carried.retain(|_| match self.lose.load(Ordering::SeqCst) {
            0 => true,
            1 => {
                self.lose.store(self.again.load(Ordering::SeqCst), Ordering::SeqCst);
                false
            }
            later => {
                self.lose.store(later - 1, Ordering::SeqCst);
                true
            }
        });
        carried
    }
}

/// A program on a terminal; it ends with the test.
pub(crate) struct Tty {
    child: Child,
    pub(crate) from_board: Arc<Wire>,
    pub(crate) to_board: Arc<Wire>,
    pub(crate) capture: Arc<Capture>,
    _dir: tempfile::TempDir,
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every how many bytes of output the kernel says something; 0 for never.
pub(crate) async fn tty<S: AsRef<OsStr>>(command: &[S], noise_every: usize) -> Tty {
    let dir = tempfile::tempdir().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = || {
        use std::os::unix::fs::OpenOptionsExt;
        let noctty = rustix::fs::OFlags::NOCTTY.bits() as i32;
        let mut options = File::options();
        Stdio::from(options.read(true).write(true).custom_flags(noctty).open(&name).unwrap())
    };
    let child = Command::new("setsid")
        .arg("-c")
        .args(command)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("PS1", "target# ")
        .env("HOME", dir.path())
        .env("TERM", "vt100")
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .unwrap();
    let (ours, theirs) = Sync::pair().unwrap();
    let mut reader = File::from(master);
    let mut writer = reader.try_clone().unwrap();
    let (mut to_test, mut from_test) = (theirs.try_clone().unwrap(), theirs);
    let (from_board, to_board) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let (out, back) = (from_board.clone(), to_board.clone());
    std::thread::spawn(move || noisily(&mut reader, &mut to_test, noise_every, &out));
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(n) = from_test.read(&mut buffer) {
            if n == 0 || writer.write_all(&back.carry(&buffer[..n])).is_err() {
                return;
            }
        }
    });
    let marks = StageMarks::default();
    let options = CaptureOptions::default();
    let capture =
        Capture::open(dir.path(), Clock::new(), &marks, Masker::default(), options).unwrap();
    ours.set_nonblocking(true).unwrap();
    capture.attach(UnixStream::from_std(ours).unwrap()).await;
    Tty { child, from_board, to_board, capture, _dir: dir }
}

/// Copies what a shell prints and puts kernel messages between its bytes, in mid-line as a real
/// console has them. Rounds differ, as they do in life, or no repetition would ever help.
fn noisily(from: &mut File, to: &mut Sync, every: usize, wire: &Wire) {
    let mut buffer = [0; 512];
    let (mut until, mut nth) = (every, 0);
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            return;
        }
        let carried = wire.carry(&buffer[..n]);
        let mut rest = carried.as_slice();
        while every > 0 && rest.len() >= until {
            let (now, later) = rest.split_at(until);
            let noise = format!("[  {nth}.{nth:06}] noise: device eth{nth} ready\r\n");
            if to.write_all(now).and_then(|()| to.write_all(noise.as_bytes())).is_err() {
                return;
            }
            nth += 1;
            until = every + (nth * 37) % every;
            rest = later;
        }
        until = until.saturating_sub(rest.len());
        if to.write_all(rest).is_err() {
            return;
        }
    }
}

pub(crate) fn login(user: Option<&str>, password: Option<&str>) -> Login {
    Login {
        user: user.map(String::from),
        password: password.map(String::from),
        prompt: "login: $".into(),
        password_prompt: "[Pp]assword: ?$".into(),
        shell: "[#$] $".into(),
    }
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
