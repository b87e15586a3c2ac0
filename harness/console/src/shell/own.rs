//! Which of a console's lines are the console shell's own questions and answers: noise to a person
//! who wants the board's last words. What they mean stands in `target`.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// A typed line's echo: it names a variable or a function of ours, or makes an answer.
const ECHO: &str = r#"(?-u)\b_h[a-z]\b|"~(?:[a-z]\d*:?)?\$"#;

/// An answer between tildes, or what a program that stands by prints and is given; a numbered line of
/// encoded output, cut short by noise perhaps, and behind a prompt where the shell was asked for more
/// before it had answered.
const ANSWER: &str = concat!(
    r"(?-u)~[bfghiknptuvz]\d+(?:[:.][^~]*)?~",
    r"|(?:^|[#$>] )~\d+[oed]\d+:[A-Za-z0-9+/= ]*\.?",
    r"|~w~|~r[0-9a-f]{16}[@-O]{8}~"
);

/// Compiled once: whoever waits on a console in short turns asks for its last lines at each.
static WORDS: LazyLock<Result<OwnWords, regex::Error>> =
    LazyLock::new(|| Ok(OwnWords { echo: Regex::new(ECHO)?, answer: Regex::new(ANSWER)? }));

/// Tells the shell's own words from the board's.
pub(crate) struct OwnWords {
    echo: Regex,
    answer: Regex,
}

impl OwnWords {
    pub(crate) fn get() -> Result<&'static OwnWords, regex::Error> {
        WORDS.as_ref().map_err(Clone::clone)
    }

    /// What of the line is the board's: nothing, or all but an answer in whose middle it spoke.
    pub(crate) fn without(&self, line: String) -> Option<String> {
        if self.echo.is_match(line.as_bytes()) {
            return None;
        }
        if !self.answer.is_match(line.as_bytes()) {
            return Some(line);
        }
        let rest = self.answer.replace_all(line.as_bytes(), &b""[..]);
        let rest = String::from_utf8_lossy(&rest);
        (!rest.trim().is_empty()).then(|| rest.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::target;
    use super::*;
    use crate::login::Proof;
    use crate::transfer::ENCODERS;

    fn without(line: &str) -> Option<String> {
        OwnWords::get().unwrap().without(line.into())
    }

    #[test]
    fn every_line_that_the_shell_types_is_its_own() {
        let proof = Proof::new(7).typed();
        let mut typed = vec![proof.trim_matches(['\x15', '\n']).to_string()];
        typed.extend(target::survey(3));
        ENCODERS.iter().for_each(|encoder| typed.extend(target::functions(4, encoder).0));
        typed.extend(
            [
                " _hx 9 5 7 'true'",
                " _hl 9 5 7",
                " _hw 9 /run/.hil-twin",
                " echo \"~z$((9)):$_hr~\"",
                " _hk 9 1",
                " _hf 9 $_hd/o 64 24 o",
                " echo \"~g$((9)):64.1~\"",
            ]
            .map(String::from),
        );
        for line in typed {
            assert_eq!(without(&format!("root@demo:~# {line}")), None, "{line}");
        }
    }

    #[test]
    fn answers_are_left_out_and_what_the_kernel_said_in_their_middle_is_not() {
        let answers = [
            "~b9~",
            "~h9:0:4294967295 0:4294967295 0~",
            "~k9~",
            "~k9.2~",
            "~z9:0~",
            "~w~",
            "~r0123456789abcdef@ABCDEFO~",
            "~t3:,base64,od:/run/.hil-1~",
        ];
        for line in
            answers.iter().chain(&["~p7:8033864~", "~9o0:aGVsbG8K.", "~9e1:68 65 6c.", "~g9:0~"])
        {
            assert_eq!(without(line), None, "{line}");
        }
        let noisy = without("~9o0:aGVsbG8[   12.3] usb 1-1: new device");
        assert_eq!(noisy.as_deref(), Some("[   12.3] usb 1-1: new device"));
        let prompted = without("target# ~4o256:CjMxNDEK.");
        assert_eq!(prompted.as_deref(), Some("target"), "a prompt came before the answer");
    }

    #[test]
    fn the_boards_own_words_stay() {
        for line in ["root@demo:~# ", "took ~5e3: fine", "~ # ls", "~h~", "the_hx and _hxy"] {
            assert_eq!(without(line).as_deref(), Some(line));
        }
    }
}
