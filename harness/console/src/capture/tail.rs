//! The stream's last lines, for people: cleaned, masked, without the console shell's own words.

use hil_core::mask::Masker;

use crate::ansi::{Cleaner, Piece, text};
use crate::shell::OwnWords;

/// The longest line that is quoted, in bytes.
const LINE: usize = 1024;

/// What becomes of the console shell's own words.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Own {
    Hidden,
    Shown,
}

/// The last lines of a piece of stream; its first line is left out unless it is `whole`.
pub(super) fn tail(
    raw: &[u8],
    whole: bool,
    lines: usize,
    masker: &Masker,
    own: Own,
) -> Vec<String> {
    let mut clean = Vec::with_capacity(raw.len());
    Cleaner::new(true).clean(0, raw, |piece| match piece {
        Piece::Text(_, run) => clean.extend_from_slice(run),
        Piece::Newline(_) => clean.push(b'\n'),
    });
    // The last bytes may be the beginning of a secret.
    clean.truncate(clean.len() - masker.held_back(&clean));
    let clean = masker.bytes(&clean);
    let skip = usize::from(!whole && clean.contains(&b'\n'));
    let all = clean.split(|byte| *byte == b'\n').skip(skip).map(text);
    let all = all.filter(|line| !line.trim().is_empty());
    let mut last: Vec<String> = match OwnWords::get() {
        Ok(words) if own == Own::Hidden => all.filter_map(|line| words.without(line)).collect(),
        _ => all.collect(),
    };
    last.drain(..last.len().saturating_sub(lines));
    for line in &mut last {
        let end = (0..=line.len().min(LINE)).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
    }
    last
}
