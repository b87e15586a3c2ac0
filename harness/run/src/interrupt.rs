//! The wish to stop, as everyone who waits can see it. Who sets it (Ctrl-C, SIGTERM) is the CLI's.

use hil_core::trouble::{Outcome, Trouble};
use tokio::sync::watch;

/// Sets the wish.
#[derive(Clone, Debug)]
pub struct Interrupter(watch::Sender<bool>);

/// Watches for the wish.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

pub fn pair() -> (Interrupter, Interrupt) {
    let (sender, receiver) = watch::channel(false);
    (Interrupter(sender), Interrupt(receiver))
}

impl Interrupter {
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

impl Interrupt {
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the stop is asked for; never, if nobody can ask any more.
    pub async fn asked(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// `work`, unless the user asks to stop first.
pub(crate) async fn or_interrupted<T>(
    interrupt: &mut Interrupt,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    tokio::select! {
        biased;
        () = interrupt.asked() => Err(Trouble::rack("interrupted by the user")),
        outcome = work => outcome,
    }
}
