//! Puts the stream together into lines without ANSI sequences. What lines mean is `watch`'s
//! business, where they are written `log`'s.

use std::time::Duration;

use hil_core::mask::Masker;

use crate::ansi::{Cleaner, Piece, is_control};

/// A line longer than this goes on in pieces.
pub(crate) const LONGEST: usize = 4096;

/// A line, or a piece of one, as it is complete.
#[derive(Debug)]
pub(crate) struct Line<'l> {
    /// Raw offset and arrival of its first byte.
    pub(crate) offset: u64,
    pub(crate) at: Duration,
    /// Without ANSI sequences and control characters.
    pub(crate) text: &'l [u8],
    /// It continues a piece that came before.
    pub(crate) continues: bool,
    /// It has its line end; otherwise more of it is to come.
    pub(crate) ended: bool,
}

pub(crate) struct Lines {
    cleaner: Cleaner,
    text: Vec<u8>,
    /// Raw offset and arrival of the first byte of `text`.
    begin: Option<(u64, Duration)>,
    continues: bool,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        let text = Vec::with_capacity(LONGEST);
        Lines { cleaner: Cleaner::new(true), text, begin: None, continues: false }
    }

    /// Takes what arrived at `at` and hands every line that it completes to `out`.
    pub(crate) fn feed(
        &mut self,
        base: u64,
        at: Duration,
        bytes: &[u8],
        masker: &Masker,
        mut out: impl FnMut(&Line<'_>),
    ) {
        let Lines { cleaner, text, begin, continues } = self;
        cleaner.clean(base, bytes, |piece| match piece {
            Piece::Text(mut offset, mut run) => {
                while !run.is_empty() {
                    begin.get_or_insert((offset, at));
                    let n = run.len().min(LONGEST - text.len());
                    push_text(text, &run[..n]);
                    offset += n as u64;
                    run = &run[n..];
                    if text.len() == LONGEST {
                        let held = cut(text, *begin, *continues, masker, &mut out);
                        *begin = held.map(|held| (offset - held as u64, at));
                        *continues = true;
                    }
                }
            }
            Piece::Newline(offset) => {
                let (offset, at) = begin.take().unwrap_or((offset, at));
                out(&Line { offset, at, text, continues: *continues, ended: true });
                text.clear();
                *continues = false;
            }
        });
    }

    /// The unended last line, if there is one.
    pub(crate) fn partial(&self) -> Option<Line<'_>> {
        let (offset, at) = self.begin?;
        Some(Line { offset, at, text: &self.text, continues: self.continues, ended: false })
    }

    /// Ends the last line: the stream ended, or goes on with another boot.
    pub(crate) fn end(&mut self, out: impl FnOnce(&Line<'_>)) {
        if let Some((offset, at)) = self.begin.take() {
            out(&Line { offset, at, text: &self.text, continues: self.continues, ended: true });
        }
        self.text.clear();
        self.continues = false;
        self.cleaner = Cleaner::new(true);
    }
}

/// Appends a run of text without its control characters.
fn push_text(text: &mut Vec<u8>, run: &[u8]) {
    if run.iter().any(|byte| is_control(*byte)) {
        text.extend(run.iter().filter(|byte| !is_control(**byte)));
    } else {
        text.extend_from_slice(run);
    }
}

/// Hands out a full piece of an endless line, but for what may be the beginning of a secret;
/// returns how much stays.
fn cut(
    text: &mut Vec<u8>,
    begin: Option<(u64, Duration)>,
    continues: bool,
    masker: &Masker,
    out: &mut impl FnMut(&Line<'_>),
) -> Option<usize> {
    let held = masker.held_back(text);
    // A secret longer than a piece cannot be held back for ever.
    let held = if held > LONGEST / 2 { 0 } else { held };
    let whole = text.len() - held;
    if let Some((offset, at)) = begin {
        out(&Line { offset, at, text: &text[..whole], continues, ended: false });
    }
    text.drain(..whole);
    (held > 0).then_some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], masker: &Masker) -> Vec<(u64, u64, String, bool, bool)> {
        let mut lines = Lines::new();
        let (mut seen, mut base) = (Vec::new(), 0);
        let mut note = |line: &Line<'_>| {
            let text = String::from_utf8_lossy(line.text).into_owned();
            let at = line.at.as_millis() as u64;
            seen.push((line.offset, at, text, line.continues, line.ended));
        };
        for (nth, chunk) in chunks.iter().enumerate() {
            let at = Duration::from_millis(nth as u64);
            lines.feed(base, at, chunk, masker, &mut note);
            base += chunk.len() as u64;
        }
        lines.end(&mut note);
        seen
    }

    #[test]
    fn a_line_has_the_stamp_of_its_first_byte() {
        let seen = lines(&[b"ab", b"c\r\n\x1b[1md", b"e"], &Masker::default());
        let want = [(0, 0, "abc".into(), false, true), (9, 1, "de".into(), false, true)];
        assert_eq!(seen, want);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let long = vec![b'x'; 3 * LONGEST + 5];
        let seen = lines(&[&long, b"\nnext\n"], &Masker::default());
        let sizes: Vec<_> = seen.iter().map(|(o, _, t, c, e)| (*o, t.len(), *c, *e)).collect();
        let step = LONGEST as u64;
        let want = [
            (0, LONGEST, false, false),
            (step, LONGEST, true, false),
            (2 * step, LONGEST, true, false),
            (3 * step, 5, true, true),
            (3 * step + 6, 4, false, true),
        ];
        assert_eq!(sizes, want);
    }

    #[test]
    fn a_secret_is_not_cut_in_two() {
        let text = [vec![b'x'; LONGEST - 4], b"s3cret-token tail\n".to_vec()].concat();
        let seen = lines(&[&text], &Masker::new(["s3cret-token"]));
        assert_eq!(seen[0].2.len(), LONGEST - 4);
        assert_eq!((seen[1].0, seen[1].2.as_str()), (LONGEST as u64 - 4, "s3cret-token tail"));
    }
}
