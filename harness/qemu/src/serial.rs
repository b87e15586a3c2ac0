//! The serial line of a machine, read so that its sender is not held up. QEMU hands a UART's bytes
//! over one by one, and whoever waits for them is woken by each, which the emulator pays for. A
//! thread that rests after each read takes many at once: 1 MiB comes 6 % sooner that way than to a
//! reader that is always there (`ci/bench --only console`).

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as Socket;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::UnixStream;

/// How long bytes may gather. A socket takes some 270 single bytes before its sender must wait, and
/// a UART under TCG sends 300 in a millisecond.
const REST: Duration = Duration::from_micros(100);

/// How much is read at once; more than a socket holds of single bytes.
const READ: usize = 4 << 10;

/// A machine's serial line, for each direction a stream: `tokio::io::join` makes them one.
#[derive(Debug)]
pub struct Serial {
    /// What the machine says; it ends when the machine does, after every byte before that.
    pub reader: UnixStream,
    /// What the machine is told.
    pub writer: UnixStream,
}

impl Serial {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Serial> {
        let socket = socket.into_std()?;
        let (passes, reader) = Socket::pair()?;
        reader.set_nonblocking(true)?;
        let from = socket.try_clone()?;
        // How it ends is told by the streams it has: the machine's, or the reader's.
        thread::Builder::new().name("serial".into()).spawn(move || pass(from, passes))?;
        let (reader, writer) = (UnixStream::from_std(reader)?, UnixStream::from_std(socket)?);
        Ok(Serial { reader, writer })
    }
}

/// Passes bytes on until either side has gone.
fn pass(mut from: Socket, mut to: Socket) -> io::Result<()> {
    let mut buffer = [0; READ];
    while wait(&from, &to)? {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        thread::sleep(REST);
    }
    Ok(())
}

/// Waits until `from` has bytes or has ended. False when nobody reads `to` any more.
fn wait(from: &Socket, to: &Socket) -> io::Result<bool> {
    let mut both = [PollFd::new(from, PollFlags::IN), PollFd::new(to, PollFlags::empty())];
    match poll(&mut both, None) {
        Ok(_) => Ok(both[1].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn every_byte_comes_in_order_and_then_the_end() {
        let (qemu, ours) = UnixStream::pair().unwrap();
        let mut serial = Serial::new(ours).unwrap();
        let qemu = qemu.into_std().unwrap();
        qemu.set_nonblocking(false).unwrap();
        let said: Vec<u8> = (0..50_000u32).map(|nth| (nth % 251) as u8).collect();
        let says = said.clone();
        thread::spawn(move || {
            for byte in says {
                (&qemu).write_all(&[byte]).unwrap();
            }
        });
        let mut heard = Vec::new();
        timeout(SOON, serial.reader.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    }

    #[tokio::test]
    async fn what_is_written_reaches_the_machine() {
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        let mut serial = Serial::new(ours).unwrap();
        serial.writer.write_all(b"reboot\n").await.unwrap();
        let mut heard = [0; 7];
        timeout(SOON, qemu.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"reboot\n");
    }

    #[tokio::test]
    async fn a_line_let_go_of_is_closed_at_once() {
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        drop(Serial::new(ours).unwrap());
        let end = timeout(SOON, qemu.read(&mut [0; 8])).await.unwrap().unwrap();
        assert_eq!(end, 0, "QEMU would write to nobody");
    }
}
