//! hil's end of the line to the lab's keeper.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use hil_core::trouble::Trouble;
use tokio::sync::{oneshot, watch};

use crate::error::DriverError;
use crate::keeper::{Answer, Ask, READY, Reply, Request};

/// Starting a process takes milliseconds; this is for hosts under heavy load.
const START: Duration = Duration::from_secs(20);

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// The keeper of one hil. Dropping it makes the keeper settle what it still holds, and waits.
pub struct KeeperLink {
    process: Child,
    requests: Mutex<Option<ChildStdin>>,
    pending: Pending,
    next: AtomicU64,
    gone: watch::Receiver<Option<Trouble>>,
}

impl KeeperLink {
    /// Starts `command`, which must call [`crate::keeper::serve`] after it has printed [`READY`].
    pub fn start(mut command: Command) -> Result<KeeperLink, DriverError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |why: String| DriverError::new(format!("start the lab's keeper: {why}"));
        let mut process = command.spawn().map_err(|why| failed(why.to_string()))?;
        let requests = process.stdin.take();
        let output = process.stdout.take().ok_or_else(|| failed("no pipe".into()))?;
        let pending = Pending::default();
        let (told, gone) = watch::channel(None);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let waiting = pending.clone();
        let listen = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line == READY {
                    let _ = ready.try_send(());
                } else if let Ok(Reply { id, answer }) = serde_json::from_str(&line)
                    && let Some(asker) = locked(&waiting).remove(&id)
                {
                    // Who no longer waits needs no answer.
                    let _ = asker.send(answer);
                }
            }
            let why = "the lab's keeper, which makes boards safe when hil cannot, was killed";
            told.send_replace(Some(Trouble::rack(why)));
            locked(&waiting).clear();
        };
        let thread = thread::Builder::new().name("hil-keeper".into()).spawn(listen);
        thread.map_err(|why| failed(why.to_string()))?;
        let link = KeeperLink {
            process,
            requests: Mutex::new(requests),
            pending,
            next: AtomicU64::new(1),
            gone,
        };
        match is_ready.recv_timeout(START) {
            Ok(()) => Ok(link),
            Err(why) => Err(failed(format!("it did not begin: {why}"))),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Holds `Some` once the keeper is gone: nothing would make the boards safe any more.
    pub fn gone(&self) -> watch::Receiver<Option<Trouble>> {
        self.gone.clone()
    }

    pub async fn ask(&self, ask: Ask, patience: Duration) -> Result<Answer, DriverError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        locked(&self.pending).insert(id, asker);
        self.send(&Request { id, ask })?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(DriverError::new("ask the lab's keeper: it was killed")),
            Err(_) => {
                locked(&self.pending).remove(&id);
                let seconds = patience.as_secs();
                Err(DriverError::new(format!("ask the lab's keeper: no answer in {seconds} s")))
            }
        }
    }

    fn send(&self, request: &Request) -> Result<(), DriverError> {
        let failed = |why: String| DriverError::new(format!("ask the lab's keeper: {why}"));
        let line = serde_json::to_string(request).map_err(|why| failed(why.to_string()))?;
        let mut requests = locked(&self.requests);
        let pipe = requests.as_mut().ok_or_else(|| failed("it has ended".into()))?;
        writeln!(pipe, "{line}").map_err(|why| failed(why.to_string()))
    }
}

impl Drop for KeeperLink {
    fn drop(&mut self) {
        drop(locked(&self.requests).take());
        // It ends after its last board is safe, which its own patience bounds.
        let _ = self.process.wait();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
