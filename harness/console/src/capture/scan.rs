//! Looks for a pattern in a growing stream: what a pattern sees, and how a scan goes on where the
//! last one ended. Waiting is not done here.
//!
//! A pattern sees the raw bytes without ANSI sequences and with one `\n` for every line end (see
//! `ansi`); the offsets it is told are raw ones. `^` without `(?m)` stands for the offset the
//! search began at, `$` for the end of what has come so far. A match is at most [`SPAN`] long.

use std::ops::Range;

use regex::bytes::Regex;

use crate::ansi::{Cleaner, Piece};

/// The longest match that is surely found when it comes in several reads.
pub(crate) const SPAN: usize = 4096;

/// How much is looked at in one go.
pub(crate) const WINDOW: usize = 64 << 10;

/// A search that is under way.
pub(crate) struct Scan {
    /// Raw offset of the next window's first byte.
    from: u64,
    /// The cleaned byte before it, so that `\b` and `(?m)^` are right; none at the beginning.
    before: Option<u8>,
    text: Vec<u8>,
    /// Runs of `text` that are contiguous in the stream: where in `text`, at which raw offset.
    runs: Vec<(usize, u64)>,
}

/// What one window held.
pub(crate) enum Found {
    /// Raw offsets and the groups as text.
    Match(Range<u64>, Vec<String>),
    /// Nothing; there is more to look at already.
    More,
    /// Nothing so far.
    Nothing,
}

impl Scan {
    pub(crate) fn new(from: u64) -> Scan {
        Scan { from, before: None, text: Vec::new(), runs: Vec::new() }
    }

    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// Looks at the bytes from [`Scan::from`] on; `last` says that no more have come yet.
    pub(crate) fn look(&mut self, raw: &[u8], last: bool, pattern: &Regex) -> Found {
        self.clean(raw);
        let skip = usize::from(self.before.is_some());
        let Some(hit) = pattern.find_at(&self.text, skip) else {
            return self.go_on(self.text.len().saturating_sub(SPAN).max(skip), raw, last);
        };
        // What follows a window may change a match near its end: look again from the match on.
        if !last && hit.end() + SPAN > self.text.len() && hit.start() > skip {
            return self.go_on(hit.start(), raw, last);
        }
        let groups = pattern.captures_at(&self.text, skip).map_or_else(Vec::new, |found| {
            let text = |group: Option<regex::bytes::Match<'_>>| {
                group.map_or_else(String::new, |g| String::from_utf8_lossy(g.as_bytes()).into())
            };
            found.iter().map(text).collect()
        });
        let start = self.raw(hit.start(), raw.len());
        let end = match hit.is_empty() {
            true => start,
            false => self.raw(hit.end() - 1, raw.len()) + 1,
        };
        Found::Match(start..end, groups)
    }

    fn clean(&mut self, raw: &[u8]) {
        let Scan { from, before, text, runs } = self;
        text.clear();
        runs.clear();
        text.extend(*before);
        let fresh = before.is_none_or(|byte| byte == b'\n');
        Cleaner::new(fresh).clean(*from, raw, |piece| match piece {
            Piece::Text(at, run) => {
                runs.push((text.len(), at));
                text.extend_from_slice(run);
            }
            Piece::Newline(at) => {
                runs.push((text.len(), at));
                text.push(b'\n');
            }
        });
    }

    /// Nothing was found before `keep` (in `text`): the next window begins there.
    fn go_on(&mut self, keep: usize, raw: &[u8], last: bool) -> Found {
        let seen = if last { Found::Nothing } else { Found::More };
        if self.text.len() > keep {
            // A window without a byte to keep begins at the same place again.
            if keep > usize::from(self.before.is_some()) {
                self.from = self.raw(keep, raw.len());
                self.before = Some(self.text[keep - 1]);
            }
        } else if !last {
            // A whole window of nothing but sequences; the last may go on in the next window.
            let whole = memchr::memrchr(b'\x1b', raw).filter(|at| *at > 0);
            self.from += whole.unwrap_or(raw.len()) as u64;
        }
        seen
    }

    /// The raw offset of a byte of `text`.
    fn raw(&self, nth: usize, raw_len: usize) -> u64 {
        if nth >= self.text.len() {
            return self.from + raw_len as u64;
        }
        let run = self.runs.partition_point(|(at, _)| *at <= nth);
        match run.checked_sub(1).and_then(|run| self.runs.get(run)) {
            Some((at, offset)) => offset + (nth - at) as u64,
            None => self.from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream read by read and tells the match.
    fn search(from: usize, reads: &[&[u8]], pattern: &str) -> Option<(Range<u64>, Vec<String>)> {
        let pattern = Regex::new(pattern).unwrap();
        let (mut scan, mut stream) = (Scan::new(from as u64), Vec::new());
        for read in reads {
            stream.extend_from_slice(read);
            loop {
                let begin = (scan.from() as usize).min(stream.len());
                let end = stream.len().min(begin + WINDOW);
                let last = end == stream.len();
                match scan.look(&stream[begin..end], last, &pattern) {
                    Found::Match(range, groups) => return Some((range, groups)),
                    Found::More => {}
                    Found::Nothing => break,
                }
            }
        }
        None
    }

    fn range(from: usize, reads: &[&[u8]], pattern: &str) -> Option<Range<u64>> {
        search(from, reads, pattern).map(|(range, _)| range)
    }

    #[test]
    fn a_match_is_told_in_raw_offsets_through_ansi() {
        let stream = b"\x1b[1mdem\x1b[0mo \x1b[32mlogin\x1b[0m: ";
        let (found, groups) = search(0, &[stream], "(demo) (login|x)(y)?").unwrap();
        assert_eq!(&stream[found.start as usize..found.end as usize], &stream[4..23]);
        assert_eq!(groups, ["demo login", "demo", "login", ""]);
    }

    #[test]
    fn any_split_of_the_stream_finds_the_same() {
        let stream = b"noise\r\nU-Boot \x1b[0m2023.01\r\n=> ";
        let whole = range(0, &[stream], r"U-Boot (\d+\.\d+)\n");
        assert!(whole.is_some());
        for i in 0..stream.len() {
            assert_eq!(range(0, &[&stream[..i], &stream[i..]], r"U-Boot (\d+\.\d+)\n"), whole);
        }
    }

    #[test]
    fn anchors_know_what_stood_before_the_window() {
        let far = vec![b'x'; 3 * SPAN];
        assert_eq!(range(0, &[&far, b"ready"], "^ready"), None);
        assert_eq!(range(0, &[&far, b"ready"], r"\bready"), None);
        assert_eq!(range(0, &[&far, b" ready"], r"\bready"), Some(12_289..12_294));
        assert_eq!(range(0, &[&far, b"\nready"], "(?m)^ready"), Some(12_289..12_294));
        assert_eq!(range(3, &[b"abcready"], "^ready"), Some(3..8));
    }

    #[test]
    fn the_end_of_a_window_is_not_the_end_of_the_stream() {
        // `x$` must not match at the end of the first window of a backlog.
        let mut stream = vec![b'x'; WINDOW + 10];
        stream.push(b'y');
        assert_eq!(range(0, &[&stream], "x$"), None);
        let mut number = vec![b'.'; WINDOW - 2];
        number.extend_from_slice(b"123456 ");
        let start = WINDOW as u64 - 2;
        assert_eq!(range(0, &[&number], r"\d+"), Some(start..start + 6));
    }

    #[test]
    fn a_backlog_of_sequences_only_is_passed_over() {
        let sequences = b"\x1b[0;1m".repeat(WINDOW);
        assert_eq!(range(0, &[&sequences, b"\x1b[1mok"], "^ok"), Some(393_220..393_222));
    }
}
