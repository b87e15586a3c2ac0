//! Bytes to lines: whole ones only, of bounded length, whatever the bytes are.

/// Longer lines are no TAP; what is beyond this is dropped.
const MOST: usize = 8 << 10;

#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and hands each line that is now whole to `take`, without its end.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.push(&rest[..end]);
            rest = &rest[end + 1..];
            take(&text(&std::mem::take(&mut self.begun)));
        }
        self.push(rest);
    }

    /// The last line, where the output ended without a line's end.
    pub(crate) fn end(&mut self) -> Option<String> {
        let last = std::mem::take(&mut self.begun);
        (!last.is_empty()).then(|| text(&last))
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = MOST.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let text = b"ok 1\r\n\xff\x00not ok 2\n\nlast";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.feed(piece, |line| found.push(line.to_string()));
            }
            found.extend(lines.end());
            assert_eq!(found, ["ok 1", "\u{fffd}\0not ok 2", "", "last"], "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.feed(&[b'x'; 4096], |_| panic!("there is no line"));
        }
        assert_eq!(lines.end().map(|line| line.len()), Some(MOST));
    }
}
