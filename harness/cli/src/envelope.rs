//! `hil envelope`: the smallest device on which a suite still passes, found by whole runs.

use std::fmt;

use hil_core::envelope::Envelope;
use hil_core::verdict::exit;

use crate::args::{EnvelopeArgs, Sought};
use crate::failure::Failure;
use crate::run;
use crate::show::put;

/// A run whose answer is neither pass nor fail ends the search.
enum Stop {
    Code(u8),
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

/// What the search came to, in MiB.
#[derive(Debug, PartialEq)]
enum Found {
    /// Not even the most is enough.
    Nothing,
    /// It passes here; below, `fails_at` was seen to fail, or nothing lower was to be tried.
    Passes { at: u32, fails_at: Option<u32> },
}

pub(crate) fn find(args: &EnvelopeArgs) -> Result<u8, Failure> {
    let Sought::Ram = args.find;
    let (least, most, step) = (args.from, args.to, args.step);
    if least > most {
        let why = format!("--from {least}M is more than --to {most}M");
        return Err(Failure::usage(why));
    }
    let mut tried = Vec::new();
    let found = smallest(least, most, step, |ram| {
        let code = run_at(args, ram)?;
        let passed = match code {
            exit::OK => true,
            exit::FAILED => false,
            other => return Err(Stop::Code(other)),
        };
        tried.push((ram, passed));
        put(&format!("ram={ram}M {}\n", if passed { "passes" } else { "fails" }));
        Ok(passed)
    });
    match found {
        Ok(found) => {
            put(&format!("\n{}\n", Told { found: &found, tried: &tried, least, most, step }));
            Ok(if found == Found::Nothing { exit::FAILED } else { exit::OK })
        }
        Err(Stop::Code(code)) => Ok(code),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// One whole run in its own folder, in an envelope of so much RAM and what else was asked for.
fn run_at(args: &EnvelopeArgs, ram: u32) -> Result<u8, Failure> {
    let mut run = args.run.clone();
    let envelope = run.select.envelope.unwrap_or_default();
    run.select.envelope = Some(Envelope { ram_mib: Some(ram), ..envelope });
    run.out = args.run.out.join(format!("ram-{ram}M"));
    run::run(&run)
}

/// Halves the span between what fails and what passes until no step is left between them. A pass
/// is taken to mean that more passes, too.
fn smallest<E>(
    least: u32,
    most: u32,
    step: u32,
    mut passes: impl FnMut(u32) -> Result<bool, E>,
) -> Result<Found, E> {
    if !passes(most)? {
        return Ok(Found::Nothing);
    }
    let (mut at, mut fails_at) = (most, None);
    // In steps upwards from the least; the first that may be tried stands at `low`.
    let (mut low, mut high) = (0, (most - least).div_ceil(step));
    while low < high {
        let middle = low + (high - low) / 2;
        let ram = least + middle * step;
        if passes(ram)? {
            (at, high) = (ram, middle);
        } else {
            (fails_at, low) = (Some(ram), middle + 1);
        }
    }
    Ok(Found::Passes { at, fails_at })
}

/// The search in words, with how fine it was.
struct Told<'t> {
    found: &'t Found,
    tried: &'t [(u32, bool)],
    least: u32,
    most: u32,
    step: u32,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { found, tried, least, most, step } = self;
        let runs = tried.len();
        match found {
            Found::Nothing => write!(f, "it fails with {most} MiB already, the most to be tried")?,
            Found::Passes { at, fails_at: None } => {
                write!(f, "it passes with {at} MiB; nothing below {least} MiB was to be tried")?;
            }
            Found::Passes { at, fails_at: Some(below) } => {
                write!(f, "it passes with {at} MiB and fails with {below} MiB")?;
            }
        }
        write!(f, " ({runs} runs in steps of {step} MiB, each amount run once)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(least: u32, most: u32, step: u32, needed: u32) -> (Found, usize) {
        let mut runs = 0;
        let found = smallest(least, most, step, |ram| {
            runs += 1;
            Ok::<_, ()>(ram >= needed)
        });
        (found.unwrap(), runs)
    }

    #[test]
    fn the_smallest_that_passes_is_found_in_few_runs() {
        let found = Found::Passes { at: 240, fails_at: Some(224) };
        assert_eq!(search(64, 1024, 16, 230), (found, 7));
    }

    #[test]
    fn ends_are_told() {
        assert_eq!(search(64, 512, 64, 513).0, Found::Nothing);
        assert_eq!(search(64, 512, 64, 1).0, Found::Passes { at: 64, fails_at: None });
        assert_eq!(search(64, 100, 16, 99).0, Found::Passes { at: 100, fails_at: Some(96) });
    }
}
