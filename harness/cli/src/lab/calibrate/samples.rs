//! `--samples FILE`: every single measurement as a line of JSON, its times on CLOCK_MONOTONIC, so
//! that they can be compared to what other programs of this host have seen.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hil_core::event::Clock;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

pub(super) struct Samples {
    file: Option<File>,
    /// CLOCK_MONOTONIC at the clock's start, which is taken from the same.
    zero_ns: u64,
}

impl Samples {
    pub(super) fn new(path: Option<&Path>, clock: Clock) -> Result<Samples, Failure> {
        let file = match path {
            None => None,
            Some(path) => Some(File::create(path).map_err(|why| {
                Failure::usage(format!("failed to write --samples {}: {why}", path.display()))
            })?),
        };
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        Ok(Samples { file, zero_ns: now.saturating_sub(ns(clock.now())) })
    }

    /// `times`: since the clock's start, told as `<name>_mono_ns`; `spans` as `<name>_ms`.
    pub(super) fn note(
        &mut self,
        what: &str,
        times: &[(&str, Duration)],
        spans: &[(&str, Option<f64>)],
    ) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = Map::new();
        line.insert("what".into(), json!(what));
        for (name, at) in times {
            line.insert(format!("{name}_mono_ns"), json!(self.zero_ns + ns(*at)));
        }
        for (name, span) in spans {
            line.insert(format!("{name}_ms"), json!(span));
        }
        writeln!(file, "{}", Value::Object(line))
            .map_err(|why| Failure::host(format!("failed to write --samples: {why}")))
    }
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
