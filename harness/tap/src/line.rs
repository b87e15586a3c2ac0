//! What one line of TAP or KTAP says, by itself.

/// Names and reasons are cut here: reports show less of them still.
const MOST_TEXT: usize = 300;

/// A line, less its indentation.
#[derive(Debug, PartialEq)]
pub(crate) enum Line<'l> {
    Version {
        kernel: bool,
    },
    /// `1..N`, with the reason where everything is skipped.
    Plan {
        last: u64,
        skip: Option<String>,
    },
    Point(Said),
    /// `# Subtest: NAME`
    Subtest(String),
    BailOut(String),
    /// `---`
    YamlBegin,
    Comment(&'l str),
    /// Anything else, which TAP lets pass.
    Other,
}

/// `ok 3 - name # SKIP why`
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) number: Option<u64>,
    pub(crate) name: String,
    pub(crate) directive: Directive,
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directive {
    None,
    Skip,
    Todo,
    /// KTAP's `TIMEOUT` and `ERROR`: a failure, with what kind of one.
    Failed,
}

/// The number of blanks before a line's text, and the line.
pub(crate) fn read(line: &str) -> (usize, Line<'_>) {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    (indent, parse(text.trim_end()))
}

fn parse(text: &str) -> Line<'_> {
    if let Some(version) = text.strip_prefix("KTAP version ").or(text.strip_prefix("TAP version "))
        && version.parse::<u32>().is_ok()
    {
        return Line::Version { kernel: text.starts_with('K') };
    }
    if let Some(reason) = text.strip_prefix("Bail out!") {
        return Line::BailOut(short(reason.trim()));
    }
    if let Some(comment) = text.strip_prefix('#') {
        let comment = comment.strip_prefix(' ').unwrap_or(comment);
        return match comment.strip_prefix("Subtest:") {
            Some(name) => Line::Subtest(short(name.trim())),
            None => Line::Comment(comment),
        };
    }
    if text == "---" {
        return Line::YamlBegin;
    }
    plan(text).or_else(|| point(text)).unwrap_or(Line::Other)
}

fn plan(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1..")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let last = number(&rest[..digits])?;
    let rest = rest[digits..].trim();
    let skip = match rest.strip_prefix('#') {
        Some(why) if starts_with(why.trim(), "skip") => Some(after_word(why.trim())),
        Some(_) => None,
        None if rest.is_empty() => None,
        None => return None,
    };
    Some(Line::Plan { last, skip: skip.or((last == 0).then(String::new)) })
}

fn point(text: &str) -> Option<Line<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim();
    let (first, after) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let number = number(first);
    let rest = if number.is_some() { after.trim() } else { rest };
    let (name, directive, reason) = directive(rest);
    let name = name.strip_prefix("- ").unwrap_or(if name == "-" { "" } else { name });
    let (name, reason) = (short(&unescaped(name.trim())), short(&unescaped(reason)));
    Some(Line::Point(Said { ok, number, name, directive, reason }))
}

/// A number of a test. One of more than twelve digits is none: sums of them shall not overflow.
fn number(word: &str) -> Option<u64> {
    let plain = word.len() <= 12 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| plain)
}

/// Splits off ` # SKIP why`; a `#` that is escaped, or that no word of a directive follows, belongs
/// to the name.
fn directive(text: &str) -> (&str, Directive, &str) {
    for (at, _) in text.match_indices('#') {
        let before = &text[..at];
        let escaped = before.len() - before.trim_end_matches('\\').len();
        if escaped % 2 == 1 || !(before.is_empty() || before.ends_with([' ', '\t'])) {
            continue;
        }
        let after = text[at + 1..].trim();
        for (word, directive) in [
            ("skip", Directive::Skip),
            ("todo", Directive::Todo),
            ("xfail", Directive::Todo),
            ("timeout", Directive::Failed),
            ("error", Directive::Failed),
        ] {
            if starts_with(after, word) {
                let all = directive == Directive::Failed;
                let reason = if all { after } else { after_word_ref(after) };
                return (before.trim_end(), directive, reason);
            }
        }
    }
    (text, Directive::None, "")
}

fn starts_with(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn after_word_ref(text: &str) -> &str {
    text.split_once([' ', '\t']).map_or("", |(_, after)| after.trim())
}

fn after_word(text: &str) -> String {
    short(after_word_ref(text))
}

/// TAP 14: `\#` is a hash, `\\` a backslash.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        let escapes = ch == '\\' && matches!(chars.peek(), Some('#' | '\\'));
        out.extend(if escapes { chars.next() } else { Some(ch) });
    }
    out
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        match read(text).1 {
            Line::Point(said) => said,
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn points_are_read_in_all_their_spellings() {
        for (text, ok, number, name, directive, reason) in [
            ("ok", true, None, "", Directive::None, ""),
            ("not ok 2", false, Some(2), "", Directive::None, ""),
            ("ok 3 - eth0 is up", true, Some(3), "eth0 is up", Directive::None, ""),
            ("ok 4 plain", true, Some(4), "plain", Directive::None, ""),
            ("ok - unnumbered", true, None, "unnumbered", Directive::None, ""),
            ("ok 5 # skip no net", true, Some(5), "", Directive::Skip, "no net"),
            ("ok 6 a # SKIPPED: later", true, Some(6), "a", Directive::Skip, "later"),
            ("not ok 7 b # TODO soon", false, Some(7), "b", Directive::Todo, "soon"),
            ("ok 8 issue # 12 is fixed", true, Some(8), "issue # 12 is fixed", Directive::None, ""),
            (r"ok 9 a \# SKIP b\\c", true, Some(9), r"a # SKIP b\c", Directive::None, ""),
            (
                "not ok 10 c # TIMEOUT 45 seconds",
                false,
                Some(10),
                "c",
                Directive::Failed,
                "TIMEOUT 45 seconds",
            ),
            ("ok 11 d # XFAIL", true, Some(11), "d", Directive::Todo, ""),
        ] {
            let (name, reason) = (name.to_string(), reason.to_string());
            assert_eq!(said(text), Said { ok, number, name, directive, reason }, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_tap_is_none() {
        for text in ["okay", "not okay", "1..", "1..3 apples", "ok-ish", "TAP version x", "2..5"] {
            assert_eq!(read(text), (0, Line::Other), "{text}");
        }
    }

    #[test]
    fn plans_and_the_rest() {
        assert_eq!(read("    1..4").0, 4);
        assert_eq!(read("1..4 # many").1, Line::Plan { last: 4, skip: None });
        let skip = Some("no kernel".to_string());
        assert_eq!(read("1..0 # SKIP no kernel").1, Line::Plan { last: 0, skip });
        assert_eq!(read("1..0").1, Line::Plan { last: 0, skip: Some(String::new()) });
        assert_eq!(read("Bail out! on fire").1, Line::BailOut("on fire".into()));
        assert_eq!(read("  # Subtest: net").1, Line::Subtest("net".into()));
        assert_eq!(read("KTAP version 1").1, Line::Version { kernel: true });
    }
}
