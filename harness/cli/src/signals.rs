//! Ctrl-C and SIGTERM: the first asks the run to end well, the second ends it at once.

use std::io::Write;
use std::time::{Duration, Instant};

use hil_core::verdict::exit;
use hil_run::interrupt::Interrupter;
use tokio::signal::unix::{SignalKind, signal};

/// Signals this close to the first say the same.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Listens until the program ends.
pub(crate) async fn listen(interrupter: Interrupter) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else {
        return;
    };
    let mut asked: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
        match asked {
            None => {
                say("stopping: the running case is ended and the boards are switched off; \
                     again to stop at once");
                asked = Some(Instant::now());
                interrupter.ask();
            }
            // `timeout` and CI runners signal a process and then its whole group: one wish.
            Some(first) if first.elapsed() < SAME_WISH => {}
            Some(_) => {
                say("stopped at once; the keeper puts the boards into their safe state, and \
                     `hil report DIR` makes the reports of what was done");
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "\nhil: {text}");
}
