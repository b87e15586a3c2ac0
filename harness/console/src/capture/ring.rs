//! The stream's last bytes in memory, and when bytes arrived: two bounded records of the present.
//! What has left them is on disk (`store`) or known more coarsely.

use std::collections::VecDeque;
use std::time::Duration;

/// The last bytes of the stream, addressed by their offset in it.
pub(crate) struct Ring {
    bytes: Box<[u8]>,
    /// Bytes ever pushed: the offset of the next one.
    end: u64,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Ring {
        Ring { bytes: vec![0; capacity].into(), end: 0 }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Offset of the oldest byte still here.
    pub(crate) fn start(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.index(self.end);
            let n = bytes.len().min(self.bytes.len() - at);
            self.bytes[at..at + n].copy_from_slice(&bytes[..n]);
            self.end += n as u64;
            bytes = &bytes[n..];
        }
    }

    /// Appends to `out` what stands between two offsets, both inside the ring.
    pub(crate) fn copy(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let mut from = from.max(self.start());
        while from < to.min(self.end) {
            let at = self.index(from);
            let n = ((to.min(self.end) - from) as usize).min(self.bytes.len() - at);
            out.extend_from_slice(&self.bytes[at..at + n]);
            from += n as u64;
        }
    }

    fn index(&self, offset: u64) -> usize {
        (offset % self.bytes.len() as u64) as usize
    }
}

/// How many arrivals are kept of the recent past, and as many of all that was before.
const ARRIVALS: usize = 2048;

/// Arrivals nearer to each other than this are one.
const GRAIN: Duration = Duration::from_micros(500);

/// When bytes arrived: pairs of a stream's length and a time by which it began to grow to it.
#[derive(Default)]
struct Track(VecDeque<(u64, Duration)>);

impl Track {
    /// An arrival within the grain lengthens the last one, whose time stays the earlier.
    fn push(&mut self, end: u64, at: Duration, grain: Duration) {
        match self.0.back_mut() {
            Some(last) if at.saturating_sub(last.1) < grain => last.0 = end,
            _ => self.0.push_back((end, at)),
        }
    }

    fn at(&self, offset: u64) -> Option<Duration> {
        let nth = self.0.partition_point(|(end, _)| *end <= offset);
        self.0.get(nth).map(|(_, at)| *at)
    }
}

/// When each byte arrived: exactly in the recent past, more and more coarsely before that, so
/// that all of a run stays covered.
pub(crate) struct Arrivals {
    recent: Track,
    old: Track,
    grain: Duration,
}

impl Arrivals {
    pub(crate) fn new() -> Arrivals {
        Arrivals { recent: Track::default(), old: Track::default(), grain: GRAIN }
    }

    pub(crate) fn push(&mut self, end: u64, at: Duration) {
        self.recent.push(end, at, GRAIN);
        if self.recent.0.len() <= ARRIVALS {
            return;
        }
        if let Some((end, at)) = self.recent.0.pop_front() {
            self.old.push(end, at, self.grain);
        }
        if self.old.0.len() > ARRIVALS {
            self.grain *= 2;
            let mut thinned = Track::default();
            for (end, at) in self.old.0.drain(..) {
                thinned.push(end, at, self.grain);
            }
            self.old = thinned;
        }
    }

    /// When the byte at `offset` had arrived.
    pub(crate) fn at(&self, offset: u64) -> Duration {
        let last = || self.recent.0.back().map(|(_, at)| *at);
        let at = self.old.at(offset).or_else(|| self.recent.at(offset));
        at.or_else(last).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_bytes_at_their_offsets() {
        let mut ring = Ring::new(8);
        for chunk in [b"abc".as_slice(), b"defgh", b"ijklmnopqrstu", b"v"] {
            ring.push(chunk);
        }
        let mut out = Vec::new();
        ring.copy(0, 100, &mut out);
        assert_eq!((ring.start(), ring.end(), out.as_slice()), (14, 22, b"opqrstuv".as_slice()));
        out.clear();
        ring.copy(16, 19, &mut out);
        assert_eq!(out, b"qrs");
    }

    #[test]
    fn arrivals_stay_bounded_and_cover_the_run() {
        let mut arrivals = Arrivals::new();
        for ms in 1..100_000_u64 {
            arrivals.push(ms * 10, Duration::from_millis(ms));
        }
        assert!(arrivals.recent.0.len() <= ARRIVALS && arrivals.old.0.len() <= ARRIVALS);
        assert_eq!(arrivals.at(999_985), Duration::from_millis(99_999));
        let early = arrivals.at(50_000).as_millis();
        assert!((4_900..=5_001).contains(&early), "{early}");
    }

    #[test]
    fn a_byte_has_the_time_of_the_read_that_brought_it() {
        let mut arrivals = Arrivals::new();
        arrivals.push(3, Duration::from_millis(10));
        arrivals.push(5, Duration::from_millis(20));
        let at = |offset| arrivals.at(offset).as_millis();
        assert_eq!([at(0), at(2), at(3), at(4), at(9)], [10, 10, 20, 20, 20]);
    }
}
