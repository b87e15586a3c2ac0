//! Strips terminal control from a byte stream: ANSI sequences go, carriage returns become line
//! ends where they are one. It knows neither lines nor files.
//!
//! What is stripped: CSI (`ESC [ … final`), strings (`ESC ]`, `ESC P`, `ESC X`, `ESC ^`, `ESC _` up
//! to BEL or ST), and two-byte escapes. A line feed or carriage return inside a sequence ends it,
//! so that a stray ESC cannot swallow a line, and no sequence is longer than [`LONGEST`].
//!
//! Carriage returns: `\r\n`, `\r\r\n` and `\n\r` are one line end; a lone `\r` behind text is a line
//! end of its own (a progress bar becomes lines); a `\r` at the beginning of a line is nothing.

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// Bytes after which an unended sequence is taken for text again.
const LONGEST: u16 = 2048;

/// A piece of cleaned stream, with the raw offset of its first byte.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'t> {
    Text(u64, &'t [u8]),
    Newline(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ground,
    Escape,
    Intermediate,
    Csi,
    Text,
    TextEscape,
}

/// The state between two reads of one stream.
#[derive(Debug)]
pub(crate) struct Cleaner {
    state: State,
    swallowed: u16,
    /// Raw offset of a carriage return whose meaning the next byte decides.
    cr: Option<u64>,
    /// Nothing stands in the current line yet.
    fresh: bool,
}

impl Cleaner {
    /// `fresh` says that the stream stands at the beginning of a line.
    pub(crate) fn new(fresh: bool) -> Cleaner {
        Cleaner { state: State::Ground, swallowed: 0, cr: None, fresh }
    }

    /// Cleans what was read at raw offset `base`.
    pub(crate) fn clean<'t>(&mut self, base: u64, input: &'t [u8], mut out: impl FnMut(Piece<'t>)) {
        let mut i = 0;
        while i < input.len() {
            let rest = &input[i..];
            if self.state != State::Ground {
                i += usize::from(self.swallow(rest[0]));
                continue;
            }
            let run = memchr::memchr3(b'\n', b'\r', ESC, rest).unwrap_or(rest.len());
            if run > 0 {
                if let Some(at) = self.cr.take() {
                    out(Piece::Newline(at));
                }
                out(Piece::Text(base + i as u64, &rest[..run]));
                self.fresh = false;
                i += run;
                continue;
            }
            match rest[0] {
                b'\n' => {
                    self.cr = None;
                    self.fresh = true;
                    out(Piece::Newline(base + i as u64));
                }
                b'\r' if self.cr.is_none() && !self.fresh => self.cr = Some(base + i as u64),
                b'\r' => {}
                _ => (self.state, self.swallowed) = (State::Escape, 0),
            }
            i += 1;
        }
    }

    /// Takes a byte of a sequence; false when the byte does not belong to it after all.
    fn swallow(&mut self, byte: u8) -> bool {
        self.swallowed += 1;
        if matches!(byte, b'\n' | b'\r') || self.swallowed > LONGEST {
            self.state = State::Ground;
            return false;
        }
        let (next, taken) = match (self.state, byte) {
            (State::TextEscape, b'\\') => (State::Ground, true),
            (State::TextEscape, _) => (State::Escape, false),
            (State::Text, BEL) => (State::Ground, true),
            (State::Text, ESC) => (State::TextEscape, true),
            (State::Text, _) => (State::Text, true),
            (_, ESC) => (State::Escape, true),
            (State::Escape, b'[') => (State::Csi, true),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (State::Text, true),
            (State::Escape | State::Intermediate, 0x20..=0x2f) => (State::Intermediate, true),
            (State::Escape | State::Intermediate, 0x30..=0x7e) => (State::Ground, true),
            (State::Csi, 0x20..=0x3f) => (State::Csi, true),
            (State::Csi, 0x40..=0x7e) => (State::Ground, true),
            _ => (State::Ground, false),
        };
        self.state = next;
        taken
    }
}

/// Whether a byte has no place in a line of text; ESC, LF and CR are the cleaner's business.
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// A cleaned line as text: valid UTF-8 without control characters.
pub(crate) fn text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    }
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(chunks: &[&[u8]]) -> (String, Vec<u64>) {
        let (mut text, mut ends, mut base) = (Vec::new(), Vec::new(), 0);
        let mut cleaner = Cleaner::new(true);
        for chunk in chunks {
            cleaner.clean(base, chunk, |piece| match piece {
                Piece::Text(_, run) => text.extend_from_slice(run),
                Piece::Newline(at) => {
                    text.push(b'\n');
                    ends.push(at);
                }
            });
            base += chunk.len() as u64;
        }
        (String::from_utf8_lossy(&text).into_owned(), ends)
    }

    #[test]
    fn every_split_of_a_stream_cleans_alike() {
        let stream: &[u8] =
            b"\x1b[0;1;32m[  OK  ]\x1b[0m Up\r\n\x1b]0;title\x07a\x1b(Bb\x1b7c\r50%\r99%\r\n\x1bPq\x1b\\z";
        let whole = cleaned(&[stream]);
        assert_eq!(whole.0, "[  OK  ] Up\nabc\n50%\n99%\nz");
        for i in 0..stream.len() {
            for j in i..stream.len() {
                assert_eq!(cleaned(&[&stream[..i], &stream[i..j], &stream[j..]]), whole);
            }
        }
    }

    #[test]
    fn line_ends_of_all_makes_are_one() {
        assert_eq!(cleaned(&[b"a\r\nb\r\r\nc\n\rd\n\r\n\re"]).0, "a\nb\nc\nd\n\ne");
        assert_eq!(cleaned(&[b"\r\rx\ry"]).0, "x\ny");
    }

    #[test]
    fn an_unended_sequence_swallows_no_line() {
        assert_eq!(cleaned(&[b"a\x1b]0;never ended\r\nb\x1b[31\nc\x1b"]).0, "a\nb\nc");
        let flood = [b"\x1b]".as_slice(), &vec![b'x'; 10_000]].concat();
        assert_eq!(cleaned(&[&flood]).0.len(), 10_002 - 1 - usize::from(LONGEST));
    }

    #[test]
    fn text_is_valid_and_free_of_controls() {
        assert_eq!(text(b"a\0b\x07\tc\xc2\x9bd\xffe"), "ab\tcd\u{fffd}e");
    }
}
