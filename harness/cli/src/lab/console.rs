//! `hil lab console`: a board's console at one's own terminal, raw, captured all the while.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hil_console::{Capture, CaptureOptions};
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::rig::lost;
use hil_core::trouble::Trouble;
use hil_core::verdict::exit;
use hil_lab::Instance;
use hil_lab::lock::now;
use hil_lab::serial::Health;
use regex::bytes::Regex;
use tokio::sync::{mpsc, watch};

use super::args::ConsoleArgs;
use super::command::{Bench, failed, stop, tell};
use super::taken::Taken;
use super::terminal::{self, Raw, say, show};
use super::{command_line, me};
use crate::failure::Failure;

/// A line that takes no key for this long is told.
const SEND: Duration = Duration::from_secs(2);

/// As much of the stream is shown at once.
const PIECE: usize = 64 << 10;

pub(super) async fn console(bench: &Bench, args: &ConsoleArgs) -> Result<u8, Failure> {
    let instance = bench.instance(&args.instance)?;
    if !terminal::is_there() {
        return Err(Failure::usage(
            "`hil lab console` needs a terminal as its input\nhelp: a program that wants a \
             board's output reads the capture: `hil run --out DIR`, DIR/BOARD/console.log",
        ));
    }
    let board = bench.board(instance)?;
    let dir = match &args.log {
        Some(dir) => dir.clone(),
        None => own_folder(instance)?,
    };
    let stop = stop();
    tokio::pin!(stop);
    let opening = async {
        // By hand: `hil lab power` in another terminal is what a console is looked at with.
        let taken = Taken::take_as(instance, &me(command_line(), true)).await?;
        let options = CaptureOptions::default();
        let capture = Capture::open(&dir, Clock::new(), &board.stages, Masker::default(), options);
        let capture = capture.map_err(Failure::host)?;
        let line = instance.console.open(board.console.baud).await.map_err(failed)?;
        capture.attach(line.stream).await;
        Ok::<_, Failure>((taken, capture, line.health))
    };
    let (taken, capture, health) = tokio::select! {
        biased;
        () = &mut stop => return Err(super::command::interrupted()),
        opened = opening => opened?,
    };
    let label = instance.console.label(board.console.baud);
    let key = name_of(args.escape);
    tell(&format!("{}, {label}; {key} ends; captured in {}", instance.name, dir.display()));
    let mut session = Session { capture, health, escape: args.escape, keeper: taken.keeper_gone() };
    let ended = tokio::select! {
        () = stop => Ok(()),
        ended = session.run() => ended,
    };
    session.capture.detach(Duration::ZERO).await;
    if let Some(fault) = session.capture.fault() {
        tell(&format!("the capture is incomplete: {fault}"));
    }
    ended?;
    taken.leave().await?;
    let left = "its power is as it was";
    tell(&format!("left {}; {left}; captured in {}", instance.name, dir.display()));
    Ok(exit::OK)
}

/// A folder for this session alone.
fn own_folder(instance: &Instance) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|it| it.join(".local/state")));
    let state = state.ok_or_else(|| {
        Failure::usage("neither HOME nor XDG_STATE_HOME is set\nhelp: give --log DIR")
    })?;
    let name = format!("{}-{}", now().replace(':', ""), std::process::id());
    Ok(state.join("hil/consoles").join(&instance.name).join(name))
}

/// As people write it: `Ctrl-]`.
fn name_of(key: u8) -> String {
    match key {
        0..0x20 => format!("Ctrl-{}", char::from(key + 0x40)),
        key => char::from(key).to_string(),
    }
}

/// The time between the terminal's two modes.
struct Session {
    capture: Arc<Capture>,
    health: watch::Receiver<Health>,
    escape: u8,
    keeper: Option<watch::Receiver<Option<Trouble>>>,
}

impl Session {
    /// Until the escape key, or until there is nobody left to speak to.
    async fn run(&mut self) -> Result<(), Failure> {
        let no_terminal =
            |why: std::io::Error| Failure::host(format!("failed to use the terminal: {why}"));
        let anything = Regex::new("(?s-u).").map_err(Failure::host)?;
        terminal::restore_at_panic();
        let _raw = Raw::enter(std::io::stdin()).map_err(no_terminal)?;
        let mut keys = terminal::keys().map_err(no_terminal)?;
        let mut keeper = self.keeper.take();
        let mut shown = 0;
        loop {
            let day = Deadline::within(secs(86_400));
            tokio::select! {
                typed = keys.recv() => match typed {
                    Some(typed) if self.typed(&typed, &mut keys).await => {}
                    _ => return Ok(()),
                },
                grown = self.capture.expect(shown, &anything, day) => if grown.is_ok() {
                    let bytes = self.capture.read(shown, PIECE).map_err(Failure::host)?;
                    shown += bytes.len() as u64;
                    show(&bytes).map_err(no_terminal)?;
                },
                Ok(()) = self.health.changed() => told(&self.health.borrow_and_update()),
                trouble = gone(&mut keeper) => return Err(Failure::host(trouble)),
            }
        }
    }

    /// Sends what was typed; false at the escape key.
    async fn typed(&self, typed: &[u8], keys: &mut mpsc::Receiver<Vec<u8>>) -> bool {
        let end = typed.iter().position(|key| *key == self.escape);
        let before = &typed[..end.unwrap_or(typed.len())];
        let sent = async {
            if before.is_empty() {
                return Ok(Ok(()));
            }
            tokio::time::timeout(SEND, self.capture.send(before)).await
        };
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => say(trouble),
            Err(_) => {
                say("the line takes no key");
                // What was typed meanwhile would come all at once, and late; the way out stays.
                while let Ok(more) = keys.try_recv() {
                    if more.contains(&self.escape) {
                        return false;
                    }
                }
            }
        }
        end.is_none()
    }
}

fn told(health: &Health) {
    match &health.gone {
        Some(why) => say(format_args!("the line is gone: {why}")),
        None if health.replugs > 0 => say("the line is there"),
        None => {}
    }
    if let Some(damage) = health.damage() {
        say(format_args!("the line {damage}"));
    }
}

async fn gone(keeper: &mut Option<watch::Receiver<Option<Trouble>>>) -> Trouble {
    match keeper {
        Some(keeper) => lost(keeper).await,
        None => std::future::pending().await,
    }
}
