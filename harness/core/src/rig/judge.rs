//! Whose fault a trouble is: the product's, the rack's, or a loss of the board that explains all.

use std::time::Duration;

use super::{Rig, line};
use crate::address::{ADDRESSES, own_address};
use crate::deadline::{Deadline, secs};
use crate::parts::{Alarm, Seen, Sighting};
use crate::stage::Stage;
use crate::trouble::{Outcome, Trouble};

impl Rig {
    /// Settles whose fault a trouble is, with all evidence there is.
    ///
    /// A board that is lost at the same moment explains everything else. A transport error is
    /// settled over the other channel (DESIGN, "Silence"): with a healthy console and an SSH server
    /// that has run all the time the rack is broken; otherwise the product is.
    pub async fn judge(&mut self, trouble: Trouble) -> Trouble {
        if matches!(trouble, Trouble::Skip(_)) {
            return trouble;
        }
        let trouble = match self.loss_within(LOSS_GRACE).await {
            Some(loss @ Trouble::Rack(_)) => return loss,
            // A bootloader that does not obey; a line with gaps may still be why.
            Some(other) => other,
            None => trouble,
        };
        // A line with gaps makes a sound product look mute, or its answers wrong. No panic comes of it.
        if !matches!(trouble, Trouble::Rack(_))
            && self.kernel_alarm(|alarm| alarm.is_fatal()).await.is_none()
            && let Some(gaps) = self.line_with_gaps().await
        {
            return Trouble::rack(format!("{trouble}; yet the console's line lost bytes: {gaps}"));
        }
        let Trouble::Transport(what) = trouble else { return trouble };
        let begun = self.begin();
        let asked = self.ssh_alive().await;
        let settled = match (asked, self.kernel_alarm(died).await) {
            (Err(Trouble::Rack(why)), _) => Trouble::rack(format!("{what}; {why}")),
            // A network driver that died leaves a server that listens.
            (_, Some(seen)) => {
                Trouble::product(format!("{what}; on the console: {}", seen.line.trim()))
            }
            (Ok(Alive::Yes), None) => Trouble::rack(format!(
                "{what}; yet on the console the board is healthy and its SSH server runs"
            )),
            (Ok(Alive::No(why)), None) => {
                Trouble::product(format!("{what}; on the console: {why}"))
            }
            (Ok(Alive::Unknown), None) => {
                Trouble::rack(format!("{what}; no console login to ask over"))
            }
            (Err(error), None) => match self.unheard() {
                Some(why) => Trouble::rack(format!("{what}; {why}")),
                None => {
                    let why = format!("{what}; and the console does not answer either: {error}");
                    match self.unless_starved(Trouble::unmet(why), &begun).await {
                        Trouble::Unmet(why) => Trouble::product(why),
                        starved => starved,
                    }
                }
            },
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
        let (port, noted) = (self.ssh_port(), self.ssh_server.clone());
        let Some(shell) = self.parts.login.as_mut() else { return Ok(Alive::Unknown) };
        shell.open(deadline).await?;
        let now = listeners(&shell.exec(SOCKETS, deadline).await?.text(), port);
        let addresses = shell.exec(ADDRESSES, deadline).await?.text();
        let known = match noted {
            Some(noted) => noted,
            // SSH never came in this boot: one that dies again and again has another socket soon.
            None => {
                tokio::time::sleep(RESTARTS).await;
                listeners(&shell.exec(SOCKETS, deadline).await?.text(), port)
            }
        };
        Ok(match same_server(&known, &now) {
            Alive::Yes if own_address(&addresses).is_none() => {
                Alive::No("no network address".into())
            }
            found => found,
        })
    }

    /// Notes which SSH server served when the board was ready.
    pub(super) async fn note_ssh_server(&mut self, deadline: Deadline) {
        let port = self.ssh_port();
        let Some(shell) = self.shell().filter(|shell| shell.name() == "ssh") else { return };
        // A connection that breaks now is told by whoever uses it next.
        if let Ok(found) = shell.exec(SOCKETS, deadline).await {
            let found = listeners(&found.text(), port);
            self.ssh_server = Some(found).filter(|found| !found.is_empty());
        }
    }

    /// The first alarm `of_a_kind` of this boot's kernel since the last case ended, other than as this
    /// one wants it.
    pub(super) async fn kernel_alarm(&mut self, of_a_kind: fn(Alarm) -> bool) -> Option<Sighting> {
        let console = self.parts.console.clone();
        let mut cursor = self.boot_cursor.max(self.case_cursor);
        while cursor < console.sightings() {
            let sighting = console.sighting(&mut cursor).await;
            let meant = matches!(sighting.what, Seen::Alarm(alarm) if of_a_kind(alarm));
            if meant && !self.forgiven.covers(cursor) {
                return Some(sighting);
            }
        }
        None
    }

    /// As the board itself knows it.
    fn ssh_port(&self) -> u16 {
        self.parts.image.ssh.as_ref().map_or(22, |ssh| ssh.port)
    }

    /// Why nothing tells a dead board from a bad line: not one byte of text came since power-on. An
    /// emulator's console cannot come loose (DESIGN, "Silence").
    fn unheard(&self) -> Option<&'static str> {
        let (console, powered) = (&self.parts.console, self.powered_position);
        if self.parts.board.is_emulated() {
            return None;
        }
        if console.position() == powered {
            return Some(MUTE);
        }
        // What was read once is no matter of the line: who spoke changed its rate. A stage without a
        // mark was told by SSH.
        if self.boot_times.keys().any(|stage| self.has_mark(*stage)) {
            return None;
        }
        // The last of it: a boot ROM may speak at another rate than everything after it.
        let from = powered.max(console.position().saturating_sub(JUDGED));
        let heard = console.read(from, JUDGED as usize).unwrap_or_default();
        line::is_noise(&heard).then_some(NOISE)
    }

    pub(super) fn missed(&self, stage: Stage, why: String) -> Trouble {
        if let Some(unheard) = self.unheard() {
            return Trouble::rack(format!("{stage} was not reached: {why}; {unheard}"));
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
            Trouble::Unmet(why) if self.unheard().is_some() => self.missed(Stage::Ready, why),
            other if self.has_mark(Stage::Ready) => {
                other.while_doing(format_args!("ready mark seen, but {shell} login"))
            }
            other => other.while_doing(format_args!("{shell} login")),
        }
    }
}

/// After such an alarm a kernel may do nothing more.
pub(super) fn died(alarm: Alarm) -> bool {
    alarm.is_fatal() || alarm == Alarm::Oops
}

/// What the console says of SSH.
#[derive(Debug, PartialEq)]
enum Alive {
    Yes,
    No(String),
    Unknown,
}

/// What to do about a board that never said anything.
const MUTE: &str = "the console stayed silent since power-on: no byte came; check that the board \
     gets power, and the serial line's wiring, port and baud rate";

/// What to do about a board whose bytes are no text.
const NOISE: &str = "what came on the console since power-on is no text: check the serial line's baud \
     rate, ground and voltage";

/// How much of what a board said is looked at for that.
const JUDGED: u64 = 4096;

/// An emulator's death shows first as a broken connection: its own report may take this long.
const LOSS_GRACE: Duration = Duration::from_millis(500);

/// All TCP sockets (`Documentation/networking/proc_net_tcp.rst`).
const SOCKETS: &str = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null";

/// An init waits no longer than this before it starts a service again.
const RESTARTS: Duration = secs(3);

/// The inodes of the sockets that listen on a port. The kernel numbers each socket anew, so that a
/// server that was started again is told from one that ran on.
fn listeners(sockets: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A";
        fields.get(9).filter(|_| listens).map(|inode| (*inode).to_string())
    };
    let mut found: Vec<String> = sockets.lines().filter_map(inode).collect();
    found.sort();
    found
}

/// Those of `known` were listening at another time, those of `now` are.
fn same_server(known: &[String], now: &[String]) -> Alive {
    match now {
        [] => Alive::No("no SSH server runs: nothing listens on its port".into()),
        now if known == now => Alive::Yes,
        _ => Alive::No("its SSH server was started anew meanwhile: it crashed".into()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                          retrnsmt   uid  timeout inode";

    /// A listener on port 22, and a connection to it.
    fn sockets(listener: u32) -> String {
        format!(
            "{HEADER}\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 \
             00000000     0        0 {listener} 1 0000000000000000 100 0 0 10 0\n   1: \
             0F02000A:0016 0202000A:A1B2 01 00000000:00000000 02:000A 00000000 0 0 99 2\n{HEADER}\n"
        )
    }

    #[test]
    fn only_a_server_that_ran_on_clears_the_product() {
        let (ran, again) = (listeners(&sockets(17), 22), listeners(&sockets(21), 22));
        assert_eq!(ran, ["17"]);
        assert_eq!(same_server(&ran, &ran), Alive::Yes);
        let Alive::No(why) = same_server(&ran, &again) else { panic!("a restart was not seen") };
        assert!(why.contains("crashed"), "{why}");
        let none = listeners(&sockets(17), 2222);
        for known in [&none, &ran] {
            let Alive::No(why) = same_server(known, &none) else { panic!("nobody listens") };
            assert!(why.contains("no SSH server runs"), "{why}");
        }
        // It came between the two looks.
        assert_ne!(same_server(&none, &again), Alive::Yes);
    }
}
