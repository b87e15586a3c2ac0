//! The format of `suite.toml`, and what is checked of it before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use hil_core::case::{Isolation, Need};
use hil_core::located::{ConfigError, from_toml};
use schemars::JsonSchema;
use serde::Deserialize;

/// `suite.toml`: cases that are scripts or programs, run on the target.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// `kebab-case`; the folder's name if absent.
    #[serde(default)]
    pub name: String,
    /// One sentence: what the suite is about.
    #[serde(default)]
    pub about: String,
    /// Seconds for all its cases together, on a fast host with KVM; stretched for slower boards.
    #[serde(default = "suite_deadline")]
    pub deadline_s: u64,
    /// What every case needs of board and image; `hil suites` shows needs by name. Without a shell
    /// nothing can run, so `shell` is always among them.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Files and folders of this folder that every case has at its side on the target. `{arch}`
    /// stands for the board's architecture: `bin/{arch}/prog`.
    #[serde(default)]
    pub push: Vec<String>,
    /// Variables of every script's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where on the target a case's own folder is made.
    #[serde(default = "workdir")]
    pub workdir: String,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub case: Vec<CaseFile>,
}

/// Bounds of what goes over the wire, in MiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All that is pushed for a case.
    pub push_mib: u64,
    /// Each of stdout and stderr; a script that prints more is ended.
    pub output_mib: u64,
    /// Each collected file; a larger one is left, and the report says so.
    pub collect_mib: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { push_mib: 64, output_mib: 4, collect_mib: 16 }
    }
}

/// One case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// `kebab-case`, unique in the suite.
    pub name: String,
    /// One sentence: what is promised.
    #[serde(default)]
    pub about: String,
    /// A command line for the target's `sh`, in the folder of what was pushed.
    pub run: String,
    /// How it tells what came of its tests.
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Seconds for the script, on a fast host with KVM.
    #[serde(default = "case_deadline")]
    pub deadline_s: u64,
    #[serde(default)]
    pub isolation: Isolation,
    /// More files and folders of this folder.
    #[serde(default)]
    pub push: Vec<String>,
    /// Files of the target that are kept with the report afterwards: globs, relative to where the
    /// script ran or absolute.
    #[serde(default)]
    pub collect: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Exit status alone: 0 passes, 77 skips, all else fails.
    #[default]
    Exit,
    /// TAP 13 or 14 on stdout.
    Tap,
    /// The kernel's TAP, as kselftests print it; status 4 skips, too.
    Ktap,
    /// LAVA's signals on stdout.
    Lava,
}

fn suite_deadline() -> u64 {
    600
}

fn case_deadline() -> u64 {
    60
}

fn workdir() -> String {
    "/tmp".into()
}

impl CaseFile {
    /// Its own needs and the suite's, each once.
    pub(super) fn all_needs(&self, suite: &SuiteFile) -> Vec<Need> {
        let all = [&[Need::Shell][..], &suite.needs, &self.needs].concat();
        all.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl SuiteFile {
    /// Reads `text`, which came from `file`; mistakes are shown at their line and column.
    pub fn parse(text: &str, file: &Path) -> Result<SuiteFile, ConfigError> {
        let mut suite: SuiteFile = from_toml(text, file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        if suite.name.is_empty() {
            let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
            suite.name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        Check { file, text, folder }.suite(&suite)?;
        Ok(suite)
    }
}

/// What types cannot say.
struct Check<'c> {
    file: &'c Path,
    text: &'c str,
    folder: &'c Path,
}

impl Check<'_> {
    fn wrong(&self, key: &str, what: String) -> ConfigError {
        ConfigError::at_key(self.file, self.text, key, what)
    }

    fn suite(&self, suite: &SuiteFile) -> Result<(), ConfigError> {
        self.name("name", &suite.name)?;
        if suite.case.is_empty() {
            let what = "the suite has no case";
            return Err(ConfigError::whole(self.file, what).with_help("add a [[case]]"));
        }
        self.deadline("deadline_s", suite.deadline_s)?;
        for (key, limit) in [
            ("limits.push_mib", suite.limits.push_mib),
            ("limits.output_mib", suite.limits.output_mib),
            ("limits.collect_mib", suite.limits.collect_mib),
        ] {
            if !(1..=4096).contains(&limit) {
                return Err(self.wrong(key, format!("{limit} MiB is not within 1 to 4096")));
            }
        }
        if !suite.workdir.starts_with('/') {
            let what = format!("`{}` is no absolute path", suite.workdir);
            return Err(self.wrong("workdir", what));
        }
        self.pushed("push", &suite.push)?;
        self.env("env", &suite.env)?;
        let mut names = BTreeSet::new();
        for (nth, case) in suite.case.iter().enumerate() {
            let key = |field: &str| format!("case.{nth}.{field}");
            self.name(&key("name"), &case.name)?;
            if !names.insert(&case.name) {
                return Err(self.wrong(&key("name"), format!("`{}` is there twice", case.name)));
            }
            if case.run.trim().is_empty() {
                return Err(self.wrong(&key("run"), "there is nothing to run".into()));
            }
            self.deadline(&key("deadline_s"), case.deadline_s)?;
            self.pushed(&key("push"), &case.push)?;
            self.env(&key("env"), &case.env)?;
        }
        Ok(())
    }

    fn name(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match !name.is_empty() && name.len() <= 60 && name.chars().all(kebab) {
            true => Ok(()),
            false => {
                let what = format!("`{name}` is no name: use a-z, 0-9 and `-`, at most 60 of them");
                Err(self.wrong(key, what))
            }
        }
    }

    fn deadline(&self, key: &str, seconds: u64) -> Result<(), ConfigError> {
        match (1..=86_400).contains(&seconds) {
            true => Ok(()),
            false => Err(self.wrong(key, format!("{seconds} s is not within 1 to 86400"))),
        }
    }

    fn env(&self, key: &str, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
        let plain = |name: &str| {
            name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit())
        };
        match env.keys().find(|name| !plain(name)) {
            None => Ok(()),
            Some(name) => {
                let what = format!("`{name}` is no name of a variable");
                Err(self.wrong(&format!("{key}.{name}"), what))
            }
        }
    }

    fn pushed(&self, key: &str, paths: &[String]) -> Result<(), ConfigError> {
        for (nth, path) in paths.iter().enumerate() {
            let key = format!("{key}.{nth}");
            let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside || path.is_empty() {
                let what = format!("`{path}` is no path within the suite's folder");
                return Err(self.wrong(&key, what));
            }
            if !path.contains("{arch}") && !self.folder.join(path).exists() {
                let what = format!("`{path}` is not in {}", self.folder.display());
                return Err(self.wrong(&key, what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SuiteFile, ConfigError> {
        SuiteFile::parse(text, Path::new("/nowhere/mine/suite.toml"))
    }

    #[test]
    fn ten_words_are_a_suite() {
        let suite = parse("[[case]]\nname = \"up\"\nrun = \"true\"\n").unwrap();
        assert_eq!(suite.name, "mine");
        let case = &suite.case[0];
        assert_eq!(
            (case.format, case.deadline_s, case.isolation),
            (Format::Exit, 60, Isolation::Shared)
        );
        assert_eq!(case.all_needs(&suite), [Need::Shell]);
    }

    #[test]
    fn needs_add_up() {
        let text = "needs = [\"network\"]\n[[case]]\nname = \"a\"\nrun = \"b\"\n\
                    needs = [\"systemd\", \"network\"]\n";
        let suite = parse(text).unwrap();
        assert_eq!(suite.case[0].all_needs(&suite), [Need::Shell, Need::Network, Need::Systemd]);
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        let case = "[[case]]\nname = \"up\"\nrun = \"true\"\n";
        for (text, line, column, told) in [
            (format!("{case}format = \"tab\"\n"), 4, 10, "unknown variant `tab`"),
            (format!("{case}needs = [\"shel\"]\n"), 4, 10, "unknown variant `shel`"),
            (format!("{case}isolatio = \"fork\"\n"), 4, 1, "unknown field `isolatio`"),
            (format!("{case}deadline_s = 0\n"), 4, 14, "0 s is not within"),
            (format!("{case}push = [\"../etc\"]\n"), 4, 9, "no path within"),
            (format!("{case}push = [\"gone.sh\"]\n"), 4, 9, "`gone.sh` is not in /nowhere/mine"),
            (format!("{case}[case.env]\n\"A B\" = \"x\"\n"), 5, 9, "no name of a variable"),
            (format!("{case}{case}"), 5, 8, "`up` is there twice"),
            ("[[case]]\nname = \"Up\"\nrun = \"x\"\n".into(), 2, 8, "`Up` is no name"),
            ("[[case]]\nname = \"up\"\nrun = \" \"\n".into(), 3, 7, "nothing to run"),
            ("about = \"x\"\n".into(), 0, 0, "no case"),
            (format!("workdir = \"tmp\"\n{case}"), 1, 11, "no absolute path"),
            (format!("[limits]\noutput_mib = 0\n{case}"), 2, 14, "not within 1 to 4096"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.message.contains(told), "{text}\n{}", error.message);
            assert_eq!((error.line, error.column), (line, column), "{text}\n{error}");
        }
        let error = parse(&format!("{case}needs = [\"shel\"]\n")).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `shell`?"));
    }
}
