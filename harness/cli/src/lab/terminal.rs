//! The terminal hil runs in, handed through to a board: raw while that lasts, and as it was before
//! whatever ends it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// How the terminal was, while it is not; for a panic, which writes before anything is dropped.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal in raw mode. Dropping it restores the terminal.
pub(super) struct Raw<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    pub(super) fn enter(terminal: F) -> io::Result<Raw<F>> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Raw { terminal, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Not `Drain`: a terminal that takes no output must not hold up the end.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Whether hil has a terminal to hand through.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// From now on a panic's message comes on a terminal that is as it was.
pub(super) fn restore_at_panic() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
        usual(panic);
    }));
}

/// What is typed, as it comes; the channel closes at the input's end.
pub(super) fn keys() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, keys) = mpsc::channel(16);
    let read = move || {
        let mut input = io::stdin().lock();
        let mut buffer = [0; 1024];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if sender.blocking_send(buffer[..count].to_vec()).is_ok() => {}
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    };
    // It ends with the process: nothing wakes a read of a terminal.
    std::thread::Builder::new().name("hil-keys".into()).spawn(read)?;
    Ok(keys)
}

/// Shows what the board said.
pub(super) fn show(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A line of hil's own between the board's; in raw mode a line needs its carriage return.
pub(super) fn say(text: impl Display) {
    let _ = write!(io::stderr(), "\r\n[hil: {text}]\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use std::fs::File;

    fn terminal() -> (impl AsFd, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        (master, slave)
    }

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        let (_master, slave) = terminal();
        let is_cooked = || {
            let modes = tcgetattr(&slave).unwrap().local_modes;
            modes.contains(LocalModes::ECHO | LocalModes::ICANON)
        };
        assert!(is_cooked());
        let raw = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let _raw = Raw::enter(&slave).unwrap();
                assert!(is_cooked(), "on purpose: it is raw here");
            });
            inside.join()
        });
        assert!(raw.is_err(), "it was raw");
        assert!(is_cooked());
    }
}
