//! Whether a physical board's serial line loses bytes: asked before a silence is blamed on the
//! product. What is typed comes back as an echo; an echo with gaps is the line's doing.

use std::time::Duration;

use regex::bytes::Regex;

use super::Rig;
use crate::deadline::Deadline;
use crate::parts::{Console, Seen};

/// No character twice, so that a gap is a gap. Nothing in it means anything to a shell, a login
/// prompt or U-Boot.
const TYPED: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Kills the line that was typed, in a terminal's cooked mode and in every shell's editor.
const ERASE: u8 = 0x15;

const ROUNDS: usize = 12;

/// An echo at 9600 baud takes 65 ms for the whole of it.
const ECHO: Duration = Duration::from_millis(1500);

impl Rig {
    /// What came back of what was typed, if that shows a line with gaps. `None` for a sound line,
    /// for a board that echoes nothing, or whose bootloader or kernel starts meanwhile and takes what
    /// it has time for, and for an emulator, whose line cannot lose anything.
    pub(super) async fn line_with_gaps(&mut self) -> Option<String> {
        if self.parts.board.is_emulated() {
            return None;
        }
        let console = self.parts.console.clone();
        let mut cursor = console.sightings();
        // Whatever was going on there: a new prompt, and the echo that a command switched off.
        console.send(b"\x03\rstty echo\r").await.ok()?;
        let (mut back, mut echoes) = (0, 0);
        for round in 0..ROUNDS {
            // A board that does not echo at all says nothing of its line.
            if round == 2 && echoes == 0 {
                break;
            }
            let came = echo(&*console).await;
            // A half and more in the right order is an echo, and no chance.
            if came * 2 > TYPED.len() {
                echoes += 1;
                back += came;
            }
        }
        while cursor < console.sightings() {
            if let Seen::Stage(_) = console.sighting(&mut cursor).await.what {
                return None;
            }
        }
        let sent = echoes * TYPED.len();
        (back < sent).then(|| format!("of {sent} characters typed as a test {back} came back"))
    }
}

/// Types the test once; how many of its characters come back in order.
async fn echo(console: &dyn Console) -> usize {
    let from = console.position();
    if console.send(TYPED).await.is_err() {
        return 0;
    }
    if let Ok(last) = Regex::new("YZ") {
        // Where the end is lost, what came within the deadline is what came.
        let _ = console.expect(from, &last, Deadline::within(ECHO)).await;
    }
    let heard = console.read(from, 4096).unwrap_or_default();
    let _ = console.send(&[ERASE]).await;
    in_order(&heard)
}

/// How many characters of the test are found in `heard`, each after the one before it.
fn in_order(heard: &[u8]) -> usize {
    let mut next = 0;
    for byte in heard {
        if let Some(skipped) = TYPED[next..].iter().position(|typed| typed == byte)
            && skipped <= 3
        {
            next += skipped + 1;
        }
    }
    // Those that were skipped did not come.
    TYPED[..next].iter().filter(|typed| heard.contains(typed)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_noise_is_not() {
        assert_eq!(in_order(TYPED), TYPED.len());
        let without = |gone: &[u8]| -> Vec<u8> {
            TYPED.iter().copied().filter(|byte| !gone.contains(byte)).collect()
        };
        assert_eq!(in_order(&without(b"5Q")), TYPED.len() - 2);
        assert_eq!(in_order(&[b"\r\n# ".as_slice(), TYPED, b"\r\n"].concat()), TYPED.len());
        assert!(in_order(b"[   12.3] random kernel message") * 2 < TYPED.len());
        assert_eq!(in_order(b""), 0);
    }
}
