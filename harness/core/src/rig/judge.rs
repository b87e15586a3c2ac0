//! Whose fault a trouble is: the product's, the rack's, or a loss of the board that explains all.

use std::time::Duration;

use super::Rig;
use crate::deadline::secs;
use crate::parts::{Alarm, Sighting};
use crate::stage::Stage;
use crate::trouble::{Outcome, Trouble};

impl Rig {
    /// Settles whose fault a trouble is, with all evidence there is.
    ///
    /// A board that is lost at the same moment explains everything else. A transport error is
    /// settled over the other channel (DESIGN, "Silence"): with a healthy console and a running
    /// SSH server the rack is broken; otherwise the product is.
    pub async fn judge(&mut self, trouble: Trouble) -> Trouble {
        if matches!(trouble, Trouble::Skip(_)) {
            return trouble;
        }
        if let Some(loss) = self.loss_within(LOSS_GRACE).await {
            return loss;
        }
        // A line with gaps makes a sound product look mute, or its answers wrong.
        if !matches!(trouble, Trouble::Rack(_))
            && let Some(gaps) = self.line_with_gaps().await
        {
            return Trouble::rack(format!("{trouble}; yet the console's line lost bytes: {gaps}"));
        }
        let Trouble::Transport(what) = trouble else { return trouble };
        let settled = match self.ssh_alive().await {
            Ok(Alive::Yes) => Trouble::rack(format!(
                "{what}; yet on the console the board is healthy and its SSH server runs"
            )),
            Ok(Alive::No(why)) => Trouble::product(format!("{what}; on the console: {why}")),
            Ok(Alive::Unknown) => Trouble::rack(format!("{what}; no console login to ask over")),
            Err(Trouble::Rack(why)) => Trouble::rack(format!("{what}; {why}")),
            Err(_) if self.is_mute() => Trouble::rack(format!("{what}; {MUTE}")),
            Err(error) => {
                Trouble::product(format!("{what}; and the console does not answer either: {error}"))
            }
        };
        // The question itself took time in which the loss may have become known.
        self.loss_within(Duration::ZERO).await.unwrap_or(settled)
    }

    async fn loss_within(&mut self, grace: Duration) -> Option<Trouble> {
        let mut loss = self.parts.power.loss();
        let known = loss.borrow().clone();
        match known {
            Some(loss) => Some(loss),
            None if grace.is_zero() => None,
            None => tokio::time::timeout(grace, lost(&mut loss)).await.ok(),
        }
    }

    /// Asks over the console whether SSH could work at all.
    async fn ssh_alive(&mut self) -> Outcome<Alive> {
        let deadline = self.within(secs(10));
        let Some(shell) = self.parts.login.as_mut() else { return Ok(Alive::Unknown) };
        shell.open(deadline).await?;
        let output = shell.exec(SSHD_ALIVE, deadline).await?;
        Ok(if output.ok() { Alive::Yes } else { Alive::No(output.text()) })
    }

    /// Whether nothing tells a dead board from a bad cable: not one byte came since power-on.
    /// An emulator's console cannot come loose (DESIGN, "Silence").
    fn is_mute(&self) -> bool {
        !self.parts.board.is_emulated() && self.parts.console.position() == self.powered_position
    }

    pub(super) fn missed(&self, stage: Stage, why: String) -> Trouble {
        if self.is_mute() {
            return Trouble::rack(format!("{stage} was not reached: {why}; {MUTE}"));
        }
        let last = self.boot_times.keys().next_back();
        let got = last.map_or("no stage was seen".into(), |s| format!("the last stage seen: {s}"));
        let tail = self.parts.console.tail(3).join(" / ");
        let heard = if tail.is_empty() {
            "the console stayed silent".to_string()
        } else {
            format!("the console's last words: {tail}")
        };
        Trouble::unmet(format!("{stage} was not reached: {why}; {got}; {heard}"))
    }

    /// The trouble of a board that should be ready and gives no shell.
    pub(super) fn no_login(&self, shell: &str, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Unmet(why) if self.is_mute() => self.missed(Stage::Ready, why),
            other if self.has_mark(Stage::Ready) => {
                other.while_doing(format_args!("ready mark seen, but {shell} login"))
            }
            other => other.while_doing(format_args!("{shell} login")),
        }
    }
}

/// What the console says of SSH.
enum Alive {
    Yes,
    No(String),
    Unknown,
}

/// What to do about a board that never said anything.
const MUTE: &str = "the console stayed silent since power-on: no byte came; check that the board \
     gets power, and the serial line's wiring, port and baud rate";

/// An emulator's death shows first as a broken connection: its own report may take this long.
const LOSS_GRACE: Duration = Duration::from_millis(500);

/// Succeeds when an SSH server runs and an address is set; otherwise says which is missing.
const SSHD_ALIVE: &str = "pidof sshd dropbear >/dev/null || { echo 'no SSH server runs'; exit 1; }; \
     ip -4 addr show scope global | grep -q inet || { echo 'no network address'; exit 1; }";

/// Resolves when the rack has lost the board.
pub async fn lost(loss: &mut tokio::sync::watch::Receiver<Option<Trouble>>) -> Trouble {
    let found = loss.wait_for(Option::is_some).await.map(|t| t.clone());
    match found {
        Ok(Some(trouble)) => trouble,
        // The sender is gone with its rig: nothing more will be lost.
        _ => std::future::pending().await,
    }
}

/// The trouble that a fatal alarm is.
pub fn fatal(alarm: Alarm, sighting: &Sighting) -> Trouble {
    Trouble::product(format!("{}: {}", alarm.name(), sighting.line.trim()))
}
