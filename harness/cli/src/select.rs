//! What the words of `--suite`, `--case`, `--require` and `--expected` select.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use hil_core::case::Suite;
use hil_core::located::{from_toml, nearest};
use serde::Deserialize;

use crate::args::SelectArgs;
use crate::failure::Failure;

/// The selection, its globs compiled and its names checked.
pub(crate) struct Selected {
    pub(crate) suites: Vec<Suite>,
    cases: Option<GlobSet>,
    required: GlobSet,
    expected: Vec<(GlobSet, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFile {
    #[serde(default)]
    case: Vec<ExpectedCase>,
}

/// A failure that is known: which, why, and where it is being worked on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCase {
    #[serde(rename = "match")]
    glob: String,
    reason: String,
    link: String,
}

impl Selected {
    pub(crate) fn new(args: &SelectArgs) -> Result<Selected, Failure> {
        let cases = match args.cases.is_empty() {
            true => None,
            false => Some(globs("--case", &args.cases)?),
        };
        let expected = match &args.expected {
            None => Vec::new(),
            Some(file) => read_expected(file)?,
        };
        Ok(Selected {
            suites: suites(&args.suites)?,
            cases,
            required: globs("--require", &args.require)?,
            expected,
        })
    }

    pub(crate) fn wants(&self, id: &str) -> bool {
        self.cases.as_ref().is_none_or(|globs| globs.is_match(id))
    }

    pub(crate) fn requires(&self, id: &str) -> bool {
        self.required.is_match(id)
    }

    pub(crate) fn expects(&self, full: &str) -> Option<String> {
        let found = self.expected.iter().find(|(globs, _)| globs.is_match(full));
        found.map(|(_, reason)| reason.clone())
    }
}

fn suites(asked: &[String]) -> Result<Vec<Suite>, Failure> {
    let all = hil_suites::SUITES;
    for name in asked {
        if !all.iter().any(|suite| suite.name == name) {
            let names: Vec<&str> = all.iter().map(|suite| suite.name).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", names.join(", ")),
            };
            return Err(Failure::usage(format!("there is no suite `{name}`\nhelp: {help}")));
        }
    }
    let wanted = |suite: &&Suite| asked.is_empty() || asked.iter().any(|name| name == suite.name);
    Ok(all.iter().filter(wanted).copied().collect())
}

fn globs(flag: &str, patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let failed = |error| Failure::usage(format!("{flag} '{pattern}': {error}"));
        set.add(GlobBuilder::new(pattern).literal_separator(false).build().map_err(failed)?);
    }
    set.build().map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn read_expected(file: &Path) -> Result<Vec<(GlobSet, String)>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("failed to read --expected {}: {error}", file.display()))
    })?;
    let parsed: ExpectedFile = from_toml(&text, &PathBuf::from(file))?;
    let read = |case: ExpectedCase| {
        let globs = globs(&format!("{}: match", file.display()), &[case.glob])?;
        Ok((globs, format!("{} ({})", case.reason, case.link)))
    };
    parsed.case.into_iter().map(read).collect()
}
