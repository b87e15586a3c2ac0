//! What is typed at U-Boot's prompt at each boot of a physical board: the lab file's lines and the
//! image's. The board may start anew at any time; its countdown tells.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hil_console::Capture;
use hil_console::uboot::{STARTED, UBootConsole};
use hil_core::board::UBoot;
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Journal;
use hil_core::image::{Sent, UBootLines};
use hil_core::parts::Console;
use hil_core::trouble::{Outcome, Trouble};
use hil_run::rack::Lease;
use regex::bytes::Regex;

use super::held::Held;

/// Types at every boot of one session.
#[derive(Clone)]
pub(super) struct Typist {
    console: Arc<Capture>,
    uboot: UBoot,
    autoboot: Regex,
    lines: UBootLines,
    /// The longest time from the board's first byte until a system starts.
    span: Duration,
    journal: Journal,
}

impl Typist {
    /// None where nothing is to be typed.
    pub(super) fn of(held: &Held, lease: &Lease) -> Outcome<Option<Typist>> {
        let image = &lease.image.image;
        let mut own = image.uboot.clone();
        for sent in own.iter_mut().flat_map(|lines| &mut lines.send) {
            sent.file = image.path(&sent.file);
        }
        let lines = match (held.instance.uboot.clone(), own) {
            (None, None) => return Ok(None),
            (lab, image) => UBootLines::joined(lab.unwrap_or_default(), image.unwrap_or_default()),
        };
        let board = &lease.board;
        let uboot = known(board.uboot.as_ref(), &held.instance.board)?.clone();
        let autoboot = Regex::new(&format!("(?m){}", uboot.autoboot)).map_err(Trouble::rack)?;
        let span = secs(board.boot_deadline_s).mul_f64(board.slowness);
        let (console, journal) = (held.capture.clone(), lease.journal.clone());
        Ok(Some(Typist { console, uboot, autoboot, lines, span, journal }))
    }

    /// Types at the boot that begins at `from`, and at each one after it. Ends only with trouble.
    pub(super) async fn work(self, mut from: u64) -> Trouble {
        loop {
            let started = match self.boot(from).await {
                Ok(started) => started,
                Err(trouble) => return trouble,
            };
            match self.console.expect(started, &self.autoboot, for_ever()).await {
                Ok(again) => from = again.start,
                Err(trouble) => return trouble,
            }
        }
    }

    /// Where on the console the system starts.
    async fn boot(&self, from: u64) -> Outcome<u64> {
        // A board that stays silent is told by whoever waits for its boot.
        first_byte(&self.console, from).await?;
        let deadline = Deadline::within(self.span);
        let mut uboot = UBootConsole::new(self.console.clone(), &self.uboot)?;
        self.journal.doing("interrupting U-Boot", None);
        uboot.interrupt(from, deadline).await?;
        for (name, value) in &self.lines.set {
            uboot.setenv(name, value, deadline).await?;
        }
        for sent in &self.lines.send {
            self.send(&mut uboot, sent, deadline).await?;
        }
        for line in &self.lines.lines {
            uboot.run(line, deadline).await?;
        }
        let boot = self.lines.boot.as_deref().unwrap_or("boot");
        self.journal.note(format!("U-Boot: {}", self.words(boot)));
        Ok(uboot.boot(&[], boot, STARTED, deadline).await?.end)
    }

    async fn send(&self, uboot: &mut UBootConsole, sent: &Sent, deadline: Deadline) -> Outcome {
        let file = sent.file.display();
        let bytes = fs::read(&sent.file)
            .map_err(|why| Trouble::rack(format!("failed to read {file}: {why}")))?;
        let doing = format!("sending {file} to U-Boot");
        let progress = |done, all| self.journal.doing(doing.clone(), Some((done, all)));
        uboot.ymodem(sent.at, &bytes, &progress, deadline).await
    }

    /// What was done, for the report.
    fn words(&self, boot: &str) -> String {
        let set: Vec<&str> = self.lines.set.keys().map(String::as_str).collect();
        let sent: Vec<String> =
            self.lines.send.iter().map(|sent| sent.file.display().to_string()).collect();
        let mut did = vec!["countdown stopped".to_string()];
        for (what, names) in [("set", set.join(", ")), ("sent", sent.join(", "))] {
            if !names.is_empty() {
                did.push(format!("{what} {names}"));
            }
        }
        did.extend(self.lines.lines.iter().chain([&boot.to_string()]).map(|it| format!("`{it}`")));
        did.join("; ")
    }
}

/// How the U-Boot of a device type shows itself.
pub(super) fn known<'u>(uboot: Option<&'u UBoot>, board: &str) -> Outcome<&'u UBoot> {
    uboot.ok_or_else(|| {
        Trouble::rack(format!(
            "nothing can be typed at the bootloader of `{board}`: boards/{board}.toml has no \
             [uboot] table"
        ))
    })
}

pub(super) async fn first_byte(console: &Capture, from: u64) -> Outcome {
    let any = Regex::new("(?s-u:.)").map_err(Trouble::rack)?;
    console.expect(from, &any, for_ever()).await.map(|_| ())
}

fn for_ever() -> Deadline {
    Deadline::within(Duration::MAX)
}
