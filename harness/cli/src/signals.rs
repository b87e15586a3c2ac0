//! Ctrl-C and SIGTERM: the first asks the run to end well, the second ends it at once.

use std::io::Write;

use hil_core::verdict::exit;
use hil_run::interrupt::Interrupter;
use tokio::signal::unix::{SignalKind, signal};

/// Listens until the program ends.
pub(crate) async fn listen(interrupter: Interrupter) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else {
        return;
    };
    for round in 1.. {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
        if round > 1 {
            say("stopped at once; the keeper puts the boards into their safe state");
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        say("stopping: the running case is ended and the boards are switched off; \
             again to stop at once");
        interrupter.ask();
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "\nhil: {text}");
}
