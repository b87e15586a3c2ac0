//! How a machine is lost: its process ends unasked, or its disk server fails it.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hil_core::deadline::secs;
use hil_core::trouble::Trouble;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use crate::qmp::{Qmp, QmpEvent};
use crate::spawn::ended;

/// How a machine was lost without hil having ended it.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// The process ended.
    Ended {
        status: ExitStatus,
        /// QEMU's own word for the reason, such as `guest-shutdown` or `host-signal`.
        reason: Option<String>,
        /// What it said last on stderr.
        said: String,
        binary: String,
    },
    /// The disk server failed a request; the machine stands still.
    Disk { device: String, operation: String, reason: String },
}

impl Loss {
    /// Whether the guest switched itself off, as `poweroff` does.
    pub fn by_guest(&self) -> bool {
        matches!(self, Loss::Ended { reason: Some(r), .. } if r.starts_with("guest-"))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Ended { status, reason, said, binary } => {
                write!(f, "{binary} {}", ended(*status))?;
                if let Some(reason) = reason {
                    write!(f, " ({reason})")?;
                }
                if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
            }
            Loss::Disk { device, operation, reason } => write!(
                f,
                "the disk server failed a {operation} of {device} ({reason}); \
                 the machine was stopped before its guest could notice"
            ),
        }
    }
}

impl From<Loss> for Trouble {
    fn from(loss: Loss) -> Trouble {
        Trouble::rack(loss)
    }
}

pub(crate) struct Watched {
    pub(crate) exit: watch::Receiver<Option<ExitStatus>>,
    pub(crate) events: broadcast::Receiver<QmpEvent>,
    pub(crate) qmp: Qmp,
    pub(crate) asked: Arc<AtomicBool>,
    pub(crate) binary: String,
    pub(crate) stderr: PathBuf,
    pub(crate) lost: watch::Sender<Option<Loss>>,
}

/// Publishes the loss of the machine, unless hil ended it itself.
pub(crate) async fn watch_over(mut watched: Watched) {
    let mut reason = None;
    let status = loop {
        tokio::select! {
            status = end_of(&mut watched.exit) => break status,
            event = watched.events.recv() => match event {
                Ok(event) => watched.take_in(&event, &mut reason),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                // The sender lives in `watched.qmp`.
                Err(broadcast::error::RecvError::Closed) => {}
            }
        }
    };
    // The last events may still be on their way through the socket.
    let _ = timeout(secs(1), watched.qmp.closed()).await;
    while let Ok(event) = watched.events.try_recv() {
        watched.take_in(&event, &mut reason);
    }
    if !watched.asked.load(Ordering::SeqCst) {
        let said = last_lines(&watched.stderr);
        let binary = watched.binary;
        watched.lost.send_replace(Some(Loss::Ended { status, reason, said, binary }));
    }
}

async fn end_of(exit: &mut watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    let status = exit.wait_for(Option::is_some).await;
    status.ok().and_then(|status| *status).unwrap_or_default()
}

impl Watched {
    fn take_in(&self, event: &QmpEvent, reason: &mut Option<String>) {
        let word = |key: &str| {
            let word = event.data.get(key).and_then(Value::as_str);
            word.unwrap_or("unknown").to_string()
        };
        match event.name.as_str() {
            "SHUTDOWN" => *reason = Some(word("reason")),
            "BLOCK_IO_ERROR" if event.data.get("action") == Some(&json!("stop")) => {
                let node = word("node-name");
                let loss = Loss::Disk {
                    device: node,
                    operation: word("operation"),
                    reason: word("reason"),
                };
                self.lost.send_if_modified(|lost| {
                    let first = lost.is_none();
                    lost.get_or_insert(loss);
                    first
                });
            }
            _ => {}
        }
    }
}

/// The last lines of a log, without what is only a warning if there is anything else.
pub(crate) fn last_lines(log: &Path) -> String {
    const MOST: usize = 3;
    const TAIL: u64 = 8 << 10;
    let mut bytes = Vec::new();
    let read = || -> std::io::Result<()> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(())
    };
    // A log that cannot be read says nothing; the caller has an error to tell already.
    let _ = { read }();
    let text = String::from_utf8_lossy(&bytes);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: VecDeque<&str> = lines().filter(|line| !line.contains("warning:")).collect();
    if last.is_empty() {
        last = lines().collect();
    }
    last.drain(..last.len().saturating_sub(MOST));
    last.make_contiguous().join(" / ")
}
