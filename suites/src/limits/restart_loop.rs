//! A container that dies at once: the engine must not start it for ever at full speed.

use hil_core::prelude::*;

use super::neighbour::Neighbour;
use crate::bench::{Bench, PAUSE};

/// How many starts are watched: Docker doubles its pause from 0.1 s on, so that the last of them
/// is 3.2 s.
const STARTS: usize = 7;

/// By how much the longest pause must exceed the first, in seconds.
const GROWN: f64 = 1.5;

pub(super) async fn backs_off(rig: &mut Rig, bench: &Bench) -> Outcome {
    let neighbour = Neighbour::start(rig, bench).await?;
    let note = "read up rest </proc/uptime; echo $up; exit 1";
    let hog = bench.start(rig, "hog", &["--restart=always"], &["sh", "-c", note]).await?;
    let deadline = rig.within(secs(25));
    let starts = loop {
        let logs = bench.engine.logs(rig, &hog).await?;
        let starts: Vec<f64> = logs.stdout.lines().filter_map(|line| line.parse().ok()).collect();
        if starts.len() >= STARTS {
            break starts;
        }
        check!(!deadline.passed(), "{} starts within {deadline}, not {STARTS}", starts.len());
        tokio::time::sleep(PAUSE).await;
    };
    let pauses: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (first, last) = (pauses[0], pauses[STARTS - 2]);
    rig.fact("restart-loop.last-pause", last, "s");
    check!(last >= first + GROWN, "the pauses between starts do not grow: {pauses:.1?} s");
    neighbour.is_unharmed(rig, bench).await
}
