//! Masks secrets in a piece of raw stream without changing its length, so that offsets into the
//! file stay offsets into the stream. Texts are masked by `hil_core::mask` itself.

use std::borrow::Cow;

use hil_core::mask::Masker;

/// Masks every secret in `text` and keeps its length: the row of stars is stretched or shortened.
/// Every line keeps its length too; only inside a line that holds several secrets may bytes stand
/// a little off their offset.
pub(crate) fn hide(masker: &Masker, text: &mut [u8]) {
    if masker.is_empty() || matches!(masker.bytes(text), Cow::Borrowed(_)) {
        return;
    }
    for line in text.split_inclusive_mut(|byte| *byte == b'\n') {
        hide_in_place(masker, line);
    }
    // A secret over several lines is left: it goes from the text as a whole.
    hide_in_place(masker, text);
}

fn hide_in_place(masker: &Masker, text: &mut [u8]) {
    let Cow::Owned(mut masked) = masker.bytes(text) else { return };
    let stars = first_stars(&masked, text);
    match text.len().checked_sub(masked.len()) {
        Some(short) => {
            masked.splice(stars..stars, std::iter::repeat_n(b'*', short));
        }
        None => shorten(&mut masked, text.len()),
    }
    text.copy_from_slice(&masked);
}

/// Where the first secret stood: the texts agree up to there.
fn first_stars(masked: &[u8], text: &[u8]) -> usize {
    masked.iter().zip(text).take_while(|(a, b)| a == b).count().min(masked.len())
}

/// Secrets shorter than their stars made the text longer: stars go until it fits.
fn shorten(masked: &mut Vec<u8>, fit: usize) {
    let mut surplus = masked.len() - fit;
    masked.retain(|byte| {
        let drop = surplus > 0 && *byte == b'*';
        surplus -= usize::from(drop);
        !drop
    });
    masked.truncate(fit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secrets: &[&str], text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        hide(&Masker::new(secrets), &mut bytes);
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_secret_becomes_stars_of_its_own_length() {
        assert_eq!(hidden(&["s3cret-token"], "pw=s3cret-token!\nx"), "pw=************!\nx");
        assert_eq!(hidden(&["abcd"], "1abcd2\n3abcd4"), "1****2\n3****4");
        assert_eq!(hidden(&["abcd"], "nothing"), "nothing");
    }

    #[test]
    fn nested_secrets_go_whole_and_secrets_of_several_lines_line_by_line() {
        assert_eq!(hidden(&["hunter", "hunter2-long"], "hunter2-long"), "************");
        let hidden = hidden(&["ones\ntwo--\nthree"], "k ones\ntwo--\nthree.");
        assert_eq!(hidden, "k ****\n*****\n*****.");
    }

    #[test]
    fn lines_with_several_secrets_keep_their_length_and_hide_all() {
        let text = "a abcd b longer-secret-here c abcd d\nnext\n";
        let hidden = hidden(&["abcd", "longer-secret-here"], text);
        assert!(!hidden.contains("abcd") && !hidden.contains("secret"), "{hidden}");
        assert!(hidden.ends_with(" d\nnext\n"), "{hidden}");
    }
}
