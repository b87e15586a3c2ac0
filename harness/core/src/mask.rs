//! Hides secrets in everything hil writes: console captures, events, reports, the terminal.

use std::borrow::Cow;

use regex::bytes;

const HIDDEN: &str = "********";

/// Replaces every secret by a row of stars of fixed length, which does not tell the secret's.
#[derive(Clone, Default)]
pub struct Masker {
    secrets: Vec<Vec<u8>>,
    pattern: Option<bytes::Regex>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} secrets)", self.secrets.len())
    }
}

impl Masker {
    /// A masker of these secrets. Those shorter than 4 bytes are left out, since masking them
    /// would shred the log; callers warn of them. Of a secret of several lines each line is one,
    /// since logs are written by lines.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Masker {
        let mut secrets: Vec<Vec<u8>> = secrets
            .into_iter()
            .flat_map(|secret| {
                let whole = std::iter::once(secret.as_ref()).chain(secret.as_ref().lines());
                whole.map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>()
            })
            .filter(|secret| secret.len() >= 4)
            .collect();
        // The longest first: where one secret contains another, all of it must go.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let alternatives: Vec<String> =
            secrets.iter().map(|s| regex::escape(&String::from_utf8_lossy(s))).collect();
        let pattern = match alternatives.is_empty() {
            true => None,
            false => bytes::Regex::new(&alternatives.join("|")).ok(),
        };
        Masker { secrets, pattern }
    }

    pub fn is_empty(&self) -> bool {
        self.pattern.is_none()
    }

    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    pub fn bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        match &self.pattern {
            None => Cow::Borrowed(text),
            Some(pattern) => pattern.replace_all(text, HIDDEN.as_bytes()),
        }
    }

    /// How many bytes at the end of `text` may be the beginning of a secret, so that whoever
    /// masks a stream holds them back until more has come.
    pub fn held_back(&self, text: &[u8]) -> usize {
        let longest = |secret: &Vec<u8>| {
            let most = (secret.len() - 1).min(text.len());
            (1..=most).rev().find(|&n| text[text.len() - n..] == secret[..n]).unwrap_or(0)
        };
        self.secrets.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_the_longest_of_nested_secrets() {
        let masker = Masker::new(["hunter", "hunter2-long"]);
        assert_eq!(masker.text("pw=hunter2-long, hunter!"), "pw=********, ********!");
    }

    #[test]
    fn each_line_of_a_key_is_secret() {
        let masker = Masker::new(["-- begin --\nabcdef\n-- end --"]);
        assert_eq!(masker.text("line: abcdef"), "line: ********");
    }

    #[test]
    fn a_secret_split_over_reads_is_held_back() {
        let masker = Masker::new(["s3cret-token"]);
        assert_eq!(masker.held_back(b"login: s3cre"), 5);
        assert_eq!(masker.held_back(b"login: s3crX"), 0);
        assert_eq!(masker.held_back(b"x s3cret-token"), 0);
    }

    #[test]
    fn regex_signs_in_a_secret_are_plain_bytes() {
        assert_eq!(Masker::new(["a.b*c"]).text("aXbbc a.b*c"), "aXbbc ********");
    }
}
