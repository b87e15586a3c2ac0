//! QEMU's monitor protocol: commands with a deadline each, and the stream of events.
//!
//! Knows nothing of machines. A connection that says something senseless is dead from then on,
//! and everybody who waits is told why; nothing here waits for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::error::QmpError;

/// The longest answer, `query-qmp-schema`, has about 200 KiB.
const LONGEST_LINE: u64 = 8 << 20;

/// Something QEMU tells without being asked.
#[derive(Clone, Debug, PartialEq)]
pub struct QmpEvent {
    /// `SHUTDOWN`, `RESET`, `BLOCK_IO_ERROR`, …
    pub name: String,
    pub data: Value,
}

/// A connection to a monitor. Clones share it; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Qmp {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    lines: mpsc::UnboundedSender<Vec<u8>>,
    /// `10.0.2`, from the greeting.
    version: String,
    reader: AbortHandle,
    writer: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    events: broadcast::Sender<QmpEvent>,
    /// Why the connection is gone.
    dead: watch::Sender<Option<String>>,
}

/// What was returned, or class and description of a refusal.
type Answer = Result<Value, (String, String)>;

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Qmp {
    /// Reads the greeting and enters command mode. Must be called on a tokio runtime.
    pub async fn connect(stream: UnixStream, within: Duration) -> Result<Qmp, QmpError> {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let greeting = timeout(within, next_message(&mut read)).await;
        let late = |_| QmpError::Deadline { command: "greeting".into(), within };
        let greeting = greeting.map_err(late)?.map_err(QmpError::Closed)?;
        let version = version(&greeting).ok_or_else(|| {
            QmpError::Closed(format!("not a greeting: {}", excerpt(&greeting.to_string())))
        })?;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            events: broadcast::channel(256).0,
            dead: watch::channel(None).0,
        });
        let (lines, queue) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(read, shared.clone())).abort_handle();
        let writer = tokio::spawn(write_all(write, queue, shared.clone())).abort_handle();
        let qmp = Qmp { inner: Arc::new(Inner { shared, lines, version, reader, writer }) };
        qmp.execute("qmp_capabilities", json!({}), within).await?;
        Ok(qmp)
    }

    /// QEMU's version: `10.0.2`.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Runs one command and returns its answer. Cancel-safe: an answer nobody awaits is dropped.
    pub async fn execute(
        &self,
        command: &str,
        arguments: Value,
        within: Duration,
    ) -> Result<Value, QmpError> {
        let (id, answer) = self.inner.shared.expect_answer()?;
        let _forget = Forget { shared: &self.inner.shared, id };
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        // A failed send means that the writer is gone; then `answer` fails too, and knows why.
        let _ = self.inner.lines.send(line.into_bytes());
        let command = command.to_string();
        match timeout(within, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err((class, description)))) => {
                Err(QmpError::Refused { command, class, description })
            }
            Ok(Err(_)) => Err(QmpError::Closed(self.inner.shared.why())),
            Err(_) => Err(QmpError::Deadline { command, within }),
        }
    }

    /// The events from now on. A receiver that sleeps loses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<QmpEvent> {
        self.inner.shared.events.subscribe()
    }

    /// Waits until the connection is gone and says why.
    pub async fn closed(&self) -> String {
        let mut dead = self.inner.shared.dead.subscribe();
        let why = dead.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Shared {
    fn expect_answer(&self) -> Result<(u64, oneshot::Receiver<Answer>), QmpError> {
        let mut waiting = self.waiting();
        // Asked under the lock that `die` takes, so no answer is awaited from the dead.
        if let Some(why) = self.dead.borrow().clone() {
            return Err(QmpError::Closed(why));
        }
        waiting.next_id += 1;
        let id = waiting.next_id;
        let (sender, answer) = oneshot::channel();
        waiting.answers.insert(id, sender);
        Ok((id, answer))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self) -> String {
        self.dead.borrow().clone().unwrap_or_else(|| "it was closed".into())
    }

    fn die(&self, why: String) {
        let mut waiting = self.waiting();
        self.dead.send_if_modified(|dead| {
            let first = dead.is_none();
            dead.get_or_insert(why);
            first
        });
        waiting.answers.clear();
    }

    /// Hands a message to whom it concerns; `Err` if it makes no sense.
    fn take_in(&self, message: &Value) -> Result<(), String> {
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            let data = message.get("data").cloned().unwrap_or_default();
            let _ = self.events.send(QmpEvent { name: name.into(), data });
            return Ok(());
        }
        let answer = match (message.get("return"), message.get("error")) {
            (Some(value), None) => Ok(value.clone()),
            (None, Some(error)) => Err((text(error, "class"), text(error, "desc"))),
            _ => return Err(format!("not a QMP message: {}", excerpt(&message.to_string()))),
        };
        match message.get("id").and_then(Value::as_u64) {
            Some(id) => {
                // An answer that came after its deadline has nobody left to take it.
                if let Some(sender) = self.waiting().answers.remove(&id) {
                    let _ = sender.send(answer);
                }
                Ok(())
            }
            None => Err(format!("an answer without id: {}", excerpt(&message.to_string()))),
        }
    }
}

/// Takes a question off the list when nobody waits for its answer any more.
struct Forget<'s> {
    shared: &'s Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting().answers.remove(&self.id);
    }
}

async fn read_all(mut read: BufReader<OwnedReadHalf>, shared: Arc<Shared>) {
    let why = loop {
        let taken = match next_message(&mut read).await {
            Ok(message) => shared.take_in(&message),
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            break why;
        }
    };
    shared.die(why);
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(line) = queue.recv().await {
        if let Err(why) = write.write_all(&line).await {
            return shared.die(why.to_string());
        }
    }
}

async fn next_message(read: &mut BufReader<OwnedReadHalf>) -> Result<Value, String> {
    let mut line = Vec::new();
    let got = read.take(LONGEST_LINE).read_until(b'\n', &mut line).await;
    match got {
        Err(why) => Err(why.to_string()),
        Ok(0) => Err("QEMU closed it".into()),
        Ok(_) => serde_json::from_slice(&line).map_err(|why| {
            format!("not JSON ({why}): {}", excerpt(&String::from_utf8_lossy(&line)))
        }),
    }
}

fn version(greeting: &Value) -> Option<String> {
    let version = greeting.pointer("/QMP/version/qemu")?;
    let part = |name| version.get(name).and_then(Value::as_u64);
    Some(format!("{}.{}.{}", part("major")?, part("minor")?, part("micro")?))
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

fn excerpt(text: &str) -> String {
    text.trim_end().chars().take(120).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
#[path = "qmp_tests.rs"]
mod tests;
