//! Saving a running machine, and starting others from what was saved. Disks are not in it: whoever
//! serves them freezes what the guest had written by then.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use hil_core::deadline::secs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::error::{QemuError, QmpError};
use crate::live::{ANSWER, Qemu};

/// How a machine's RAM is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaveKind {
    /// It is a file already ([`Begin::Template`](crate::Begin::Template)), and stays where it is:
    /// saving and loading take milliseconds, whatever its size.
    Template,
    /// Each page at its own place in the saved state's file: for machines whose RAM cannot be a
    /// file. QEMU 9.0 has it.
    MappedRam,
}

impl SaveKind {
    /// The migration capability that makes it so (QEMU, `docs/devel/migration/`).
    fn capability(self) -> &'static str {
        match self {
            SaveKind::Template => "x-ignore-shared",
            SaveKind::MappedRam => "mapped-ram",
        }
    }
}

impl fmt::Display for SaveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SaveKind::Template => "VM template",
            SaveKind::MappedRam => "mapped RAM",
        })
    }
}

/// A gigabyte of mapped RAM on a slow disk.
const WITHIN: Duration = secs(120);

impl Qemu {
    /// Whether this emulator can save in that way: asked of it, not of its version.
    pub async fn can_save(&self, kind: SaveKind) -> Result<bool, QemuError> {
        let known = self.qmp().execute("query-migrate-capabilities", json!({}), ANSWER).await?;
        let named = |one: &Value| one.get("capability") == Some(&json!(kind.capability()));
        Ok(known.as_array().is_some_and(|known| known.iter().any(named)))
    }

    /// Stops the guest and writes the machine's state to `file`. The machine stands still for good
    /// then: a template's RAM must not change any more.
    pub async fn save(&self, kind: SaveKind, file: &Path) -> Result<(), QemuError> {
        self.qmp().execute("stop", json!({}), ANSWER).await?;
        self.migrate("migrate", kind, file).await
    }

    /// Fills a machine that begins as [`Begin::Saved`](crate::Begin::Saved) from `file`. Its guest
    /// runs from [`Qemu::resume`] on.
    pub async fn load(&self, kind: SaveKind, file: &Path) -> Result<(), QemuError> {
        self.migrate("migrate-incoming", kind, file).await
    }

    async fn migrate(&self, verb: &str, kind: SaveKind, file: &Path) -> Result<(), QemuError> {
        // `events` makes QEMU say when it is over.
        let on = |name: &str| json!({ "capability": name, "state": true });
        let capabilities = json!({ "capabilities": [on("events"), on(kind.capability())] });
        self.qmp().execute("migrate-set-capabilities", capabilities, ANSWER).await?;
        let mut events = self.qmp().events();
        let address = json!({ "transport": "file", "filename": file, "offset": 0 });
        let channels = json!({ "channels": [{ "channel-type": "main", "addr": address }] });
        self.qmp().execute(verb, channels, ANSWER).await?;
        let over = async {
            loop {
                match events.recv().await {
                    Ok(event) if event.name == "MIGRATION" => {
                        match event.data.get("status").and_then(Value::as_str) {
                            Some("completed") => return Ok(()),
                            Some("failed" | "cancelled") => return Err(self.why_not(verb).await),
                            _ => {}
                        }
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    // The sender lives in the connection; its end is awaited below.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let late = || QmpError::Deadline { command: verb.into(), within: WITHIN };
        tokio::select! {
            over = timeout(WITHIN, over) => over.unwrap_or_else(|_| Err(late().into())),
            why = self.qmp().closed() => Err(QmpError::Closed(why).into()),
        }
    }

    async fn why_not(&self, verb: &str) -> QemuError {
        let told = self.qmp().execute("query-migrate", json!({}), ANSWER).await;
        let why = told.ok().and_then(|told| Some(told.get("error-desc")?.as_str()?.to_string()));
        let said = self.said();
        let why = why.unwrap_or(said);
        let verb = verb.to_string();
        QmpError::Refused { command: verb, class: "failed".into(), description: why }.into()
    }
}
