//! Whether a physical board's serial line loses bytes: asked before a silence is blamed on the
//! product. What is typed comes back as an echo; an echo with gaps is the line's doing.

use std::time::Duration;

use regex::bytes::Regex;

use super::Rig;
use crate::deadline::Deadline;
use crate::parts::{Console, Seen};
use crate::stage::Stage;
use crate::trouble::Outcome;

/// No character twice, so that a gap is a gap. Nothing in it means anything to a shell, a login
/// prompt or U-Boot.
const TYPED: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a UART's buffer holds at least: a bootloader that is busy takes in no more.
const PIECE: usize = 16;

/// Kills the line that was typed, in a terminal's cooked mode and in every shell's editor.
const ERASE: u8 = 0x15;

const ROUNDS: usize = 12;

/// An echo at 9600 baud takes 65 ms for the whole of it.
const ECHO: Duration = Duration::from_millis(1500);

/// So many characters of text in a row are a message, whatever else comes: a boot ROM may speak at
/// another rate than what it starts.
const WORDS: usize = 16;

/// Nothing more comes when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(100);

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
        send(&*console, b"\x03\rstty echo\r").await.ok()?;
        quiet(&*console).await;
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
            // A login prompt is a stage, too, and the answer to a ^C.
            match console.sighting(&mut cursor).await.what {
                Seen::Stage(stage) if stage <= Stage::Kernel => return None,
                _ => {}
            }
        }
        let sent = echoes * TYPED.len();
        (back < sent).then(|| format!("of {sent} characters typed as a test {back} came back"))
    }
}

/// Types the test once; how many of its characters come back in order.
async fn echo(console: &dyn Console) -> usize {
    let from = console.position();
    let mut ended = false;
    for piece in TYPED.chunks(PIECE) {
        let before = console.position();
        if send(console, piece).await.is_err() {
            ended = true;
            break;
        }
        let end = String::from_utf8_lossy(&piece[piece.len() - 1..]).into_owned();
        if let Ok(end) = Regex::new(&end) {
            // Where the end is lost, what came within the deadline is what came.
            let _ = console.expect(before, &end, Deadline::within(ECHO)).await;
        }
        // Only where something comes after it is a gap one: a board may stop to answer.
        ended = console.position() == before;
        if ended && before == from {
            break;
        }
    }
    let heard = console.read(from, 4096).unwrap_or_default();
    // How a terminal shows that it erased is longer than what it erases.
    if send(console, &[ERASE]).await.is_ok() {
        quiet(console).await;
    }
    if ended { 0 } else { in_order(&heard) }
}

/// Types, unless the line takes nothing any more: where it has hardware flow control, that is the
/// board's to say.
async fn send(console: &dyn Console, bytes: &[u8]) -> Outcome {
    Deadline::within(ECHO).bound("typing on the console", console.send(bytes)).await
}

/// Waits for the end of what comes, no longer than for an echo.
async fn quiet(console: &dyn Console) {
    let deadline = Deadline::within(ECHO);
    loop {
        let before = console.position();
        tokio::time::sleep(QUIET).await;
        if console.position() == before || deadline.passed() {
            return;
        }
    }
}

/// Whether a line brought nothing that a board may have said: zeros and ones of a wire that floats, or
/// what a wrong baud rate makes of text.
pub(super) fn is_noise(heard: &[u8]) -> bool {
    let (mut all, mut text, mut run) = (0, 0, 0);
    for char in String::from_utf8_lossy(heard).chars() {
        let control = char.is_control() && !"\r\n\t\x07\x08\x1b".contains(char);
        let is_text = !control && char != char::REPLACEMENT_CHARACTER;
        (all, text) = (all + 1, text + usize::from(is_text));
        run = if is_text { run + 1 } else { 0 };
        if run >= WORDS {
            return false;
        }
    }
    // Few bytes of a board that starts prove nothing, unless they are no text at all.
    all > 0 && (text == 0 || all >= 64 && text * 2 < all)
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

    #[test]
    fn what_no_board_says_is_noise() {
        assert!(is_noise(b"\0") && is_noise(b"\xff\0\0"));
        let at_half_the_rate = b"\x9e\xf8\x06\x80\xe6x\x98\xfe".repeat(32);
        assert!(is_noise(&at_half_the_rate));
        assert!(!is_noise(&[&at_half_the_rate[..], b"SPL: no card found\r\n"].concat()));
        for said in
            [b"".as_slice(), b"\0U-Boot SPL", b"\x1b[1mLade M\xc3\xbcll\x1b[0m\r\n", b"U\xff"]
        {
            assert!(!is_noise(said), "{said:?}");
        }
    }
}
