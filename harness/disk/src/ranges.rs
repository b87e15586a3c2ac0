//! Ranges of bytes: a map from disjoint ranges to values, and lists of pieces. It knows nothing of
//! disks; values must mean the same for every part of a range, since ranges get split.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, half-open ranges with a value each.
#[derive(Debug, Default)]
pub(crate) struct RangeMap<V> {
    /// Start to (end, value).
    map: BTreeMap<u64, (u64, V)>,
}

impl<V: Copy> RangeMap<V> {
    pub(crate) fn new() -> RangeMap<V> {
        RangeMap { map: BTreeMap::new() }
    }

    /// How many ranges are held.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
    }

    /// The range with the lowest start.
    pub(crate) fn first(&self) -> Option<(Range<u64>, V)> {
        self.map.iter().next().map(|(&start, &(end, value))| (start..end, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<u64>, V)> + '_ {
        self.map.iter().map(|(&start, &(end, value))| (start..end, value))
    }

    /// The parts of held ranges that lie inside `within`, in ascending order.
    pub(crate) fn overlapping(
        &self,
        within: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, V)> + '_ {
        let before = self.map.range(..within.start).next_back();
        let first = before.filter(|(_, (end, _))| *end > within.start);
        let inside = within.start..within.end.max(within.start);
        let (low, high) = (within.start, within.end);
        first
            .into_iter()
            .chain(self.map.range(inside))
            .map(move |(&start, &(end, value))| (start.max(low)..end.min(high), value))
    }

    /// Removes everything inside `within` and returns what was there.
    pub(crate) fn carve(&mut self, within: Range<u64>) -> Vec<(Range<u64>, V)> {
        let out: Vec<_> = self.overlapping(within.clone()).collect();
        for (part, value) in &out {
            let held = self.map.range(..=part.start).next_back().map(|(&s, &(e, _))| (s, e));
            let Some((start, end)) = held else { continue };
            self.map.remove(&start);
            if start < part.start {
                self.map.insert(start, (part.start, *value));
            }
            if part.end < end {
                self.map.insert(part.end, (end, *value));
            }
        }
        out
    }

    /// Sets `range` to `value`, over whatever was there.
    pub(crate) fn insert(&mut self, range: Range<u64>, value: V) {
        if range.start >= range.end {
            return;
        }
        self.carve(range.clone());
        self.map.insert(range.start, (range.end, value));
    }

    /// Removes the parts inside `within` whose value is `gone`.
    pub(crate) fn remove_where(&mut self, within: Range<u64>, gone: impl Fn(V) -> bool) {
        if !self.overlapping(within.clone()).any(|(_, value)| gone(value)) {
            return;
        }
        for (part, value) in self.carve(within) {
            if !gone(value) {
                self.map.insert(part.start, (part.end, value));
            }
        }
    }
}

/// What is left of `pieces` without `gone`.
pub(crate) fn subtract(pieces: &[Range<u64>], gone: &Range<u64>) -> Vec<Range<u64>> {
    let mut left = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces {
        if gone.end <= piece.start || piece.end <= gone.start {
            left.push(piece.clone());
            continue;
        }
        if piece.start < gone.start {
            left.push(piece.start..gone.start);
        }
        if gone.end < piece.end {
            left.push(gone.end..piece.end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn agrees_with_an_array_over_random_operations() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut map = RangeMap::new();
            let mut plain = [None; 64];
            for step in 0..60u64 {
                let a = rng.below(64);
                let b = a + rng.below(64 - a + 1);
                match rng.below(3) {
                    0 => {
                        map.insert(a..b, step);
                        plain[a as usize..b as usize].fill(Some(step));
                    }
                    1 => {
                        let carved: u64 =
                            map.carve(a..b).iter().map(|(r, _)| r.end - r.start).sum();
                        let held = plain[a as usize..b as usize].iter().flatten().count();
                        assert_eq!(carved as usize, held, "seed {seed} step {step}");
                        plain[a as usize..b as usize].fill(None);
                    }
                    _ => {
                        map.remove_where(a..b, |v| v % 2 == 0);
                        for slot in &mut plain[a as usize..b as usize] {
                            *slot = slot.filter(|v| v % 2 != 0);
                        }
                    }
                }
                let mut seen = [None; 64];
                for (range, value) in map.iter() {
                    seen[range.start as usize..range.end as usize].fill(Some(value));
                }
                assert_eq!(seen, plain, "seed {seed} step {step}");
                let low = a..(a + 5).min(64);
                for (range, value) in map.overlapping(low.clone()) {
                    assert!(range.start >= low.start && range.end <= low.end);
                    assert!(
                        plain[range.start as usize..range.end as usize]
                            .iter()
                            .all(|v| *v == Some(value))
                    );
                }
            }
        }
    }

    #[test]
    fn subtract_splits_and_trims() {
        let two = [0..10, 20..30];
        assert_eq!(subtract(&two, &(5..25)), [0..5, 25..30]);
        assert_eq!(subtract(&two[..1], &(3..4)), [0..3, 4..10]);
        assert_eq!(subtract(&two, &(0..10)), two[1..]);
        assert_eq!(subtract(&two, &(10..20)), two);
    }
}
