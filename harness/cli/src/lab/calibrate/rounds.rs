//! One board under measurement: brings it to talk, takes its power away, and sees when it fell
//! silent. What the samples mean is the library's affair, in which order they are taken `mod`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hil_console::ConsoleShell;
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Clock;
use hil_core::parts::{Console, CutPolicy, CutTiming, Power, Shell};
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::calibrate::dips::Dip;
use hil_lab::calibrate::{Talk, median, quantile};
use regex::bytes::Regex;
use tokio::time::sleep;

use super::super::power::CALL;
use super::heard::{self, Heard, QUIET, ms};
use crate::rack::lab::{Held, LabPower};

/// How long a line must have been busy before its power goes.
const BUSY: Duration = Duration::from_millis(300);

/// A boot that has printed so many bytes is under way.
const UNDER_WAY: usize = 512;

/// Keeps a line busy in any POSIX shell, and prints nothing that a boot would.
pub(super) const TICKER: &str =
    "while :; do echo '~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~'; done";

/// What a mark for a cut looks like; the typed line holds a sum instead of it.
const MARK: &str = "hil-cut-42";
const SAY_MARK: &str = "echo hil-cut-$((40+2))";

/// Stamps of reads come from a task that wakes some time after the byte: half a millisecond on a
/// host that is not overloaded, and a tty's own buffer takes as long.
const STAMP_MS: f64 = 0.5;

pub(super) struct Rounds {
    pub(super) held: Arc<Held>,
    pub(super) power: LabPower,
    pub(super) heard: Heard,
    pub(super) clock: Clock,
    /// Where the image tells how to log in.
    pub(super) shell: Option<ConsoleShell>,
    pub(super) ticker: String,
    /// A boot to its login takes no longer.
    pub(super) patience: Duration,
    /// How far single times may be off; one for each time the power went. Milliseconds.
    pub(super) resolutions: Vec<f64>,
    /// How long the driver took with each off command. Milliseconds.
    pub(super) took: Vec<f64>,
}

/// One cut, since the clock's start.
pub(super) struct Cut {
    pub(super) timing: CutTiming,
    pub(super) asked: Duration,
    /// `None` where the board had nothing to say any more.
    pub(super) last_byte: Option<Duration>,
    /// By how much this program was late meanwhile: its stamps are worth no more. Milliseconds.
    pub(super) late: f64,
}

impl Rounds {
    pub(super) fn talk(&self) -> Talk {
        if self.shell.is_some() { Talk::Shell } else { Talk::Boot }
    }

    /// How far a single time may be off, over all rounds so far. Milliseconds.
    pub(super) fn resolution(&self) -> f64 {
        median(&self.resolutions).unwrap_or_default()
    }

    /// Power on, until the board talks; in its shell, `say` comes first.
    async fn begin(&mut self, say: &str) -> Outcome {
        let deadline = Deadline::within(self.patience);
        let from = self.held.capture.position();
        self.power.on().await?;
        let anything = Regex::new("(?s-u).").map_err(Trouble::rack)?;
        let first = self.held.capture.expect(from, &anything, deadline).await;
        first.map_err(|_| self.mute(deadline))?;
        let Some(shell) = &mut self.shell else { return self.is_under_way(from, deadline).await };
        shell.forget();
        shell.open(deadline).await?;
        self.held.capture.send(format!("{say}\n").as_bytes()).await
    }

    fn mute(&self, deadline: Deadline) -> Trouble {
        let Held { instance, label, .. } = &*self.held;
        Trouble::rack(format!(
            "{} does not talk: no byte came on its console within {deadline} of power-on by \
             {label}; `hil lab check {0}` tells more",
            instance.name
        ))
    }

    /// Without a shell there is the boot's own output: some of it has come, and more comes.
    async fn is_under_way(&self, from: u64, deadline: Deadline) -> Outcome {
        let some = Regex::new(&format!("(?s-u).{{{UNDER_WAY}}}")).map_err(Trouble::rack)?;
        let seen = self.held.capture.expect(from, &some, deadline).await;
        seen.map(drop).map_err(|_| {
            Trouble::rack(format!(
                "{} prints less than {UNDER_WAY} bytes while it boots, too little to see its \
                 power go by; give --image with a [login], and its shell is used",
                self.held.instance.name
            ))
        })
    }

    /// Until the ticker keeps the line busy.
    async fn is_busy(&self) -> Outcome {
        let deadline = Deadline::within(self.patience.min(secs(60)));
        loop {
            sleep(BUSY).await;
            let now = self.clock.now();
            let chunks = self.heard.since(now.saturating_sub(BUSY));
            let widest = heard::gaps(&chunks, now).into_iter().fold(0.0, f64::max);
            if chunks.len() > 2 && widest < ms(QUIET) {
                return Ok(());
            }
            if deadline.passed() {
                return Err(Trouble::rack(format!(
                    "the console of {} does not stay busy within {deadline}; after the ticker's \
                     start it said: {}",
                    self.held.instance.name,
                    self.held.capture.tail(3).join(" / ")
                )));
            }
        }
    }

    async fn talks(&mut self, say: &str) -> Outcome {
        self.begin(say).await?;
        if self.shell.is_some() { self.is_busy().await } else { Ok(()) }
    }

    /// One power cut of a board that talks.
    pub(super) async fn cut(&mut self) -> Outcome<Cut> {
        self.talks(&self.ticker.clone()).await?;
        self.now_cut().await
    }

    async fn now_cut(&mut self) -> Outcome<Cut> {
        let (report, late) = beside(self.power.cut(CutPolicy::DropAll, 0)).await;
        let report = report?;
        let timing = report.timing.ok_or_else(|| Trouble::rack("a cut without a time"))?;
        let asked = Duration::from_micros(timing.asked_us);
        let before = self.heard.since(asked.saturating_sub(BUSY));
        let gaps = heard::gaps(&before, self.clock.now());
        // Those up to the command: what came later may end in the silence that is looked for.
        let gaps = &gaps[..before.iter().filter(|chunk| chunk.at < asked).count().min(gaps.len())];
        // A loop's widest gaps are this host's; a boot's are its own, and the cut may be in one.
        let share = if self.shell.is_some() { 0.95 } else { 1.0 };
        self.resolutions.extend(quantile(gaps, share).map(|gap| gap + STAMP_MS));
        // A boot has pauses of its own; nothing follows it here.
        let quiet = if self.shell.is_some() { QUIET } else { Duration::MAX };
        let last_byte = heard::last_byte(&before, asked, quiet);
        let took = self.held.switch.call(CALL, |power| Ok(power.took())).await?;
        self.took.push(ms(took));
        Ok(Cut { timing, asked, last_byte, late })
    }

    /// A cut at a mark that the board prints, `after` it; the mark's time as well.
    pub(super) async fn cut_at_mark(&mut self, after: Duration) -> Outcome<(Duration, Cut)> {
        let from = self.held.capture.position();
        self.begin(&format!("{SAY_MARK}; {}", self.ticker)).await?;
        let mark = Regex::new(MARK).map_err(Trouble::rack)?;
        let deadline = Deadline::within(self.patience);
        let found = self.held.capture.expect(from, &mark, deadline).await?;
        let lead = self.power.off_delay().map_or(Duration::ZERO, |known| known.delay);
        let asked = (found.at + after).saturating_sub(lead);
        sleep(asked.saturating_sub(self.clock.now())).await;
        Ok((found.at, self.now_cut().await?))
    }

    /// One interruption of a board that talks, or is brought to talk; whether it lived is in it.
    /// Also when off was asked for, and by how many milliseconds this program was late meanwhile.
    pub(super) async fn dip(&mut self, width: f64, off_ms: f64) -> Outcome<(Duration, Dip, f64)> {
        let words = self.words();
        let width = Duration::from_secs_f64(width.max(0.0) / 1000.0);
        let watch = Duration::from_secs_f64(off_ms / 1000.0) + 3 * QUIET;
        let dipped = async {
            let done = self.held.switch.call(CALL, move |power| power.dip(width)).await;
            sleep(watch).await;
            done
        };
        let (dipped, late) = beside(dipped).await;
        let (off, on) = dipped?;
        let (asked, back) = (self.since_start(off), self.since_start(on));
        let chunks = self.heard.since(asked);
        let died = heard::death(&chunks, asked, self.clock.now(), &words);
        let died = died.map(|at| ms(at.saturating_sub(asked)));
        Ok((asked, Dip { width: ms(back.saturating_sub(asked)), died }, late))
    }

    /// From the begin of a command to its end on the wire, and how far that may be off: a driver
    /// opens its port first, and may or may not have waited for the last bit. Milliseconds.
    pub(super) async fn sending(&self) -> Outcome<(f64, f64)> {
        let wire = self.held.switch.call(CALL, |power| Ok(power.sending())).await?;
        let half = median(&self.took).unwrap_or_default() / 2.0;
        Ok((ms(wire) + half, half))
    }

    /// The board talks: it lived through the last interruption, or is started anew.
    pub(super) async fn talks_on(&mut self, lives: bool) -> Outcome {
        if lives {
            return self.is_busy().await;
        }
        self.power.off().await?;
        self.talks(&self.ticker.clone()).await
    }

    pub(super) async fn power_off(&mut self) -> Outcome {
        self.power.off().await
    }

    /// The bytes that the ticker consists of.
    fn words(&self) -> Vec<u8> {
        let from = self.clock.now().saturating_sub(BUSY);
        let mut words: Vec<u8> =
            self.heard.since(from).into_iter().flat_map(|chunk| chunk.bytes).collect();
        words.extend(b"\r\n");
        words.sort_unstable();
        words.dedup();
        words
    }

    fn since_start(&self, at: Instant) -> Duration {
        self.clock.now().saturating_sub(at.elapsed())
    }
}

/// `work`, and by how many milliseconds this program's only thread was late while it ran.
async fn beside<T>(work: impl Future<Output = T>) -> (T, f64) {
    const STEP: Duration = Duration::from_millis(1);
    let mut late = Duration::ZERO;
    tokio::pin!(work);
    loop {
        let begun = Instant::now();
        tokio::select! {
            done = &mut work => return (done, ms(late)),
            // The timer itself may round up by another millisecond.
            () = sleep(STEP) => late = late.max(begun.elapsed().saturating_sub(2 * STEP)),
        }
    }
}
