//! Telling a contact's latency from a board's hold-up, by interruptions shorter than the off delay.
//!
//! Off is asked for, and on again `width` later. Both commands travel as long, so the contact is
//! open for `width` too, wherever that lies. A board that lives through it, or dies only by the
//! power's return, has a hold-up longer than `width`; one that died before has a shorter one:
//!
//! ```text
//! off asked           contact opens                          hold-up over
//! |------ latency -----|------------------- hold-up ---------------|
//!        |------- width -------|------ latency -----| contact closes
//! ```
//!
//! So the width is stepped up and down around the hold-up. A board that its power's return resets
//! tells even more: its last byte came when the contact closed, one latency after the on command.
//!
//! What is assumed: the contact opens as fast as it closes (a Songle SRD relay's data sheet allows
//! 5 and 10 ms at most).

use super::Figure;

/// What one interruption did. Milliseconds since the off command was begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dip {
    /// When on was asked for.
    pub width: f64,
    /// When the board's last byte came, if it died.
    pub died: Option<f64>,
}

/// What an off delay consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub latency: Figure,
    pub hold_up: Figure,
}

/// So many deaths by the power's return tell the latency well enough.
const RETURNS: usize = 8;
/// So many changes of direction tell the hold-up well enough.
const TURNS: usize = 10;
/// Below these many the series says nothing.
const FEWEST: usize = 3;

/// A series of interruptions.
#[derive(Clone, Debug)]
pub struct Dips {
    off: Figure,
    /// How long a command takes on its wire.
    sending: f64,
    /// How far a single time may be off.
    resolution: f64,
    width: f64,
    step: f64,
    held: Option<bool>,
    turns: Vec<f64>,
    returns: Vec<f64>,
}

impl Dips {
    /// `off`: the whole delay; `sending`: how long a command is on its wire; `resolution`: how far
    /// a single time may be off. Milliseconds.
    pub fn new(off: Figure, sending: f64, resolution: f64) -> Dips {
        let (width, step) = (off.ms / 2.0, off.ms / 4.0);
        let (turns, returns) = (Vec::new(), Vec::new());
        Dips { off, sending, resolution, width, step, held: None, turns, returns }
    }

    /// How long the next one is to be.
    pub fn width(&self) -> f64 {
        self.width
    }

    pub fn is_done(&self) -> bool {
        self.returns.len() >= RETURNS || self.turns.len() >= TURNS
    }

    /// Takes what came of one.
    pub fn take(&mut self, dip: Dip) {
        let sure = self.off.ms - self.off.within_ms();
        let returned = dip.died.filter(|died| *died > dip.width && *died < sure);
        if let Some(died) = returned {
            self.returns.push(died - dip.width);
        }
        let held = dip.died.is_none() || returned.is_some();
        if self.held.is_some_and(|before| before != held) {
            self.turns.push(dip.width);
            self.step = (self.step / 2.0).max(self.off.ms / 24.0);
        }
        self.held = Some(held);
        let next = if held { self.width + self.step } else { self.width - self.step };
        // Longer than the whole delay it would be an ordinary cut, and no interruption below 0.
        self.width = next.clamp(0.0, self.off.ms);
    }

    /// What the series tells; `None` while that is too little.
    pub fn split(&self) -> Option<Split> {
        if self.returns.len() >= FEWEST {
            let samples: Vec<f64> = self.returns.iter().map(|at| at - self.sending).collect();
            let latency = Figure::of(&samples, self.resolution)?;
            return Some(Split { latency, hold_up: self.rest(latency) });
        }
        // The first turns are on the way there.
        let around = self.turns.get(2..).filter(|turns| turns.len() > FEWEST)?;
        let mut hold_up = Figure::of(around, self.resolution)?;
        // The steps' own swing is no jitter of the board's, and hides it.
        hold_up.error_ms += self.step / 2.0;
        Some(Split { latency: self.rest(hold_up), hold_up })
    }

    /// What is left of the delay beside `known`.
    fn rest(&self, known: Figure) -> Figure {
        Figure {
            ms: self.off.ms - self.sending - known.ms,
            jitter_ms: (self.off.jitter_ms - known.jitter_ms).max(0.0),
            error_ms: self.off.error_ms + known.error_ms,
            set_aside: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDING: f64 = 4.2;

    /// Evenly spread in -1..1, the same every time.
    fn noise(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// A board of latency 8 ± 2 and hold-up 60 ± 10, as the virtual lab models them.
    struct Board {
        seed: u64,
        /// Interruptions longer than this reset it when the power returns.
        brown_out: f64,
    }

    impl Board {
        fn off(&mut self) -> f64 {
            SENDING + 8.0 + 2.0 * noise(&mut self.seed) + 60.0 + 10.0 * noise(&mut self.seed)
        }

        fn dip(&mut self, width: f64) -> Dip {
            let opens = SENDING + 8.0 + 2.0 * noise(&mut self.seed);
            let closes = (width + SENDING + 8.0 + 2.0 * noise(&mut self.seed)).max(opens);
            let dies = opens + 60.0 + 10.0 * noise(&mut self.seed);
            let died = match (dies < closes, closes - opens >= self.brown_out) {
                (true, _) => Some(dies),
                (false, true) => Some(closes),
                (false, false) => None,
            };
            Dip { width, died }
        }

        fn split(&mut self) -> Split {
            let delays: Vec<f64> = (0..10).map(|_| self.off()).collect();
            let mut dips = Dips::new(Figure::of(&delays, 1.0).unwrap(), SENDING, 1.0);
            for _ in 0..60 {
                if dips.is_done() {
                    break;
                }
                dips.take(self.dip(dips.width()));
            }
            dips.split().unwrap()
        }
    }

    fn recovered(brown_out: f64) -> Vec<(f64, f64)> {
        let miss = |figure: Figure, truth: f64| (figure.ms - truth).abs() / figure.error_ms;
        let splits = (0..200).map(|seed| Board { seed, brown_out }.split());
        splits.map(|s| (miss(s.latency, 8.0), miss(s.hold_up, 60.0))).collect()
    }

    #[test]
    fn latency_and_hold_up_are_recovered_within_the_stated_error() {
        // Reset by the power's return, and not.
        for brown_out in [20.0, f64::INFINITY] {
            let misses = recovered(brown_out);
            let bad = misses.iter().filter(|(latency, hold_up)| *latency > 1.0 || *hold_up > 1.0);
            // Stated as two standard errors: one in twenty may miss.
            let bad = bad.count();
            assert!(bad <= misses.len() / 20, "brown-out {brown_out}: {bad} of 200 missed");
        }
    }

    #[test]
    fn a_series_of_one_outcome_tells_nothing() {
        let off = Figure { ms: 70.0, jitter_ms: 5.0, error_ms: 2.0, set_aside: 0 };
        let mut dips = Dips::new(off, SENDING, 1.0);
        for _ in 0..20 {
            dips.take(Dip { width: dips.width(), died: None });
        }
        assert_eq!(dips.split(), None);
        assert!((dips.width() - 70.0).abs() < 1e-9, "it stays within the delay");
    }
}
