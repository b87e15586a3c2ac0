//! What a power cut takes: policies, and how a seed draws from them. What it may take at all, and
//! what the disk looks like afterwards, is the cache's.

use std::fmt;

use crate::cache::Candidate;
use crate::rng::Rng;

/// Which of the pending requests survive a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// All do: what a plain kill of the emulator shows.
    KeepAll,
    /// None do: exactly what is durable remains.
    DropAll,
    /// A seeded draw: each is kept, dropped, or torn after a prefix of whole atomic units.
    Subset,
}

impl Policy {
    /// The name used in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Policy::KeepAll => "keep-all",
            Policy::DropAll => "drop-all",
            Policy::Subset => "subset",
        }
    }
}

/// What a cut did. Requests are writes, write-zeroes and trims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutReport {
    pub policy: Policy,
    pub seed: u64,
    /// Requests that could have been lost: `kept + dropped + torn`.
    pub pending: u64,
    pub kept: u64,
    pub dropped: u64,
    pub torn: u64,
    /// Of the pending ones, those whose reply had not been sent.
    pub in_flight: u64,
    /// Of the pending ones, (parts of) trims that a flush had passed.
    pub flushed_trims: u64,
    pub bytes_pending: u64,
    pub bytes_lost: u64,
    /// Requests since the last cut that could not be lost only because the cache was full. Not
    /// zero means that this cut was milder than the medium might have been.
    pub destaged: u64,
}

impl fmt::Display for CutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CutReport { pending, kept, dropped, torn, in_flight, .. } = self;
        write!(f, "{}", self.policy.name())?;
        if self.policy == Policy::Subset {
            write!(f, " (seed {})", self.seed)?;
        }
        write!(f, ": of {pending} pending ({in_flight} in flight) kept {kept}, dropped {dropped}")?;
        write!(f, ", tore {torn}; {} of {} bytes lost", self.bytes_lost, self.bytes_pending)?;
        if self.destaged > 0 {
            write!(f, "; {} more were evicted from the full cache", self.destaged)?;
        }
        Ok(())
    }
}

/// Draws the fate of each pending request, and counts.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: Rng,
    unit: u64,
    /// Of 16, how many requests a subset keeps. Drawn once for a cut, so that "all but one" and
    /// "only one" come up and not just halves.
    keep: u64,
    pub(crate) report: CutReport,
}

impl Draw {
    pub(crate) fn new(policy: Policy, seed: u64, unit: u64, destaged: u64) -> Draw {
        let mut rng = Rng::new(seed);
        let keep = [1, 4, 8, 8, 12, 15][rng.below(6) as usize];
        let report = CutReport {
            policy,
            seed,
            pending: 0,
            kept: 0,
            dropped: 0,
            torn: 0,
            in_flight: 0,
            flushed_trims: 0,
            bytes_pending: 0,
            bytes_lost: 0,
            destaged,
        };
        Draw { rng, unit, keep, report }
    }

    /// Up to which offset `candidate` survives.
    pub(crate) fn fate(&mut self, candidate: &Candidate) -> u64 {
        let (start, end) = (candidate.range.start, candidate.range.end);
        let upto = match self.report.policy {
            Policy::KeepAll => end,
            Policy::DropAll => start,
            Policy::Subset => self.draw(start, end),
        };
        let report = &mut self.report;
        report.pending += 1;
        report.in_flight += u64::from(candidate.in_flight);
        report.flushed_trims += u64::from(candidate.flushed_trim);
        report.bytes_pending += end - start;
        report.bytes_lost += end - upto;
        match upto {
            _ if upto == end => report.kept += 1,
            _ if upto == start => report.dropped += 1,
            _ => report.torn += 1,
        }
        upto
    }

    fn draw(&mut self, start: u64, end: u64) -> u64 {
        // Always the same number of draws, so that one request's size does not shift the others.
        let (tear, coin, place) = (self.rng.below(4) == 0, self.rng.below(16), self.rng.next());
        let first = start / self.unit + 1;
        let places = end.div_ceil(self.unit).saturating_sub(first);
        if tear && places > 0 {
            return (first + place % places) * self.unit;
        }
        if coin < self.keep { end } else { start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tears_fall_on_the_devices_units_and_inside_the_request() {
        let candidate =
            Candidate { seq: 1, range: 3584..16896, in_flight: false, flushed_trim: false };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            seen.insert(Draw::new(Policy::Subset, seed, 4096, 0).fate(&candidate));
        }
        let all: Vec<u64> = seen.into_iter().collect();
        assert_eq!(all, [3584, 4096, 8192, 12288, 16384, 16896]);
        let small = Candidate { range: 4096..8192, ..candidate };
        for seed in 0..300 {
            let upto = Draw::new(Policy::Subset, seed, 4096, 0).fate(&small);
            assert!(upto == 4096 || upto == 8192);
        }
    }
}
