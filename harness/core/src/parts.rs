//! The traits a rig is made of: power, console, shell, and what the host hands out to the board. One
//! implementation a device kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::stage::Stage;
use crate::trouble::{Outcome, Trouble};

/// What becomes of writes that no flush has made durable, when power goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutPolicy {
    /// All survive: what a plain kill of the emulator shows.
    KeepAll,
    /// None survives.
    DropAll,
    /// A seeded choice of each, with torn prefixes.
    #[default]
    Subset,
}

impl CutPolicy {
    /// Its word in plans, reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            CutPolicy::KeepAll => "keep-all",
            CutPolicy::DropAll => "drop-all",
            CutPolicy::Subset => "subset",
        }
    }
}

/// What a power cut did to the disk, where that can be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutReport {
    /// Writes that were not durable when power went.
    pub pending: u64,
    pub kept: u64,
    pub dropped: u64,
    pub torn: u64,
    /// When, where a contact did it and not a kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<CutTiming>,
}

/// When a contact took the power away. Microseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutTiming {
    /// The off command was begun.
    pub asked_us: u64,
    /// The board is taken to have died: known where the board was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub died_us: Option<u64>,
    /// By how much `died_us` may be off: jitter and the calibration's own error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_us: Option<u64>,
}

/// How long a board lives after the off command was begun, as measured on this very board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffDelay {
    pub delay: Duration,
    /// Jitter and the measurement's own error.
    pub within: Duration,
}

impl OffDelay {
    /// What is known of a cut that was asked for at `asked`, since the start of the run.
    pub fn timing(known: Option<OffDelay>, asked: Duration) -> CutTiming {
        let us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        CutTiming {
            asked_us: us(asked),
            died_us: known.map(|known| us(asked + known.delay)),
            within_us: known.map(|known| us(known.within)),
        }
    }
}

/// The power of a board.
#[async_trait]
pub trait Power: Send {
    /// What it is, for people: `QEMU 10.0.2 (tcg)`, `LCUS relay 2`.
    fn label(&self) -> String;
    async fn on(&mut self) -> Outcome;
    /// Takes the power away; nothing the guest issued is lost beyond what the medium loses.
    async fn off(&mut self) -> Outcome;
    /// Takes the power away and loses what was volatile, by `policy`; `seed` decides where it
    /// leaves a choice. A physical board takes the policy of physics and says so in `label`.
    async fn cut(&mut self, policy: CutPolicy, seed: u64) -> Outcome<CutReport>;
    /// Whether the board was without power for certain when it last was to be. Where not, the boot
    /// that follows must show that it is a new one.
    fn surely_off(&self) -> bool {
        true
    }
    /// How long after its begin a cut takes effect, where that was measured; `None` where it is at
    /// once, or unknown.
    fn off_delay(&self) -> Option<OffDelay> {
        None
    }
    /// What stops an emulated disk at an event of its own; `None` where no disk can be counted on.
    fn tripwire(&self) -> Option<Arc<dyn Tripwire>> {
        None
    }
    /// What an emulator has had of its host since it was started; nothing of a physical board.
    fn scheduled(&self) -> Scheduled {
        Scheduled::default()
    }
    /// Holds `Some` once nothing more can come of this boot: the rack has lost the board (an emulator
    /// that died, a line that went), or its bootloader does not do what is typed at it.
    fn loss(&self) -> watch::Receiver<Option<Trouble>>;
    /// Gives a board without power its medium as it was provisioned. `false` where that would mean
    /// to write it anew: then everything on it stays.
    async fn renew(&mut self) -> Outcome<bool> {
        Ok(false)
    }
    /// What saves the board and starts it from there, if this one can.
    fn forks(&mut self) -> Option<&mut dyn Forks> {
        None
    }
}

/// How long each thread of an emulator ran, and how long it was ready to run and did not, by its id
/// (`Documentation/scheduler/sched-stats.rst`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduled(pub BTreeMap<u32, (Duration, Duration)>);

/// What is known of a saved board beside the machine itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Of the boot it was saved after.
    pub boot_times: BTreeMap<Stage, Duration>,
    /// The session on its console.
    pub login: Option<String>,
    pub ssh: Option<String>,
    /// The inodes of the sockets that its SSH server listened on.
    pub ssh_server: Option<Vec<String>>,
    /// Where on it the program is that makes a fork a board of its own.
    pub twin: Option<String>,
}

/// A board that can be saved while it runs, and started from that as often as is wanted.
#[async_trait]
pub trait Forks: Send {
    /// How, for people: `VM template`.
    fn label(&self) -> String;
    /// What there is to start from: saved by this session, or by an earlier run from the same image
    /// on the same machine.
    fn saved(&self) -> Option<Kept>;
    /// Whether there is a saved board to start from; waits while another lane of this run saves it.
    /// False is a claim: the others wait for this one, until it has saved the board, or is gone.
    async fn claim(&mut self) -> bool;
    /// Saves the board as it runs. It is gone afterwards, as after [`Power::off`].
    async fn save(&mut self, kept: Kept) -> Outcome;
    /// Forgets what was saved, which proved to be of no use, or the claim to save it.
    fn discard(&mut self);
    /// Ends the board, if it runs, and lets it go on from what was saved, on a medium of its own.
    async fn fork(&mut self) -> Outcome;
}

/// What a guest asks of its disk, as far as a power cut can be timed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskEvent {
    /// A write of data or zeros came in whole; its answer will never be sent.
    Write,
    /// A flush came in; it makes nothing durable any more.
    Flush,
}

/// Stops an emulated disk at exactly one event, long before anybody could kill the emulator.
#[async_trait]
pub trait Tripwire: Send + Sync {
    /// Freezes the disk at the `nth` (from 1) such event from now on, and resolves then. A power
    /// cut must follow. Dropped before that, it freezes nothing.
    async fn trip(&self, event: DiskEvent, nth: u32);
}

/// Something noticed in the console stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Since the start of the run.
    pub at: Duration,
    /// Offset of the line's first byte in the captured stream.
    pub offset: u64,
    /// The line without ANSI sequences, at most 1 KiB of it.
    pub line: String,
    pub what: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    Stage(Stage),
    Alarm(Alarm),
}

/// A kernel in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    Panic,
    Oops,
    Oom,
    HungTask,
    Watchdog,
    Lockup,
}

impl Alarm {
    pub fn name(self) -> &'static str {
        match self {
            Alarm::Panic => "kernel panic",
            Alarm::Oops => "kernel oops",
            Alarm::Oom => "out of memory",
            Alarm::HungTask => "hung task",
            Alarm::Watchdog => "watchdog",
            Alarm::Lockup => "lockup",
        }
    }

    /// Whether nothing more can be expected of this boot.
    pub fn is_fatal(self) -> bool {
        self == Alarm::Panic
    }
}

/// Where a pattern was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Offsets in the captured stream; the next `expect` usually starts at `end`.
    pub start: u64,
    pub end: u64,
    /// Capture groups as lossy text, group 0 first.
    pub groups: Vec<String>,
    /// When the last byte of the match arrived, since the start of the run.
    pub at: Duration,
}

/// The serial console: one lossless stream over all power cycles of a rig.
#[async_trait]
pub trait Console: Send + Sync {
    /// How many bytes have been captured since the start of the run.
    fn position(&self) -> u64;
    async fn send(&self, bytes: &[u8]) -> Outcome;
    /// The first match at or after offset `from`; past the deadline `Unmet` with the last lines.
    async fn expect(&self, from: u64, pattern: &Regex, deadline: Deadline) -> Outcome<Match>;
    /// What was captured from offset `from`, at most `most` bytes.
    fn read(&self, from: u64, most: usize) -> Outcome<Vec<u8>>;
    /// The last lines, ANSI removed.
    fn tail(&self, lines: usize) -> Vec<String>;
    /// How many sightings there were so far: the cursor for [`Console::sighting`].
    fn sightings(&self) -> u64;
    /// Waits for the sighting after `cursor` and moves the cursor past it. Cancel-safe.
    async fn sighting(&self, cursor: &mut u64) -> Sighting;
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Exit status; a death by signal N is 128 + N.
    pub status: i32,
    pub stdout: Vec<u8>,
    /// Empty where the channel cannot tell the two apart.
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Output {
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// stdout as text, trailing white space cut.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_string()
    }

    /// The last lines of what it said, for a message.
    pub fn said(&self) -> String {
        let all = [self.stderr.as_slice(), self.stdout.as_slice()].concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(4)..].join(" / ")
    }
}

/// Bytes done of bytes to do.
pub type Progress<'p> = &'p (dyn Fn(u64, u64) + Send + Sync);

/// What a program prints that is about to wait for its cue.
pub const STANDS_BY: &str = "~w~";

/// The line of a program that stands by, as it is typed: nothing else that hil types begins so.
pub fn cue_line(line: &str) -> String {
    format!("~r{line}~")
}

/// A way to run commands on the board.
#[async_trait]
pub trait Shell: Send {
    /// `ssh` or `console`.
    fn name(&self) -> &'static str;
    /// Logs in, unless logged in already, and proves it by an echoed nonce.
    async fn open(&mut self, deadline: Deadline) -> Outcome;
    async fn exec(&mut self, command: &str, deadline: Deadline) -> Outcome<Output>;
    /// Begins a program of the harness's own that prints [`STANDS_BY`] and then waits for one line, the
    /// [`cue_line`]. Nothing, where a session does not live on the board alone.
    async fn stand_by(&mut self, program: &str, deadline: Deadline) -> Outcome {
        let _ = (program, deadline);
        Ok(())
    }
    /// Gives the program that stands by its line; its exit status, `None` where none does.
    async fn cue(&mut self, line: &str, deadline: Deadline) -> Outcome<Option<i32>> {
        let _ = (line, deadline);
        Ok(None)
    }
    async fn upload(
        &mut self,
        local: &Path,
        remote: &str,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome;
    async fn download(
        &mut self,
        remote: &str,
        local: &Path,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome;
    /// Connects to a TCP port of the board at `to`, an address of its own, sends `request` and reads
    /// until the board closes. A channel that carries no other is a [`Trouble::Skip`]; a port on
    /// which nobody answers is the product's.
    async fn dial(
        &mut self,
        to: SocketAddr,
        request: &[u8],
        deadline: Deadline,
    ) -> Outcome<Vec<u8>> {
        let _ = (request, deadline);
        Err(Trouble::Skip(format!("{} cannot reach port {} of the board", self.name(), to.port())))
    }
    /// Whether the board's kernel can be reached at all, whatever its programs do; a
    /// [`Trouble::Transport`] that says why not.
    async fn reached(&mut self) -> Outcome {
        Ok(())
    }
    /// Forgets the session: the board lost power or was reset.
    fn forget(&mut self);
    /// What [`Shell::recall`] must know to go on with this session after the board was saved; `None`
    /// where a session does not live on the board alone.
    fn keep(&self) -> Option<String> {
        None
    }
    /// The board stands where it was saved: goes on with the session of then.
    fn recall(&mut self, _kept: Option<&str>) {
        self.forget();
    }
}

/// `word` as one word of a shell command.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Hands files out over HTTP, to boards that download.
#[async_trait]
pub trait Depot: Send + Sync {
    /// Serves `file` until what is returned is dropped. The first answer breaks off after
    /// `breaks_after` bytes of the file, as a network does. `beyond` the host itself, too: a board
    /// on a network is somewhere else, an emulator is not.
    async fn serve(
        &self,
        file: &Path,
        breaks_after: Option<u64>,
        beyond: bool,
    ) -> Outcome<Box<dyn Served>>;
}

/// A file being handed out.
pub trait Served: Send + Sync {
    /// Its address, for a board that knows the host as `host`.
    fn url(&self, host: &str) -> String;
    /// Of each answer so far: from which byte on, and how many bytes were sent.
    fn answers(&self) -> Vec<(u64, u64)>;
    /// Bytes of the file.
    fn size(&self) -> u64;
    /// Up to which byte the latest answer has sent it.
    fn sent(&self) -> watch::Receiver<u64>;
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME `x` \"y\"", "a\nb"] {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
