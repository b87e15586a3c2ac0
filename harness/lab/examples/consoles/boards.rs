//! Boards that speak at a UART's pace, all on one thread, each a little after the one before.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sha2::{Digest, Sha256};

use crate::Outcome;
use crate::content::Content;

/// How often a board hands over what its UART has: what an FTDI adapter does by default.
const EVERY: Duration = Duration::from_millis(16);

/// Within that time the boards take turns.
const TURNS: u32 = 16;

struct Board {
    master: OwnedFd,
    written: u64,
}

/// A turn that is later than this is not made up for: no UART sends a burst because its host was
/// busy elsewhere. The whole takes longer then, which is told.
const HOPELESS: Duration = Duration::from_millis(64);

/// How well the pace was kept.
#[derive(Default)]
struct Pace {
    /// How late each turn was.
    late: Vec<Duration>,
    /// Writes that the tty did not take whole: its reader is more than a second behind.
    short: u64,
}

pub(crate) fn play(count: &str, baud: &str, seconds: &str) -> Outcome {
    let (count, baud): (usize, u64) = (count.parse()?, baud.parse()?);
    let seconds: u64 = seconds.parse()?;
    let mut boards = (0..count).map(|_| plug_in()).collect::<Outcome<Vec<Board>>>()?;
    for board in &boards {
        println!("port {}", ptsname(&board.master, Vec::new())?.to_str()?);
    }
    println!("ready");
    let content = Content::new();
    if crate::heard()? != "go" {
        return Err("`go` was expected".into());
    }
    // A byte of 8N1 is ten bits.
    let each = baud / 10 * seconds;
    let begun = Instant::now();
    let pace = speak(&mut boards, &content, baud / 10, each)?;
    tell(&boards, &content, &pace, begun.elapsed(), each)?;
    // The ports must not vanish before they have been read.
    crate::heard()?;
    Ok(())
}

fn plug_in() -> Outcome<Board> {
    let options = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let most = std::fs::read_to_string("/proc/sys/kernel/pty/max").unwrap_or_default();
    let master = openpt(options).map_err(|why| {
        format!("no pty: {why}; the kernel allows {} (kernel.pty.max)", most.trim_end())
    })?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let mut mode = tcgetattr(&master)?;
    mode.make_raw();
    tcsetattr(&master, OptionalActions::Now, &mode)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok(Board { master, written: 0 })
}

/// Writes what is due, turn by turn, until each board has said its `each` bytes.
fn speak(boards: &mut [Board], content: &Content, rate: u64, each: u64) -> Outcome<Pace> {
    let mut begun = Instant::now();
    let turn_time = EVERY / TURNS;
    let mut pace = Pace::default();
    for turn in 0_u32.. {
        let due = begun + turn_time * turn;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let late = due.elapsed();
        pace.late.push(late);
        if late > HOPELESS {
            begun += late;
        }
        let mut said = 0;
        for (nth, board) in boards.iter_mut().enumerate() {
            if nth % TURNS as usize == (turn % TURNS) as usize {
                let due = (turn_time * turn).as_micros() as u64 * rate / 1_000_000;
                board.write(content, nth, due.min(each), &mut pace)?;
            }
            said += u64::from(board.written >= each);
        }
        if said == boards.len() as u64 {
            break;
        }
    }
    Ok(pace)
}

impl Board {
    fn write(&mut self, content: &Content, nth: usize, due: u64, pace: &mut Pace) -> Outcome {
        while self.written < due {
            let bytes = content.at(nth, self.written, (due - self.written) as usize);
            match rustix::io::write(&self.master, bytes) {
                Ok(n) => {
                    self.written += n as u64;
                    if n < bytes.len() {
                        pace.short += 1;
                        return Ok(());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {
                    pace.short += 1;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Tells the pace, and of each board what it has said.
fn tell(boards: &[Board], content: &Content, pace: &Pace, took: Duration, each: u64) -> Outcome {
    let mut late = pace.late.clone();
    late.sort();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let mut out = std::io::stdout().lock();
    writeln!(out, "pace {:.3} {} {:.3} {:.3}", took.as_secs_f64(), pace.short, at(0.99), at(1.0))?;
    for (nth, board) in boards.iter().enumerate() {
        let (mut sum, mut offset) = (Sha256::new(), 0);
        while offset < board.written {
            let bytes = content.at(nth, offset, (board.written - offset) as usize);
            sum.update(bytes);
            offset += bytes.len() as u64;
        }
        let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "board {nth} {sum}")?;
    }
    writeln!(out, "said {each}")?;
    Ok(out.flush()?)
}
