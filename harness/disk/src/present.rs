//! Which 512-byte sectors a layer holds itself. A two-level bitmap whose leaves collapse when they
//! are empty or full: at most 1 MiB for a disk of 4 GiB, next to nothing for one written throughout.

use std::ops::Range;

/// The smallest unit of a request, a layer and a tear.
pub const SECTOR: u64 = 512;

const WORDS: usize = 512;
/// Sectors a leaf answers for: 16 MiB of disk.
const LEAF: u64 = WORDS as u64 * 64;

#[derive(Debug, Clone)]
enum Leaf {
    Empty,
    Full,
    Mixed(Box<Bits>),
}

#[derive(Debug, Clone)]
struct Bits {
    words: [u64; WORDS],
    set: u64,
}

/// A set of sectors.
#[derive(Debug)]
pub(crate) struct Sectors {
    leaves: Vec<Leaf>,
}

impl Sectors {
    pub(crate) fn new(sectors: u64) -> Sectors {
        Sectors { leaves: vec![Leaf::Empty; sectors.div_ceil(LEAF) as usize] }
    }

    /// What the set costs in memory.
    pub(crate) fn bytes(&self) -> usize {
        let mixed = self.leaves.iter().filter(|leaf| matches!(leaf, Leaf::Mixed(_))).count();
        self.leaves.capacity() * size_of::<Leaf>() + mixed * size_of::<Bits>()
    }

    pub(crate) fn contains(&self, sector: u64) -> bool {
        match self.leaves.get((sector / LEAF) as usize) {
            None | Some(Leaf::Empty) => false,
            Some(Leaf::Full) => true,
            Some(Leaf::Mixed(bits)) => {
                let at = sector % LEAF;
                bits.words[(at / 64) as usize] >> (at % 64) & 1 == 1
            }
        }
    }

    /// Adds the sectors of `range`; those beyond the end of the set are ignored.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        let mut at = range.start;
        while at < range.end {
            let base = at / LEAF * LEAF;
            let end = range.end.min(base + LEAF);
            let Some(leaf) = self.leaves.get_mut((at / LEAF) as usize) else { return };
            leaf.insert(at - base..end - base);
            at = end;
        }
    }

    /// What is held of the sectors below `limit`, in bytes and in order.
    pub(crate) fn ranges(&self, limit: u64) -> Vec<Range<u64>> {
        let mut at = 0;
        let mut ranges = Vec::new();
        while at < limit {
            let (held, end) = self.run(at, limit);
            if held {
                ranges.push(at * SECTOR..end * SECTOR);
            }
            at = end;
        }
        ranges
    }

    /// Whether `sector` is held, and up to where (below `limit`) that stays so.
    pub(crate) fn run(&self, sector: u64, limit: u64) -> (bool, u64) {
        let held = self.contains(sector);
        let mut at = sector;
        while at < limit {
            let leaf = self.leaves.get((at / LEAF) as usize);
            let uniform = match leaf {
                None | Some(Leaf::Empty) => Some(false),
                Some(Leaf::Full) => Some(true),
                Some(Leaf::Mixed(_)) => None,
            };
            match uniform {
                Some(all) if all == held => at = (at / LEAF + 1) * LEAF,
                Some(_) => break,
                None => {
                    let same = self.same_in_word(at, held);
                    at += same;
                    if same == 0 || !at.is_multiple_of(64) {
                        break;
                    }
                }
            }
        }
        (held, at.min(limit))
    }

    /// How many sectors from `sector` to the end of its word are as `held` says.
    fn same_in_word(&self, sector: u64, held: bool) -> u64 {
        let Some(Leaf::Mixed(bits)) = self.leaves.get((sector / LEAF) as usize) else { return 0 };
        let at = sector % LEAF;
        let word = bits.words[(at / 64) as usize] >> (at % 64);
        let run = if held { (!word).trailing_zeros() } else { word.trailing_zeros() };
        u64::from(run).min(64 - at % 64)
    }
}

impl Leaf {
    fn insert(&mut self, range: Range<u64>) {
        if range == (0..LEAF) {
            *self = Leaf::Full;
        }
        if matches!(self, Leaf::Empty) {
            *self = Leaf::Mixed(Box::new(Bits { words: [0; WORDS], set: 0 }));
        }
        let Leaf::Mixed(bits) = self else { return };
        let mut at = range.start;
        while at < range.end {
            let count = (64 - at % 64).min(range.end - at);
            let ones = if count == 64 { u64::MAX } else { (1 << count) - 1 };
            let word = &mut bits.words[(at / 64) as usize];
            let before = word.count_ones();
            *word |= ones << (at % 64);
            bits.set += u64::from(word.count_ones() - before);
            at += count;
        }
        if bits.set == LEAF {
            *self = Leaf::Full;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn agrees_with_an_array_and_runs_are_maximal() {
        let total = 3 * LEAF + 100;
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut set = Sectors::new(total);
            let mut plain = vec![false; total as usize];
            for _ in 0..12 {
                let a = rng.below(total);
                let spread = if rng.below(3) == 0 { 2 * LEAF } else { 200 };
                let b = (a + rng.below(spread)).min(total);
                set.insert(a..b);
                plain[a as usize..b as usize].fill(true);
            }
            let mut at = 0;
            while at < total {
                let (held, end) = set.run(at, total);
                assert!(end > at);
                assert!(plain[at as usize..end as usize].iter().all(|p| *p == held));
                assert!(end == total || plain[end as usize] != held, "run of {at} ends early");
                at = end;
            }
        }
    }

    #[test]
    fn a_disk_written_throughout_costs_less_than_its_fragments() {
        let sectors = (4 << 30) / SECTOR;
        let mut set = Sectors::new(sectors);
        for at in (0..sectors).step_by(8) {
            set.insert(at..at + 4);
        }
        assert!(set.bytes() > 1 << 20 && set.bytes() < (1 << 20) + 65536, "{}", set.bytes());
        for at in (0..sectors).step_by(8) {
            set.insert(at + 4..at + 8);
        }
        assert!(set.bytes() < 65536, "{}", set.bytes());
        assert_eq!(set.run(5, sectors), (true, sectors));
    }
}
