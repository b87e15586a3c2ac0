//! The thread that holds an SSH connection, so that no other ever blocks on it; and the means to
//! cut the connection off from outside. What is said over it is `link`'s business.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hil_core::trouble::{Outcome, Trouble};
use tokio::sync::oneshot;

use super::link::{Failure, Link, SshTarget, Step};

/// Cuts a connection off, from any thread, at any time.
#[derive(Default)]
pub(crate) struct Cutter {
    cut: AtomicBool,
    stream: Mutex<Option<TcpStream>>,
}

impl Cutter {
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Takes charge of a connection; one that comes too late is shut down at once.
    pub(crate) fn hold(&self, stream: &TcpStream) -> io::Result<()> {
        *self.stream() = Some(stream.try_clone()?);
        if self.is_cut() {
            self.cut();
        }
        Ok(())
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        if let Some(stream) = self.stream().take() {
            // It may be down already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn stream(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is done with an open connection, on the thread.
pub(crate) type Work = Box<dyn FnOnce(&mut Wire) + Send>;

/// A connection that is made when it is needed.
pub(crate) struct Wire {
    target: SshTarget,
    cutter: Arc<Cutter>,
    link: Option<Link>,
}

impl Wire {
    /// The open connection; connects, again and again until `until`, if there is none.
    pub(crate) fn link(&mut self, until: Instant) -> Step<&Link> {
        // A board that rebooted has closed what was open.
        let link = match self.link.take().filter(Link::is_alive) {
            Some(link) => link,
            None => self.connect(until)?,
        };
        Ok(self.link.insert(link))
    }

    pub(crate) fn hang_up(&mut self) {
        self.link = None;
    }

    fn connect(&self, until: Instant) -> Step<Link> {
        let mut pause = Duration::from_millis(50);
        for attempt in 1_u32.. {
            // An emulator accepts for a guest that does not listen yet: short attempts at first,
            // longer ones for a slow board.
            let patience = Duration::from_secs(4) * 2_u32.pow((attempt - 1).min(5));
            let failure = match Link::open(
                &self.target,
                &self.cutter,
                until.min(Instant::now() + patience),
            ) {
                Ok(link) => return Ok(link),
                Err(failure) => failure,
            };
            let Failure::Line(why) = failure else { return Err(failure) };
            let left = until.saturating_duration_since(Instant::now());
            if left <= pause || self.cutter.is_cut() {
                let times = if attempt == 1 { "once".into() } else { format!("{attempt} times") };
                return Err(Failure::Line(format!("no SSH connection (tried {times}): {why}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Err(Failure::Line("no SSH connection".into()))
    }
}

/// The thread's handle. Dropping it cuts the connection off; the thread then ends by itself.
pub(crate) struct Worker {
    jobs: mpsc::Sender<Work>,
    cutter: Arc<Cutter>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cutter.cut();
    }
}

impl Worker {
    pub(crate) fn start(target: SshTarget) -> Outcome<Worker> {
        let (jobs, queue) = mpsc::channel::<Work>();
        let cutter = Arc::new(Cutter::default());
        let mut wire = Wire { target, cutter: cutter.clone(), link: None };
        let run = move || {
            for work in queue {
                work(&mut wire);
            }
        };
        let thread = std::thread::Builder::new().name("hil-ssh".into()).stack_size(256 << 10);
        thread.spawn(run).map_err(|why| Trouble::rack(format!("start a thread for SSH: {why}")))?;
        Ok(Worker { jobs, cutter })
    }

    /// Gives the thread something to do.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Wire) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, receiver) = oneshot::channel();
        let work: Work = Box::new(move |wire| {
            // Whoever asked may have gone.
            let _ = answer.send(work(wire));
        });
        // A thread that has ended drops the answer's sender, which the receiver notices.
        let _ = self.jobs.send(work);
        receiver
    }
}
