//! `hil lab calibrate`: how long a board lives after its power was switched off, so that power cuts
//! can be aimed and reports can say how well. Writes what it finds beside the quarantines.

mod heard;
mod rounds;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use hil_console::{Capture, CaptureOptions, ConsoleShell};
use hil_core::event::{Clock, Journal};
use hil_core::image::Image;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::verdict::exit;
use hil_lab::calibrate::dips::{Dips, Split};
use hil_lab::calibrate::{Calibration, Figure, Talk};
use hil_lab::lock::now;
use hil_lab::{Instance, Wired, Worker, quarantine};
use hil_run::prepare;
use tempfile::TempDir;
use tokio::sync::watch;

use super::args::CalibrateArgs;
use super::command::{Bench, failed};
use super::taken::Taken;
use crate::failure::Failure;
use crate::rack::lab::{Held, LabPower};
use crate::show::put;
use heard::{Heard, ms};
use rounds::{Rounds, TICKER};
use samples::Samples;

/// Of cuts at a mark, one in so many may miss before the calibration counts as wrong: its jitter is
/// that of few cycles.
const MAY_MISS: u32 = 5;

/// A measurement during which this program was late by more milliseconds is made again.
const LATE: f64 = 5.0;

pub(super) async fn calibrate(bench: &Bench, args: &CalibrateArgs) -> Result<u8, Failure> {
    let instance = bench.instance(&args.instance)?;
    let name = &instance.name;
    if let Some(found) = quarantine::read(&bench.places, name) {
        return Err(Failure::host(format!("{name} is in quarantine: {found}")));
    }
    let image = image(instance, args)?;
    let taken = Taken::take(instance).await?;
    let (mut work, _dir) = Work::open(bench, instance, image.as_ref(), args, &taken).await?;
    let code = work.run(bench, args).await?;
    drop(work);
    taken.settle().await?;
    Ok(code)
}

/// The image whose login is used: the one given, or the first that the lab file names.
fn image(instance: &Instance, args: &CalibrateArgs) -> Result<Option<Image>, Failure> {
    match args.image.as_ref().or(instance.images.first()) {
        Some(file) => Ok(Some(prepare::load(file)?)),
        None => Ok(None),
    }
}

struct Work {
    name: String,
    label: String,
    rounds: Rounds,
    samples: Samples,
}

impl Work {
    async fn open(
        bench: &Bench,
        instance: &Instance,
        image: Option<&Image>,
        args: &CalibrateArgs,
        taken: &Taken,
    ) -> Result<(Work, TempDir), Failure> {
        let dir = tempfile::tempdir()
            .map_err(|why| Failure::host(format!("failed to make a temporary folder: {why}")))?;
        let board = bench.board(instance)?;
        let clock = Clock::new();
        let samples = Samples::new(args.samples.as_deref(), clock)?;
        let marks = image.map_or(board.stages.clone(), |i| board.stages.overridden_by(&i.stages));
        let (masker, options) = (Masker::default(), CaptureOptions::default());
        let capture =
            Capture::open(dir.path(), clock, &marks, masker, options).map_err(Failure::host)?;
        let line = instance.console.open(board.console.baud).await.map_err(failed)?;
        let heard = Heard::new(clock);
        capture.attach(heard.listen(line.stream)).await;
        let console: Arc<dyn Console> = capture.clone();
        let login = image.and_then(|image| image.login.clone());
        let shell = login.map(|login| ConsoleShell::new(console, login)).transpose();
        let wired = Wired::new(instance);
        let label = wired.label();
        let held = Arc::new(Held {
            instance: instance.clone(),
            capture,
            switch: Worker::start(label.clone(), wired).map_err(failed)?,
            label: label.clone(),
            health: line.health,
            keeper_gone: taken.keeper_gone().unwrap_or_else(|| watch::channel(None).1),
        });
        let stagger = Duration::from_secs_f64(bench.lab.stagger_s);
        let journal = Journal::new(&instance.name, clock, Vec::new());
        let rounds = Rounds {
            power: LabPower::new(held.clone(), stagger, journal),
            held,
            heard,
            clock,
            shell: shell.map_err(Failure::host)?,
            ticker: args.ticker.clone().unwrap_or_else(|| TICKER.into()),
            patience: Duration::from_secs(board.boot_deadline_s).mul_f64(board.slowness),
            resolutions: Vec::new(),
            took: Vec::new(),
        };
        Ok((Work { name: instance.name.clone(), label, rounds, samples }, dir))
    }

    async fn run(&mut self, bench: &Bench, args: &CalibrateArgs) -> Result<u8, Failure> {
        let measured = self.off_delay(args.cycles).await?;
        let split = match (args.dips, self.rounds.talk()) {
            (true, Talk::Shell) => self.split(measured, args.cycles).await?,
            _ => None,
        };
        let calibration = Calibration {
            instance: self.name.clone(),
            power: self.label.clone(),
            date: now(),
            cycles: args.cycles,
            talk: self.rounds.talk(),
            off_delay: measured,
            latency: split.map(|split| split.latency),
            hold_up: split.map(|split| split.hold_up),
        };
        let path = calibration.write(&bench.places).map_err(failed)?;
        put(&table(&calibration, args));
        put(&format!("  kept in     {}\n", path.display()));
        self.verify(calibration, args.verify).await
    }

    /// The cuts, and what they tell.
    async fn off_delay(&mut self, cycles: u32) -> Result<Figure, Failure> {
        self.rounds.power.begin_without().await.map_err(Failure::host)?;
        let mut delays = Vec::new();
        let mut again = 2 * cycles;
        while delays.len() < cycles as usize {
            let cut = self.rounds.cut().await.map_err(Failure::host)?;
            let (name, nth) = (&self.name, delays.len() + 1);
            let Some(last_byte) = cut.last_byte else {
                let why = "said nothing more once its power was switched off: nothing measured";
                if again == 0 {
                    return Err(Failure::host(format!("{name} {why}")));
                }
                again -= 1;
                put(&format!("{name}: {why}, not counted\n"));
                continue;
            };
            let delay = ms(last_byte.saturating_sub(cut.asked));
            let times = [("asked", cut.asked), ("last_byte", last_byte)];
            let spans = [("delay", Some(delay)), ("late", Some(cut.late))];
            self.samples.note("cut", &times, &spans)?;
            put(&format!("{name}: cut {nth} of {cycles}: silent after {delay:.1} ms\n"));
            if self.too_late(cut.late, &mut again) {
                continue;
            }
            delays.push(delay);
        }
        Figure::of(&delays, self.rounds.resolution())
            .ok_or_else(|| Failure::usage("give at least one cycle"))
    }

    /// Whether to measure again, because this host was too busy. Told; and not for ever.
    fn too_late(&self, late: f64, again: &mut u32) -> bool {
        if late <= LATE || *again == 0 {
            return false;
        }
        *again -= 1;
        put(&format!("{}: this host was busy for {late:.0} ms: not counted\n", self.name));
        true
    }

    /// The interruptions, and what they tell.
    async fn split(&mut self, off: Figure, cycles: u32) -> Result<Option<Split>, Failure> {
        let (sending, unsure) = self.rounds.sending().await.map_err(Failure::host)?;
        let mut dips = Dips::new(off, sending, self.rounds.resolution() + unsure);
        let (mut lives, mut again) = (false, cycles);
        for _ in 0..4 * cycles + 10 {
            if dips.is_done() {
                break;
            }
            self.rounds.talks_on(lives).await.map_err(Failure::host)?;
            let dip = self.rounds.dip(dips.width(), off.ms).await;
            let (asked, dip, late) = dip.map_err(Failure::host)?;
            let spans = [("width", Some(dip.width)), ("died", dip.died), ("late", Some(late))];
            self.samples.note("dip", &[("asked", asked)], &spans)?;
            let what = match dip.died {
                Some(died) => format!("it died after {died:.1} ms"),
                None => "it lived on".into(),
            };
            put(&format!("{}: off for {:.1} ms: {what}\n", self.name, dip.width));
            lives = dip.died.is_none();
            if !self.too_late(late, &mut again) {
                dips.take(dip);
            }
        }
        self.rounds.power_off().await.map_err(Failure::host)?;
        Ok(dips.split())
    }

    /// Cuts at a mark on the console, by the figures just found: at once, and at a time after it.
    async fn verify(&mut self, calibration: Calibration, count: u32) -> Result<u8, Failure> {
        let delay = calibration.off_delay().delay;
        self.rounds.power.set_calibration(Some(calibration));
        if count > 0 && self.rounds.shell.is_none() {
            return Err(Failure::usage("--verify needs an image with a [login]: give --image"));
        }
        let mut missed = 0;
        for nth in 1..=count {
            let after = if nth % 2 == 1 { Duration::ZERO } else { 3 * delay };
            let cut = self.rounds.cut_at_mark(after).await;
            let (mark, cut) = cut.map_err(Failure::host)?;
            let us = |us: Option<u64>| Duration::from_micros(us.unwrap_or_default());
            let (died, within) = (us(cut.timing.died_us), us(cut.timing.within_us));
            let last_byte = cut.last_byte.unwrap_or(cut.asked);
            let times =
                [("mark", mark), ("asked", cut.asked), ("died", died), ("last_byte", last_byte)];
            let spans = [("within", Some(ms(within))), ("late", Some(cut.late))];
            self.samples.note("aimed", &times, &spans)?;
            let hit = died.abs_diff(last_byte) <= within;
            missed += u32::from(!hit && cut.late <= LATE);
            let from_mark = |at: Duration| ms(at.saturating_sub(mark));
            put(&format!(
                "{}: cut {nth} of {count} at a mark: off asked for {:.1} ms after it, to be silent \
                 {:.1} ± {:.1} ms after it, silent at {:.1} ms: {}\n",
                self.name,
                from_mark(cut.asked),
                from_mark(died),
                ms(within),
                from_mark(last_byte),
                if hit { "within" } else { "outside" }
            ));
        }
        if missed * MAY_MISS > count {
            return Err(Failure::host(format!(
                "{missed} of {count} cuts at a mark missed: the jitter is larger than {} cycles \
                 showed; calibrate with more --cycles, or on a host with less load",
                self.rounds.resolutions.len() - count as usize
            )));
        }
        Ok(exit::OK)
    }
}

fn table(calibration: &Calibration, args: &CalibrateArgs) -> String {
    let Calibration { instance, power, off_delay, latency, hold_up, talk, cycles, .. } =
        calibration;
    let by = match talk {
        Talk::Shell => "a loop in its shell",
        Talk::Boot => "its own boot's output, which has gaps; an image with a [login] does better",
    };
    let apart = match (latency, hold_up) {
        (Some(latency), Some(hold_up)) => format!(
            "  latency     {latency}; the relay's, if it opens as fast as it closes\n  \
             hold-up     {hold_up}; from the contact to the last byte\n"
        ),
        _ => {
            let why = match (args.dips, talk) {
                (true, Talk::Shell) => {
                    "the interruptions told too little: the switch may be too slow for them"
                }
                (true, Talk::Boot) => "--dips needs an image with a [login]: give --image",
                _ => "--dips tells them apart",
            };
            format!("  latency     not separable from the hold-up by silence alone; {why}\n")
        }
    };
    format!(
        "{instance}, {power}: {cycles} cuts, seen by {by}\n  off delay   {off_delay}; from the off \
         command to the last byte\n{apart}  jitter is half of the range; error: gaps between \
         bytes, and 2.5 standard errors\n"
    )
}
