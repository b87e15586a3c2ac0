//! A pty that stands for a serial port, and what the tests of serial lines wait for.

#![expect(clippy::unwrap_used, reason = "a test's own plumbing fails by panicking")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use hil_lab::serial::{Health, Line};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// No wait of these tests is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The board's end of a port: what is written here comes out of the port.
pub(crate) struct Board {
    pub(crate) master: File,
    /// Where the port is.
    pub(crate) port: PathBuf,
}

pub(crate) fn board() -> Board {
    let master: OwnedFd =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let port = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    // A UART echoes nothing, whoever has it open or not.
    let mut mode = rustix::termios::tcgetattr(&master).unwrap();
    mode.make_raw();
    rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &mode).unwrap();
    Board { master: File::from(master), port: port.into() }
}

impl Board {
    pub(crate) fn settings(&self) -> rustix::termios::Termios {
        rustix::termios::tcgetattr(&self.master).unwrap()
    }
}

/// Bytes that are told apart when one is missing, of every value and with runs of 0xff.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes: Vec<u8> = (0..=255).chain([255; 7]).collect();
    bytes.resize_with(len.max(bytes.len()), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes
}

/// Reads exactly what is wanted, and says where it differs.
pub(crate) async fn expect(line: &mut Line, want: &[u8]) {
    let mut got = Vec::with_capacity(want.len());
    let reading = async {
        let mut chunk = [0; 4096];
        while got.len() < want.len() {
            let n = line.stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "a line does not end");
            got.extend_from_slice(&chunk[..n]);
        }
    };
    let timely = timeout(PATIENCE, reading).await;
    assert!(timely.is_ok(), "{} of {} bytes came", got.len(), want.len());
    let differs = got.iter().zip(want).position(|(got, want)| got != want);
    assert_eq!((differs, got.len()), (None, want.len()), "first difference, length");
}

pub(crate) async fn send(line: &mut Line, bytes: &[u8]) {
    let sent = async {
        line.stream.write_all(bytes).await.unwrap();
        line.stream.flush().await.unwrap();
    };
    timeout(PATIENCE, sent).await.unwrap();
}

/// Reads the line, so that it looks after itself, until its health is as wanted.
pub(crate) async fn until(line: &mut Line, is: impl Fn(&Health) -> bool) -> Health {
    let Line { stream, health } = line;
    let mut byte = [0];
    tokio::select! {
        health = told(health, is) => health,
        read = stream.read(&mut byte) => panic!("{read:?}: {byte:?}"),
    }
}

async fn told(health: &mut watch::Receiver<Health>, is: impl Fn(&Health) -> bool) -> Health {
    timeout(PATIENCE, health.wait_for(is)).await.unwrap().unwrap().clone()
}
