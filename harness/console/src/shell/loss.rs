//! Tells an answer into which the kernel spoke from one that lost bytes on the way: what the board
//! sent is known in the end, and noise only ever adds.

use std::fmt;

/// How many pieces noise may break a text into; short ones are found in pieces by chance.
const PIECES: usize = 4;
const SHORT: usize = 24;

/// More than this (bytes sent times bytes came) is not looked into: a flood of noise.
const MOST: usize = 4 << 20;

/// Bytes that did not come as they were sent. A sentence for people.
#[derive(Debug, PartialEq)]
pub(crate) struct Loss {
    sent: usize,
    /// How many of them came, in their order.
    came: usize,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { sent, came } = self;
        write!(
            f,
            "the console lost or changed bytes: {came} came of {sent} bytes that the board sent \
             in an answer"
        )
    }
}

/// Whether `came` holds all that the board `sent`, text after text, if in pieces.
pub(crate) fn find(came: &[u8], sent: &[Vec<u8>]) -> Option<Loss> {
    let mut at = 0;
    let mut open: Vec<&[u8]> = Vec::new();
    for text in sent {
        let Some(found) = memchr::memmem::find(&came[at..], text) else {
            open.push(text);
            continue;
        };
        // Between two texts that are whole stands all there is of those that are not.
        if let Some(loss) = judge(&came[at..at + found], &open) {
            return Some(loss);
        }
        open.clear();
        at += found + text.len();
    }
    judge(&came[at..], &open)
}

/// Whether most of a typed line was echoed, but not all of it. A shell that is slow, or has not
/// come to echo, has done nothing wrong.
pub(crate) fn is_damaged_echo(came: &[u8], typed: &[u8]) -> bool {
    let common = common(came, typed);
    common < typed.len() && common * 5 >= typed.len() * 4
}

fn judge(came: &[u8], texts: &[&[u8]]) -> Option<Loss> {
    let sent = texts.concat();
    if sent.is_empty() || sent.len().saturating_mul(came.len()) > MOST {
        return None;
    }
    let allowed: usize =
        texts.iter().map(|text| if text.len() < SHORT { PIECES - 1 } else { PIECES }).sum();
    let whole = pieces(came, &sent).is_some_and(|pieces| pieces <= allowed);
    (!whole).then(|| Loss { sent: sent.len(), came: common(came, &sent) })
}

/// The least number of pieces in which `sent` stands in `came`; none where bytes are missing.
fn pieces(came: &[u8], sent: &[u8]) -> Option<usize> {
    const NEVER: usize = usize::MAX;
    // For each end in `came`: pieces of what of `sent` has been placed so far.
    let mut placed = vec![NEVER; came.len()];
    for (nth, byte) in sent.iter().enumerate() {
        let mut best = if nth == 0 { 0 } else { NEVER };
        let mut before = NEVER;
        for (at, here) in came.iter().enumerate() {
            let old = placed[at];
            placed[at] = match byte == here {
                true => before.min(best.saturating_add(1)),
                false => NEVER,
            };
            before = old;
            if nth > 0 {
                best = best.min(old);
            }
        }
    }
    placed.into_iter().min().filter(|pieces| *pieces != NEVER)
}

/// The length of the longest common subsequence.
fn common(came: &[u8], sent: &[u8]) -> usize {
    let mut row = vec![0; came.len() + 1];
    for byte in sent {
        let mut corner = 0;
        for (at, here) in came.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if byte == here { corner + 1 } else { above.max(row[at]) };
            corner = above;
        }
    }
    row[came.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 3] = ["~7o0:aGVsbG8gd29ybGQh.", "~7o1:c2Vjb25kIGxpbmUu.", "~k7~"];
    const NOISE: &str = "[   12.345678] usb 1-1: new device\r\n";

    fn sent() -> Vec<Vec<u8>> {
        LINES.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn clean() -> String {
        format!("# _hx 7\r\n{}\r\n", LINES.join("\r\n"))
    }

    #[test]
    fn noise_anywhere_is_no_loss() {
        let clean = clean();
        assert_eq!(find(clean.as_bytes(), &sent()), None);
        for at in 0..clean.len() {
            let noisy = [&clean[..at], NOISE, &clean[at..]].concat();
            assert_eq!(find(noisy.as_bytes(), &sent()), None, "{noisy}");
            let far = (at + 17).min(clean.len());
            let twice = [&clean[..at], NOISE, &clean[at..far], NOISE, &clean[far..]].concat();
            assert_eq!(find(twice.as_bytes(), &sent()), None, "{twice}");
        }
    }

    #[test]
    fn one_byte_less_or_another_is_told_even_beside_noise() {
        let clean = clean();
        let begin = clean.find('~').unwrap();
        for at in (begin..clean.len()).filter(|at| !clean[*at..].starts_with(['\r', '\n'])) {
            let lost = [&clean[..at], &clean[at + 1..]].concat();
            let loss = find(lost.as_bytes(), &sent()).unwrap();
            assert_eq!(loss.came + 1, loss.sent, "{lost}");
            let changed = [&clean[..at], "?", &clean[at + 1..]].concat();
            assert!(find(changed.as_bytes(), &sent()).is_some(), "{changed}");
            // Noise holds many letters; beside it a lost one may pass for a piece, but seldom.
        }
        let mut noisy = clean.replace("bG8gd29", &format!("bG8{NOISE}d29"));
        noisy.insert_str(0, NOISE);
        let told = find(noisy.as_bytes(), &sent()).unwrap().to_string();
        assert!(told.contains("21 came of 22 bytes"), "{told}");
    }

    #[test]
    fn an_echo_is_damaged_only_if_it_is_nearly_there() {
        let typed = b" _hx 12 930766865 9 'echo hello\\012'\n";
        let echo = |of: &str| format!("target# {}", of.replace('\n', "\r\n> "));
        let whole = String::from_utf8_lossy(typed).into_owned();
        assert!(!is_damaged_echo(echo(&whole).as_bytes(), typed));
        assert!(is_damaged_echo(echo(&whole.replace("2'", "2")).as_bytes(), typed));
        assert!(!is_damaged_echo(b"target# ", typed));
    }

    #[test]
    fn an_answer_that_did_not_come_at_all_is_a_loss_and_a_flood_is_not_judged() {
        assert_eq!(find(b"# \r\n", &sent()).map(|loss| loss.sent), Some(48));
        assert_eq!(find(&vec![b'x'; 1 << 20], &sent()), None);
    }
}
