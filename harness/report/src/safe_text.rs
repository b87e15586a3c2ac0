//! Text a guest may have chosen, made safe for the place it is shown in.
//!
//! What cannot be shown is replaced by its escape in the way of Rust (`\x1b`, `\u{fffe}`), so that
//! a reader sees that it was there. Masking secrets is not done here: the events hold none.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// Every character that acts instead of being shown becomes its escape; `\n` and `\t` stay.
pub fn visible(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '\r' if chars.peek() == Some(&'\n') => {}
            ch if acts(ch) => escape(&mut safe, ch),
            ch => safe.push(ch),
        }
    }
    safe
}

/// Control characters, what XML 1.0 forbids, Unicode's noncharacters, and marks that reorder or
/// break the line around them.
fn acts(ch: char) -> bool {
    match ch {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        '\u{fdd0}'..='\u{fdef}' => true,
        ch => ch.is_control() || (ch as u32) & 0xfffe == 0xfffe,
    }
}

fn escape(into: &mut String, ch: char) {
    // Writing to a String cannot fail.
    let _ = match u32::from(ch) {
        code @ 0..=0x7f => write!(into, "\\x{code:02x}"),
        code => write!(into, "\\u{{{code:x}}}"),
    };
}

/// As one line: line ends become ` / `, tabs a space; at most `most` columns.
pub fn one_line(text: &str, most: usize) -> String {
    // Of a gigabyte of text only its beginning can be shown.
    let text = visible(head(text, most.saturating_mul(4).max(256)));
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    clip(&lines.join(" / ").replace('\t', " "), most)
}

/// As lines, at most `most` bytes: of more, the middle is left out and told.
pub fn block(text: &str, most: usize) -> String {
    let text = visible(text);
    if text.len() <= most {
        return text;
    }
    let (first, last) = (head(&text, most / 2), tail(&text, most / 2));
    let left_out = text.len() - first.len() - last.len();
    format!("{first}\n[… {left_out} bytes left out …]\n{last}")
}

/// The last lines, each of at most `width` columns, all of at most `most` bytes.
pub fn last_lines(lines: &[String], width: usize, most: usize) -> Vec<String> {
    let mut left = most;
    let mut shown: Vec<String> = Vec::new();
    for line in lines.iter().rev() {
        let line = one_line(line, width);
        if line.len() + 1 > left {
            shown.push(format!("[… {} lines left out …]", lines.len() - shown.len()));
            break;
        }
        left -= line.len() + 1;
        shown.push(line);
    }
    shown.reverse();
    shown
}

/// At most `most` terminal columns, an ellipsis standing for the rest.
pub fn clip(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_string();
    }
    let mut columns = 0;
    let fits = |ch: &char| {
        columns += ch.width().unwrap_or(0);
        columns < most
    };
    let mut clipped: String = text.chars().take_while(fits).collect();
    clipped.push('…');
    clipped
}

/// Terminal columns.
pub fn width(text: &str) -> usize {
    text.chars().map(|ch| ch.width().unwrap_or(0)).sum()
}

/// For a terminal or a CI log: one line that is no escape sequence and no workflow command.
/// GitHub's runner finds its old `##[command]` form anywhere in a line.
pub fn terminal(text: &str, most: usize) -> String {
    clip(&one_line(text, most).replace("##[", "## ["), most)
}

/// For the inside of a `<![CDATA[` section that is written without further escaping.
pub fn cdata(text: &str) -> String {
    text.replace("]]>", "]]]]><![CDATA[>")
}

/// For HTML, in text and in quoted attributes.
pub fn html(text: &str) -> String {
    replace_each(text, |ch| match ch {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    })
}

/// For a line of Markdown, also within a table: every sign with a meaning is an entity.
pub fn markdown(text: &str) -> String {
    replace_each(text, |ch| match ch {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '|' => Some("&#124;"),
        '*' => Some("&#42;"),
        '_' => Some("&#95;"),
        '`' => Some("&#96;"),
        '~' => Some("&#126;"),
        '[' => Some("&#91;"),
        ']' => Some("&#93;"),
        '#' => Some("&#35;"),
        '@' => Some("&#64;"),
        '\\' => Some("&#92;"),
        '$' => Some("&#36;"),
        _ => None,
    })
}

fn replace_each(text: &str, by: impl Fn(char) -> Option<&'static str>) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for ch in text.chars() {
        match by(ch) {
            Some(entity) => safe.push_str(entity),
            None => safe.push(ch),
        }
    }
    safe
}

fn head(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn tail(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// A span of time as people read it: `3.1s`, `2m05s`, `1h02m`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=59 if seconds < 59.95 => format!("{seconds:.1}s"),
        0..=3599 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// A figure without needless digits.
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1e6 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_as_its_escape() {
        let hostile = "a\x1b[31m\0\x07\u{85}\u{fffe}\u{1ffff}\u{202e}\r\nb\rc\td";
        let safe = r"a\x1b[31m\x00\x07\u{85}\u{fffe}\u{1ffff}\u{202e}";
        assert_eq!(visible(hostile), format!("{safe}\nb\\x0dc\td"));
    }

    #[test]
    fn clips_on_columns_and_character_boundaries() {
        assert_eq!(clip("ééééé", 5), "ééééé");
        assert_eq!(clip("éééééé", 5), "éééé…");
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(width(&clip("漢字漢字", 4)), 3);
        assert_eq!(one_line("a\n\n  b\t c\n", 80), "a /   b  c");
    }

    #[test]
    fn a_long_text_keeps_its_ends_and_says_what_is_missing() {
        let text = format!("begin{}end", "é".repeat(1000));
        let short = block(&text, 101);
        assert!(short.starts_with("beginé") && short.ends_with("éend"), "{short}");
        assert!(short.contains("bytes left out"), "{short}");
        assert!(short.len() < 150);
    }

    #[test]
    fn the_last_lines_are_kept_and_the_missing_ones_counted() {
        let lines: Vec<String> = (0..9).map(|n| format!("line {n}")).collect();
        assert_eq!(last_lines(&lines, 80, 15), ["[… 7 lines left out …]", "line 7", "line 8"]);
        assert_eq!(last_lines(&lines, 80, 1000).len(), 9);
    }

    #[test]
    fn a_guest_cannot_give_the_ci_runner_a_command() {
        assert_eq!(terminal("x ##[stop-commands]y", 80), "x ## [stop-commands]y");
    }

    #[test]
    fn spans_and_figures_read_well() {
        assert_eq!([3.12, 59.97, 125.4, 3725.0].map(seconds), ["3.1s", "1m00s", "2m05s", "1h02m"]);
        assert_eq!([2.0, 0.25, 31.4159, -1.5].map(figure), ["2", "0.25", "31.416", "-1.5"]);
    }
}
