//! A board of air: power, console, shell and rack that exist in memory alone, seen and set by tests.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hil_core::address::ADDRESSES;
use hil_core::deadline::Deadline;
use hil_core::event::{Event, Sink, What};
use hil_core::parts::{
    Console, CutPolicy, CutReport, Forks, Match, Output, Power, Progress, Scheduled, Seen, Shell,
    Sighting,
};
use hil_core::prelude::*;
use hil_core::rig::Parts;
use hil_run::rack::{Lease, Leased, Rack};
use regex::bytes::Regex;
use tokio::sync::watch;

use crate::starts;

/// What happens on the simulated board, seen and set by tests.
#[derive(Default)]
pub(crate) struct Air {
    pub(crate) sightings: Mutex<Vec<Sighting>>,
    pub(crate) news: tokio::sync::Notify,
    pub(crate) power_ons: AtomicU32,
    /// Stage marks appear at power-on only while this is unset.
    pub(crate) dead: std::sync::atomic::AtomicBool,
    /// What it shows at each power-on before all else.
    pub(crate) begins_with: Mutex<Option<Stage>>,
    /// Nobody knows whether it ever lost its power.
    pub(crate) may_be_on: std::sync::atomic::AtomicBool,
    /// Bytes on the console so far, and how many more each power-on brings.
    pub(crate) bytes: AtomicU64,
    pub(crate) says: AtomicU64,
    pub(crate) loss: Mutex<Option<watch::Sender<Option<Trouble>>>>,
    pub(crate) saves: Mutex<starts::Saves>,
    /// What is typed comes back, but for one letter; with a sighting each time, where there is one.
    pub(crate) echoes_with_gaps: std::sync::atomic::AtomicBool,
    pub(crate) shows_when_typed: Mutex<Option<Seen>>,
    pub(crate) heard: Mutex<Vec<u8>>,
    /// What each power-on brings to the console.
    pub(crate) babble: Mutex<Vec<u8>>,
    /// The inode of the socket its SSH server listens on; 0: it has none.
    pub(crate) ssh_socket: AtomicU32,
    /// Since when it has had a tenth of the time that it wanted of its host.
    pub(crate) starved: Mutex<Option<tokio::time::Instant>>,
    /// No packet comes through.
    pub(crate) cut_off: std::sync::atomic::AtomicBool,
}

impl Air {
    pub(crate) fn show(&self, what: Seen, line: &str) {
        let at = Duration::ZERO;
        let sighting = Sighting { at, offset: 0, line: line.into(), what };
        self.sightings.lock().unwrap().push(sighting);
        self.news.notify_waiters();
    }

    /// What a board's shell answers that is asked for its sockets.
    fn sockets(&self, command: &str) -> String {
        match self.ssh_socket.load(Ordering::SeqCst) {
            inode if inode > 0 && command.contains("/proc/net/tcp") => format!(
                "0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 {inode}"
            ),
            _ => String::new(),
        }
    }

    pub(crate) fn lose(&self) {
        if let Some(loss) = &*self.loss.lock().unwrap() {
            loss.send_replace(Some(Trouble::rack("qemu was killed by SIGKILL")));
        }
    }
}

pub(crate) struct AirPower(pub(crate) Arc<Air>);

#[async_trait]
impl Power for AirPower {
    fn label(&self) -> String {
        "air".into()
    }

    async fn on(&mut self) -> Outcome {
        self.0.power_ons.fetch_add(1, Ordering::SeqCst);
        self.0.bytes.fetch_add(self.0.says.load(Ordering::SeqCst), Ordering::SeqCst);
        self.0.heard.lock().unwrap().extend(&*self.0.babble.lock().unwrap());
        if let Some(loss) = &*self.0.loss.lock().unwrap() {
            loss.send_replace(None);
        }
        let first = *self.0.begins_with.lock().unwrap();
        if let Some(stage) = first {
            self.0.show(Seen::Stage(stage), "begins");
        }
        if !self.0.dead.load(Ordering::SeqCst) {
            self.0.show(Seen::Stage(Stage::Ready), "ready");
        }
        Ok(())
    }

    async fn off(&mut self) -> Outcome {
        Ok(())
    }

    fn surely_off(&self) -> bool {
        !self.0.may_be_on.load(Ordering::SeqCst)
    }

    async fn cut(&mut self, _policy: CutPolicy, _seed: u64) -> Outcome<CutReport> {
        Ok(CutReport::default())
    }

    fn scheduled(&self) -> Scheduled {
        let since = *self.0.starved.lock().unwrap();
        let shares = |wanted: Duration| (wanted.mul_f64(0.1), wanted.mul_f64(0.9));
        Scheduled(since.map(|since| (1, shares(since.elapsed()))).into_iter().collect())
    }

    fn loss(&self) -> watch::Receiver<Option<Trouble>> {
        let mut loss = self.0.loss.lock().unwrap();
        loss.get_or_insert_with(|| watch::channel(None).0).subscribe()
    }

    fn forks(&mut self) -> Option<&mut dyn Forks> {
        if self.0.saves.lock().unwrap().can { Some(self) } else { None }
    }
}

pub(crate) struct AirConsole(pub(crate) Arc<Air>);

#[async_trait]
impl Console for AirConsole {
    fn position(&self) -> u64 {
        self.0.bytes.load(Ordering::SeqCst) + self.0.heard.lock().unwrap().len() as u64
    }

    async fn send(&self, bytes: &[u8]) -> Outcome {
        if self.0.echoes_with_gaps.load(Ordering::SeqCst) {
            self.0.heard.lock().unwrap().extend(bytes.iter().filter(|byte| **byte != b'K'));
        }
        let seen = *self.0.shows_when_typed.lock().unwrap();
        if let Some(seen) = seen {
            self.0.show(seen, "as it is typed to");
        }
        Ok(())
    }

    async fn expect(&self, _from: u64, _pattern: &Regex, deadline: Deadline) -> Outcome<Match> {
        tokio::time::sleep_until(deadline.instant()).await;
        Err(Trouble::unmet("nothing on the console"))
    }

    fn read(&self, from: u64, most: usize) -> Outcome<Vec<u8>> {
        let begin = from.saturating_sub(self.0.bytes.load(Ordering::SeqCst)) as usize;
        let heard = self.0.heard.lock().unwrap();
        Ok(heard.iter().skip(begin).take(most).copied().collect())
    }

    fn tail(&self, _lines: usize) -> Vec<String> {
        vec!["last words".into()]
    }

    fn sightings(&self) -> u64 {
        self.0.sightings.lock().unwrap().len() as u64
    }

    async fn sighting(&self, cursor: &mut u64) -> Sighting {
        loop {
            let news = self.0.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let next = self.0.sightings.lock().unwrap().get(*cursor as usize).cloned();
            if let Some(sighting) = next {
                *cursor += 1;
                return sighting;
            }
            news.await;
        }
    }
}

/// The program that makes a fork a board of its own, and where it is.
const TWIN_NAME: &str = ".hil-twin";
pub(crate) const TWIN: &str = "/run/.hil-twin";

/// Answers every command with success, unless the board is dead.
struct AirShell(Arc<Air>);

#[async_trait]
impl Shell for AirShell {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        if !self.0.dead.load(Ordering::SeqCst) {
            return Ok(());
        }
        tokio::time::sleep_until(deadline.instant()).await;
        Err(Trouble::unmet("no prompt"))
    }

    async fn exec(&mut self, command: &str, _deadline: Deadline) -> Outcome<Output> {
        let mut saves = self.0.saves.lock().unwrap();
        let twin = command.contains(TWIN_NAME) && !saves.noexec;
        // As the program ends that has done all it was to do.
        let status = if command.starts_with("echo") && twin { 0x40 } else { 0 };
        saves.twins.extend((status == 0x40).then_some("run"));
        let stdout = match command {
            _ if twin => TWIN.to_string(),
            _ if command == ADDRESSES => "2: eth0    inet 10.0.2.15/24 scope global eth0".into(),
            _ => self.0.sockets(command),
        };
        Ok(Output { status, stdout: stdout.into(), ..Output::default() })
    }

    async fn stand_by(&mut self, program: &str, _deadline: Deadline) -> Outcome {
        let mut saves = self.0.saves.lock().unwrap();
        if saves.mute {
            return Err(Trouble::unmet("as the test wants it"));
        }
        saves.waits = program == TWIN;
        Ok(())
    }

    async fn cue(&mut self, _line: &str, _deadline: Deadline) -> Outcome<Option<i32>> {
        let mut saves = self.0.saves.lock().unwrap();
        let waits = std::mem::take(&mut saves.waits);
        saves.twins.extend(waits.then_some("cue"));
        // 130: it was ended.
        Ok(waits.then_some(if saves.dies { 130 } else { 0x40 }))
    }

    async fn upload(&mut self, _: &Path, _: &str, _: Progress<'_>, _: Deadline) -> Outcome {
        Ok(())
    }

    async fn download(&mut self, _: &str, _: &Path, _: Progress<'_>, _: Deadline) -> Outcome {
        Ok(())
    }

    fn forget(&mut self) {}
}

/// A board's SSH; its cases do not use it.
struct AirSsh(Arc<Air>);

#[async_trait]
impl Shell for AirSsh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, _: Deadline) -> Outcome {
        Ok(())
    }

    async fn exec(&mut self, command: &str, _: Deadline) -> Outcome<Output> {
        Ok(Output { stdout: self.0.sockets(command).into(), ..Output::default() })
    }

    async fn reached(&mut self) -> Outcome {
        match self.0.cut_off.load(Ordering::SeqCst) {
            true => Err(Trouble::transport("no route to host")),
            false => Ok(()),
        }
    }

    async fn upload(&mut self, _: &Path, _: &str, _: Progress<'_>, _: Deadline) -> Outcome {
        Ok(())
    }

    async fn download(&mut self, _: &str, _: &Path, _: Progress<'_>, _: Deadline) -> Outcome {
        Ok(())
    }

    fn forget(&mut self) {}
}

/// The case under test finds its board's air here; each test runs on a thread of its own.
pub(crate) struct AirRack(pub(crate) Arc<Air>);

#[async_trait]
impl Rack for AirRack {
    async fn lease(&self, lease: &Lease) -> Outcome<Leased> {
        let console: Arc<dyn Console> = Arc::new(AirConsole(self.0.clone()));
        let ssh = (self.0.ssh_socket.load(Ordering::SeqCst) > 0)
            .then(|| Box::new(AirSsh(self.0.clone())) as Box<dyn Shell>);
        let parts = Parts {
            board: lease.board.clone(),
            image: lease.image.image.clone(),
            power: Box::new(AirPower(self.0.clone())),
            console: console.clone(),
            login: Some(Box::new(AirShell(self.0.clone()))),
            ssh,
            slowness: 1.0,
            reach_by: Box::new(Vec::new),
        };
        Ok(Leased { parts, console, notes: Vec::new(), medium: "air".into() })
    }
}

#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<What>>);

impl Sink for Heard {
    fn event(&self, _board: &str, event: &Event) {
        self.0.lock().unwrap().push(event.what.clone());
    }
}
