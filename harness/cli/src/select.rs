//! What the words of `--suite`, `--case`, `--require` and `--expected` select.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use hil_core::case::Suite;
use hil_core::located::{from_toml, nearest};
use serde::Deserialize;

use crate::args::SelectArgs;
use crate::catalogue;
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
        let known = every_case();
        let cases = match (&args.replay, args.cases.is_empty()) {
            (Some(replay), _) => Some(globs("--replay", &[replay.case.clone()], &known)?),
            (None, true) => None,
            (None, false) => Some(globs("--case", &args.cases, &known)?),
        };
        let expected = match &args.expected {
            None => Vec::new(),
            Some(file) => read_expected(file, &every_case_on_every_board(args, &known)?)?,
        };
        Ok(Selected {
            suites: suites(&args.suites)?,
            cases,
            required: globs("--require", &args.require, &known)?,
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

/// `suite/name` of all there are, chosen or not.
fn every_case() -> Vec<String> {
    let of_suite = |suite: &'static Suite| {
        suite.cases.iter().map(move |case| format!("{}/{}", suite.name, case.name))
    };
    hil_suites::SUITES.iter().flat_map(of_suite).collect()
}

/// `board/suite/name`: the boards that were not chosen too, for one file serves many runs.
fn every_case_on_every_board(args: &SelectArgs, known: &[String]) -> Result<Vec<String>, Failure> {
    let catalogue = catalogue::load(args.board_dir.as_deref())?;
    let on = |board: &str| known.iter().map(|id| format!("{board}/{id}")).collect::<Vec<_>>();
    Ok(catalogue.boards().flat_map(|board| on(&board.name)).collect())
}

/// Compiles the patterns; one that matches none of the known names is a slip, not a wish.
fn globs(flag: &str, patterns: &[String], known: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(false).build();
        let glob = glob.map_err(|error| Failure::usage(format!("{flag} '{pattern}': {error}")))?;
        check_used(flag, &glob, known)?;
        set.add(glob);
    }
    set.build().map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn check_used(flag: &str, glob: &Glob, known: &[String]) -> Result<(), Failure> {
    let matcher = glob.compile_matcher();
    if known.iter().any(|name| matcher.is_match(name)) {
        return Ok(());
    }
    // `folder/*` stands for itself in a suggestion: a misspelt folder is as likely as a name.
    let folders = known.iter().filter_map(|name| Some(format!("{}/*", name.rsplit_once('/')?.0)));
    let candidates: Vec<String> = folders.chain(known.iter().cloned()).collect();
    let help = match nearest(glob.glob(), candidates.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "see `hil suites` for the names of all cases".into(),
    };
    Err(Failure::usage(format!("{flag} '{}' matches no case\nhelp: {help}", glob.glob())))
}

fn read_expected(file: &Path, known: &[String]) -> Result<Vec<(GlobSet, String)>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("failed to read --expected {}: {error}", file.display()))
    })?;
    let parsed: ExpectedFile = from_toml(&text, &PathBuf::from(file))?;
    let read = |ExpectedCase { glob, reason, link }: ExpectedCase| {
        for (key, value) in [("reason", &reason), ("link", &link)] {
            if value.trim().is_empty() {
                let what = format!("{}: the case '{glob}' has an empty `{key}`", file.display());
                let help = "say why it fails, and where that is being worked on";
                return Err(Failure::usage(format!("{what}\nhelp: {help}")));
            }
        }
        let globs = globs(&format!("{}: match", file.display()), &[glob], known)?;
        Ok((globs, format!("{reason} ({link})")))
    };
    parsed.case.into_iter().map(read).collect()
}
