//! A container that dies at once: the engine must not start it for ever at full speed.

use hil_core::prelude::*;

use super::neighbour::Neighbour;
use crate::bench::{Bench, PAUSE};

/// How many starts are watched: Docker doubles its pause from 0.1 s on, so that the last of them
/// is 3.2 s. On a slow board each start takes seconds itself, now more and now less: there two more are
/// watched, the last of 12.8 s.
const STARTS: usize = 7;
const STARTS_OF_SLOW: usize = 9;

/// By how much the longest pause must exceed the first, in seconds.
const GROWN: f64 = 1.5;

pub(super) async fn backs_off(rig: &mut Rig, bench: &Bench) -> Outcome {
    let neighbour = Neighbour::start(rig, bench).await?;
    let note = "read up rest </proc/uptime; echo $up; exit 1";
    let hog = bench.start(rig, "hog", &["--restart=always"], &["sh", "-c", note]).await?;
    let deadline = rig.within(secs(25));
    let pauses = loop {
        let logs = bench.engine.logs(rig, &hog).await?;
        let starts: Vec<f64> = logs.stdout.lines().filter_map(|line| line.parse().ok()).collect();
        let pauses: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let enough = starts.len() >= STARTS;
        if enough && have_grown(&pauses) || starts.len() >= STARTS_OF_SLOW {
            break pauses;
        }
        if deadline.passed() {
            check!(enough, "{} starts within {deadline}, not {STARTS}", starts.len());
            break pauses;
        }
        tokio::time::sleep(PAUSE).await;
    };
    rig.fact("restart-loop.last-pause", pauses.last().copied().unwrap_or_default(), "s");
    check!(have_grown(&pauses), "the pauses between starts do not grow: {pauses:.1?} s");
    neighbour.is_unharmed(rig, bench).await
}

fn have_grown(pauses: &[f64]) -> bool {
    pauses.first().zip(pauses.last()).is_some_and(|(first, last)| *last >= first + GROWN)
}
