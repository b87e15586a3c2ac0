//! Mistakes in TOML files, each with file, line, column, the line itself and a suggestion.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// A mistake in a board, machine, image or lab file.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// One-based; zero where the mistake belongs to the file as a whole.
    pub line: usize,
    /// One-based, in characters.
    pub column: usize,
    /// The offending line, for the caret picture.
    pub text: String,
    pub message: String,
    pub help: Option<String>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.line == 0 {
            write!(f, "{file}: {}", self.message)?;
        } else {
            let number = self.line.to_string();
            let gap = " ".repeat(number.len());
            let under = " ".repeat(self.column.saturating_sub(1));
            writeln!(f, "{file}:{number}:{}: {}", self.column, self.message)?;
            writeln!(f, "{gap} |")?;
            writeln!(f, "{number} | {}", self.text)?;
            write!(f, "{gap} | {under}^")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl ConfigError {
    /// A mistake of the file as a whole.
    pub fn whole(file: &Path, message: impl fmt::Display) -> ConfigError {
        ConfigError {
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            text: String::new(),
            message: message.to_string(),
            help: None,
        }
    }

    /// A mistake at the value of the dotted `key` (`stages.ready`), found again in the text.
    ///
    /// Checks that need the whole file (a regex that does not compile, a machine that does not
    /// exist) run after parsing; this puts their finding on the right line.
    pub fn at_key(file: &Path, text: &str, key: &str, message: impl fmt::Display) -> ConfigError {
        let mut error = ConfigError::whole(file, message);
        if let Some(offset) = value_offset(text, key) {
            error.locate(text, offset);
        }
        error
    }

    #[must_use]
    pub fn with_help(mut self, help: impl fmt::Display) -> ConfigError {
        self.help = Some(help.to_string());
        self
    }

    fn locate(&mut self, text: &str, offset: usize) {
        let offset = (0..=offset.min(text.len())).rev().find(|&i| text.is_char_boundary(i));
        let before = &text[..offset.unwrap_or(0)];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        self.line = before.matches('\n').count() + 1;
        self.column = before[start..].chars().count() + 1;
        self.text = text[start..].lines().next().unwrap_or("").replace('\t', " ");
    }
}

/// Reads `text`, which came from `file`, as a `T`; unknown keys and wrong types are errors.
pub fn from_toml<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let mut located = ConfigError::whole(file, plainly(&error, text));
        if let Some(span) = error.span() {
            located.locate(text, span.start);
        }
        located.help = suggestion(error.message());
        located
    })
}

/// The parser's message in the words of the file: tables and keys instead of Rust's types.
fn plainly(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim_end();
    let root = DeTable::parse(text).ok();
    let place = root.as_ref().zip(error.span());
    let place = place.and_then(|(root, span)| place_of(root.get_ref(), &span));
    if let Some((found, _)) = message.split_once(", expected struct ") {
        return format!("{found}, expected a table");
    }
    match place {
        // What becomes an enum is a table with one table in it, which says what kind it is.
        Some((key, DeValue::Table(table))) if message.starts_with("wanted exactly 1 element") => {
            let kinds: Vec<String> =
                table.keys().map(|kind| format!("[{key}.{}]", kind.get_ref())).collect();
            match kinds.is_empty() {
                true => format!("[{key}] is empty: give exactly one kind, as [{key}.KIND]"),
                false => format!("give exactly one of {}", kinds.join(", ")),
            }
        }
        Some((key, DeValue::String(kind))) if message.contains("unit variant, expected") => {
            format!("`{key}` is a table: write [{key}.{kind}]")
        }
        _ => message.to_string(),
    }
}

/// The dotted key of the value that stands at `span`, and the value.
fn place_of<'t, 'i>(
    table: &'t DeTable<'i>,
    span: &Range<usize>,
) -> Option<(String, &'t DeValue<'i>)> {
    table.iter().find_map(|(key, value)| {
        let key = key.get_ref().to_string();
        if value.span() == *span {
            return Some((key, value.get_ref()));
        }
        let (inner, found) = place_of(value.get_ref().as_table()?, span)?;
        Some((format!("{key}.{inner}"), found))
    })
}

/// What Debian, Go and Yocto call an architecture, and its name here: by its letters alone `arm64` is
/// most like `arm`.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("arm64", "aarch64"),
    ("amd64", "x86_64"),
    ("x86-64", "x86_64"),
    ("armhf", "arm"),
    ("armv7", "arm"),
];

/// "did you mean" for serde's "unknown field `x`, expected one of `a`, `b`".
fn suggestion(message: &str) -> Option<String> {
    let unknown =
        message.strip_prefix("unknown field ").or(message.strip_prefix("unknown variant "))?;
    let mut quoted = unknown.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == wrong).map(|(_, name)| *name);
    let near = match quoted.clone().find(|candidate| Some(*candidate) == other) {
        Some(name) => name,
        None => nearest(wrong, quoted)?,
    };
    Some(format!("did you mean `{near}`?"))
}

/// The candidate that is most like `wrong`, if any is like it at all.
pub fn nearest<'c>(wrong: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(wrong, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Where the value of a dotted key begins. An array's elements are named by number: `inject.1`.
///
/// Of a key that does not stand in the text, the innermost table around it is shown instead.
fn value_offset(text: &str, key: &str) -> Option<usize> {
    let Ok(root) = DeTable::parse(text) else { return ini_value_offset(text, key) };
    let mut segments = key.split('.');
    let mut value = root.get_ref().get(segments.next()?)?;
    for segment in segments {
        let inner = match value.get_ref() {
            DeValue::Table(table) => table.get(segment),
            DeValue::Array(array) => segment.parse::<usize>().ok().and_then(|i| array.get(i)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        value = inner;
    }
    Some(value.span().start)
}

/// The same for a file that is no TOML, such as Yocto's `qemuboot.conf`: sections of
/// `key = value`, one a line.
fn ini_value_offset(text: &str, key: &str) -> Option<usize> {
    let (wanted_section, wanted) = key.rsplit_once('.').unwrap_or(("", key));
    let mut section = "";
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let header = line.trim().strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if let Some(name) = header {
            section = name;
        } else if let Some((name, value)) = line.split_once('=')
            && section == wanted_section
            && name.trim() == wanted
        {
            return Some(offset + line.len() - value.trim_start().len());
        }
        offset += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its parsing is tested")]
        title: String,
        power: Option<Power>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Power {
        #[expect(dead_code, reason = "only its parsing is tested")]
        channel: u8,
    }

    #[test]
    fn a_wrong_type_is_shown_at_its_line_and_column() {
        let text = "title = \"x\"\n[power]\nchannel = \"one\"\n";
        let error = from_toml::<Sample>(text, Path::new("b.toml")).unwrap_err();
        assert_eq!((error.line, error.column), (3, 11));
        let shown = error.to_string();
        assert!(shown.starts_with("b.toml:3:11: invalid type"), "{shown}");
        assert!(shown.contains("3 | channel = \"one\"\n  |           ^"), "{shown}");
    }

    #[test]
    fn an_unknown_key_gets_a_suggestion() {
        let error = from_toml::<Sample>("titel = \"x\"\n", Path::new("b.toml")).unwrap_err();
        assert_eq!((error.line, error.column), (1, 1));
        assert_eq!(error.help.as_deref(), Some("did you mean `title`?"));
    }

    #[test]
    fn a_late_check_finds_its_value_again() {
        let text = "title = \"x\"\n[power]\n# note\nchannel =   1\n";
        let error = ConfigError::at_key(Path::new("b.toml"), text, "power.channel", "no such");
        assert_eq!((error.line, error.column), (4, 13));
        assert!(from_toml::<Sample>(text, Path::new("b.toml")).unwrap().power.is_some());
    }

    fn found(text: &str, key: &str) -> (usize, usize) {
        let error = ConfigError::at_key(Path::new("b.toml"), text, key, "wrong");
        (error.line, error.column)
    }

    #[test]
    fn a_late_check_reads_toml_as_toml_is_written() {
        assert_eq!(found("[login] # how\nprompt = \"(\"\n", "login.prompt"), (2, 10));
        assert_eq!(found("login = { user = \"=\", prompt = \"(\" }\n", "login.prompt"), (1, 32));
        assert_eq!(found("login.prompt = \"(\"\n", "login.prompt"), (1, 16));
        assert_eq!(found("a = \"\"\"\nb = 1\n\"\"\"\nb = 2\n", "b"), (4, 5));
    }

    #[test]
    fn one_of_several_tables_is_named_by_its_number() {
        let text = "[[inject]]\npath = \"a\"\n[[inject]]\npath = \"b\"\n";
        assert_eq!(found(text, "inject.1"), (3, 1));
        assert_eq!(found(text, "inject.1.path"), (4, 8));
    }

    #[test]
    fn a_key_that_is_not_there_is_shown_at_its_table() {
        assert_eq!(found("title = \"x\"\n[power]\nchannel = 1\n", "power.host"), (2, 1));
        assert_eq!(found("title = \"x\"\n", "power.host"), (0, 0));
    }

    #[test]
    fn a_file_that_is_no_toml_is_searched_by_lines() {
        let text = "[other]\nqb_mem = 1\n[config_bsp]\nqb_mem = -m lots\n";
        assert_eq!(found(text, "config_bsp.qb_mem"), (4, 10));
    }

    #[test]
    fn messages_speak_of_tables_not_of_rust() {
        let says = |boot: &str| {
            let text = format!("name = \"x\"\narch = \"arm\"\n{boot}\n");
            from_toml::<crate::image::Image>(&text, Path::new("image.toml")).unwrap_err().message
        };
        let kinds = "[boot.firmware]\nfile = \"a\"\n[boot.kernel]\nfile = \"b\"";
        assert_eq!(says(kinds), "give exactly one of [boot.firmware], [boot.kernel]");
        assert!(says("[boot]").contains("[boot] is empty"), "{}", says("[boot]"));
        assert_eq!(says("boot = \"kernel\""), "`boot` is a table: write [boot.kernel]");
        let file = says("[boot]\nfirmware = \"u-boot.bin\"");
        assert!(file.ends_with("expected a table with `file`"), "{file}");
        let sample = from_toml::<Sample>("title = \"x\"\npower = 1\n", Path::new("b.toml"));
        assert!(sample.unwrap_err().message.ends_with("expected a table"));
    }
}
