//! What `hil lab check` tries of one board: dark without power, its medium where it should be,
//! alive with power, dark again. Whatever is found is the rack's trouble, never the product's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hil_console::{Capture, CaptureOptions};
use hil_core::board::Board;
use hil_core::deadline::{Deadline, Span};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::serial::Health;
use hil_lab::{Instance, Wired, Worker, stagger};
use hil_qemu::RUN_VARIABLE;
use regex::bytes::Regex;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

use super::medium;
use super::power::CALL;

/// A firmware speaks within this after power-on, times the board's slowness.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// A line that takes no byte for this long is not waited for.
const SEND: Duration = Duration::from_secs(2);

/// What was found of one board.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) wrong: Vec<String>,
    /// What it did, and what could not be tried.
    pub(super) notes: Vec<String>,
}

/// One board to try, held by this process.
pub(super) struct Trial {
    pub(super) instance: Instance,
    pub(super) board: Arc<Board>,
    /// Between two boards' power-on.
    pub(super) stagger: Duration,
    pub(super) run: String,
}

impl Trial {
    pub(super) async fn run(&self, findings: &mut Findings) {
        let bench = match self.open().await {
            Ok(bench) => bench,
            Err(trouble) => return findings.wrong.push(trouble.to_string()),
        };
        // A board that keeps its power may be using its card: then nothing more is touched.
        match bench.goes_dark().await {
            Ok(late) => findings.notes.extend(late),
            Err(trouble) => return findings.wrong.push(trouble.to_string()),
        }
        match self.medium().await {
            Ok(note) => findings.notes.extend(note),
            Err(trouble) => findings.wrong.push(trouble.to_string()),
        }
        match bench.comes_alive().await {
            Ok(took) => {
                findings.notes.push(format!("alive within {} of power-on", Span(took)));
                match bench.goes_dark().await {
                    Ok(late) => {
                        findings.notes.push(late.unwrap_or_else(|| "silent without power".into()));
                    }
                    Err(trouble) => findings.wrong.push(trouble.to_string()),
                }
            }
            Err(trouble) => findings.wrong.push(trouble.to_string()),
        }
        let health = bench.health.borrow().clone();
        if let Some(damage) = health.damage() {
            findings.notes.push(format!("the console line {damage}"));
        }
    }

    async fn open(&self) -> Outcome<OnBench<'_>> {
        let wired = Wired::new(&self.instance);
        let label = wired.label();
        let switch = Worker::start(label.clone(), wired)?;
        let dir = tempfile::tempdir()
            .map_err(|why| Trouble::rack(format!("failed to make a temporary folder: {why}")))?;
        let capture = Capture::open(
            dir.path(),
            Clock::new(),
            &self.board.stages,
            Masker::default(),
            CaptureOptions::default(),
        )?;
        let line = self.instance.console.open(self.board.console.baud).await?;
        capture.attach(line.stream).await;
        let anything = Regex::new("(?s-u).").map_err(Trouble::rack)?;
        Ok(OnBench {
            trial: self,
            switch,
            label,
            capture,
            health: line.health,
            anything,
            _dir: dir,
        })
    }

    /// On a thread of its own: its tools and its device may hang.
    async fn medium(&self) -> Outcome<Option<String>> {
        let Some(spec) = self.instance.storage.clone() else {
            return Ok(Some("no [storage]: it counts as flashed already".into()));
        };
        let (flash, run) = (self.board.flash.clone(), self.run.clone());
        let look = Worker::start("its medium".into(), ())?;
        let look = look.call(medium::LONGEST, move |()| {
            medium::check(&spec, flash.as_ref(), &[(RUN_VARIABLE.to_string(), run)])
        });
        Ok(look.await?)
    }
}

/// A board with its line open.
struct OnBench<'t> {
    trial: &'t Trial,
    switch: Worker<Wired>,
    label: String,
    capture: Arc<Capture>,
    health: watch::Receiver<Health>,
    anything: Regex,
    _dir: TempDir,
}

impl OnBench<'_> {
    /// Off, and past its hold-up time it neither says nor answers anything; what is to be said of
    /// one that does so only later.
    async fn goes_dark(&self) -> Outcome<Option<String>> {
        let (instance, label) = (&self.trial.instance, &self.label);
        self.switch.call(CALL, Wired::off).await?;
        let mut late = None;
        for (wait, listen) in instance.timing.listenings() {
            sleep(wait).await;
            self.line_is_there()?;
            let from = self.capture.position();
            self.poke().await;
            if !self.heard(from, listen).await {
                // A line that is gone says nothing either.
                self.line_is_there()?;
                return Ok(late);
            }
            late = Some(format!(
                "still spoke {} s after its power had gone, and then no more: raise `discharge_s`, \
                 or ask again on a host that is less busy",
                instance.timing.discharge_s
            ));
        }
        Err(Trouble::rack(format!(
            "{label} took the command to switch off, yet the console still speaks {} s later: its \
             contact sticks, or something else powers the board (raise `discharge_s` if it lives \
             that long)",
            instance.timing.discharge_s
        )))
    }

    /// On, and within the time its firmware needs something comes; how long that took.
    async fn comes_alive(&self) -> Outcome<Duration> {
        let wait = self.switch.call(CALL, |power| Ok(power.not_before())).await?;
        sleep(wait).await;
        stagger::turn(self.trial.stagger).await;
        let (from, begun, span) = (self.capture.position(), Instant::now(), self.span());
        self.switch.call(CALL, Wired::on).await?;
        loop {
            // A board that waits in silence may answer; what interrupts its boot does no harm.
            if self.heard(from, Duration::from_secs(1)).await {
                return Ok(begun.elapsed());
            }
            self.line_is_there()?;
            if begun.elapsed() >= span {
                return Err(self.dead(span));
            }
            self.poke().await;
        }
    }

    /// How long it may be silent after power-on.
    fn span(&self) -> Duration {
        let board = &self.trial.board;
        let stages = &board.stages;
        match stages.firmware.is_some() || stages.bootloader.is_some() {
            true => FIRST_BYTE.mul_f64(board.slowness),
            // Its kernel is the first to speak.
            false => Duration::from_secs(board.boot_deadline_s).mul_f64(board.slowness),
        }
    }

    fn dead(&self, span: Duration) -> Trouble {
        let line = self.trial.instance.console.label(self.trial.board.console.baud);
        Trouble::rack(format!(
            "no byte came on the console within {} of power-on by {}: check the contact and the \
             power supply, the wires and the baud rate of {line}, and whether there is anything \
             on its medium that would speak",
            Span(span),
            self.label
        ))
    }

    fn line_is_there(&self) -> Outcome {
        match &self.health.borrow().gone {
            Some(why) => Err(Trouble::rack(format!("the console line is gone: {why}"))),
            None => Ok(()),
        }
    }

    /// A login prompt or a shell answers an empty line. That a line takes no byte is told by the
    /// silence that follows.
    async fn poke(&self) {
        let _ = tokio::time::timeout(SEND, self.capture.send(b"\r")).await;
    }

    async fn heard(&self, from: u64, span: Duration) -> bool {
        self.capture.expect(from, &self.anything, Deadline::within(span)).await.is_ok()
    }
}
