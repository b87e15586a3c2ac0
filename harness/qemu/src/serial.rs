//! The serial line of a machine, read so that its sender is not held up. QEMU hands a UART's bytes
//! over one by one, and whoever waits for them is woken by each, for which the emulated processor
//! waits. A thread that rests after each read takes many at once (`ci/bench --only console`).

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as Socket;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::UnixStream;

/// How long bytes may gather. A socket takes some 270 single bytes before its sender must wait; a
/// UART under TCG sends 400 in a millisecond.
const REST: Duration = Duration::from_micros(100);

/// How much is read at once.
const READ: usize = 16 << 10;

/// More than a socket holds of single bytes: whoever sends this much does not send byte by byte.
const BULK: usize = 4 << 10;

/// The line behind `qemu`, a socket. It ends as the socket does, after every byte before that.
pub(crate) fn line(qemu: UnixStream) -> io::Result<UnixStream> {
    let qemu = qemu.into_std()?;
    let (passes, ours) = Socket::pair()?;
    ours.set_nonblocking(true)?;
    // Neither side may wait in tokio's epoll for the socket itself: it would be woken by each byte.
    // How it ends is seen at the streams it has.
    thread::Builder::new().name("serial".into()).spawn(move || pass(qemu, passes))?;
    UnixStream::from_std(ours)
}

/// Passes bytes both ways until either side has gone.
fn pass(mut qemu: Socket, mut ours: Socket) -> io::Result<()> {
    let mut buffer = [0; READ];
    // What a guest has not taken yet must not keep it from being heard.
    let mut unsent = Vec::new();
    loop {
        let (said, asked) = wait(&qemu, &ours, !unsent.is_empty())?;
        if asked && unsent.is_empty() {
            match ours.read(&mut buffer)? {
                0 => return Ok(()),
                n => unsent.extend_from_slice(&buffer[..n]),
            }
        }
        if !unsent.is_empty() {
            match qemu.write(&unsent) {
                Ok(n) => drop(unsent.drain(..n)),
                Err(error) if is_passing(&error) => {}
                // What it said before it went is still to be read.
                Err(_) => unsent.clear(),
            }
        }
        if said {
            match qemu.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    ours.write_all(&buffer[..n])?;
                    if n < BULK {
                        thread::sleep(REST);
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Waits for something to do: whether `qemu` is to be read, and `ours`. An end is to be read, too.
fn wait(qemu: &Socket, ours: &Socket, unsent: bool) -> io::Result<(bool, bool)> {
    let (of_qemu, of_ours) = match unsent {
        true => (PollFlags::IN | PollFlags::OUT, PollFlags::empty()),
        false => (PollFlags::IN, PollFlags::IN),
    };
    let mut both = [PollFd::new(qemu, of_qemu), PollFd::new(ours, of_ours)];
    match poll(&mut both, None) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    if both[1].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(ErrorKind::BrokenPipe.into());
    }
    let ready =
        |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    Ok((ready(&both[0]), ready(&both[1])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn every_byte_comes_in_order_and_then_the_end() {
        let (qemu, ours) = UnixStream::pair().unwrap();
        let mut line = line(ours).unwrap();
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
        timeout(SOON, line.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    }

    #[tokio::test]
    async fn a_guest_that_takes_nothing_is_heard_all_the_same_and_gets_everything_later() {
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        let mut line = line(ours).unwrap();
        let told = vec![b'x'; 4 << 20];
        let tells = told.clone();
        let (mut hears, mut says) = line.split();
        let telling = async {
            says.write_all(&tells).await.unwrap();
        };
        let hearing = async {
            // More than all buffers hold has not been taken yet.
            qemu.write_all(b"ready\n").await.unwrap();
            let mut heard = [0; 6];
            timeout(SOON, hears.read_exact(&mut heard)).await.unwrap().unwrap();
            assert_eq!(&heard, b"ready\n");
            let mut taken = vec![0; told.len()];
            timeout(SOON, qemu.read_exact(&mut taken)).await.unwrap().unwrap();
            assert!(taken == told);
        };
        tokio::join!(telling, hearing);
    }

    #[tokio::test]
    async fn a_line_let_go_of_is_closed_at_once() {
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        drop(line(ours).unwrap());
        let end = timeout(SOON, qemu.read(&mut [0; 8])).await.unwrap().unwrap();
        assert_eq!(end, 0, "QEMU would write to nobody");
    }
}
