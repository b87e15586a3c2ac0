//! What the words of `--suite`, `--case`, `--require` and `--expected` select.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use hil_core::case::{Body, Case, Suite};
use hil_core::located::{from_toml, nearest};
use hil_core::rules::{self, Rules};
use serde::Deserialize;

use crate::args::SelectArgs;
use crate::catalogue;
use crate::failure::Failure;
use crate::suites;

/// The selection, its globs compiled and its names checked.
pub(crate) struct Selected {
    /// All there are, chosen or not.
    pub(crate) all: &'static [Suite],
    pub(crate) suites: Vec<Suite>,
    cases: Option<GlobSet>,
    required: GlobSet,
    expected: Vec<(GlobSet, String)>,
    /// The same two as patterns, for the subtests that only the run will know.
    pub(crate) rules: Rules,
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
        let all = suites::all(args.suite_dir.as_deref())?;
        let known = every_case(all);
        let cases = match (&args.replay, args.cases.is_empty()) {
            (Some(replay), _) => {
                Some(globs("--replay", std::slice::from_ref(&replay.case), &known)?)
            }
            (None, true) => None,
            (None, false) => Some(globs("--case", &args.cases, &known)?),
        };
        let expected = match &args.expected {
            None => Vec::new(),
            Some(file) => read_expected(file, &every_case_on_every_board(args, &known)?)?,
        };
        let rules = Rules {
            required: args.require.clone(),
            expected: expected.iter().map(|(glob, _, why)| (glob.clone(), why.clone())).collect(),
        };
        Ok(Selected {
            all,
            suites: chosen(all, &args.suites)?,
            cases,
            required: globs("--require", &args.require, &known)?,
            expected: expected.into_iter().map(|(_, globs, why)| (globs, why)).collect(),
            rules,
        })
    }

    pub(crate) fn wants(&self, id: &str) -> bool {
        self.cases.as_ref().is_none_or(|globs| globs.is_match(id))
    }

    pub(crate) fn requires(&self, id: &str) -> bool {
        // A case of which a test is required is required itself.
        let mut of_tests = self.rules.required.iter().filter_map(|p| rules::of_case(p, 2));
        self.required.is_match(id) || of_tests.any(|pattern| rules::matches(&pattern, id))
    }

    pub(crate) fn expects(&self, full: &str) -> Option<String> {
        let found = self.expected.iter().find(|(globs, _)| globs.is_match(full));
        found.map(|(_, reason)| reason.clone())
    }
}

fn chosen(all: &[Suite], asked: &[String]) -> Result<Vec<Suite>, Failure> {
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

/// A case by `suite/name`, and whether tests within it have names of their own.
struct Known {
    name: String,
    has_tests: bool,
}

/// All there are, chosen or not.
fn every_case(all: &[Suite]) -> Vec<Known> {
    let of_suite = |suite: &Suite| -> Vec<Known> {
        let known = |case: &Case| Known {
            name: format!("{}/{}", suite.name, case.name),
            has_tests: matches!(case.body, Body::Data(_)),
        };
        suite.cases.iter().map(known).collect()
    };
    all.iter().flat_map(of_suite).collect()
}

/// `board/suite/name`: the boards that were not chosen too, for one file serves many runs.
fn every_case_on_every_board(args: &SelectArgs, known: &[Known]) -> Result<Vec<Known>, Failure> {
    let catalogue = catalogue::load(args.board_dir.as_deref())?;
    let on = |board: &str| -> Vec<Known> {
        let on = |case: &Known| Known {
            name: format!("{board}/{}", case.name),
            has_tests: case.has_tests,
        };
        known.iter().map(on).collect()
    };
    Ok(catalogue.boards().flat_map(|board| on(&board.name)).collect())
}

/// Compiles the patterns; one that matches none of the known names is a slip, not a wish.
fn globs(flag: &str, patterns: &[String], known: &[Known]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = rules::glob(pattern);
        let glob = glob.map_err(|error| Failure::usage(format!("{flag} '{pattern}': {error}")))?;
        check_used(flag, &glob, known)?;
        set.add(glob);
    }
    set.build().map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn check_used(flag: &str, glob: &Glob, known: &[Known]) -> Result<(), Failure> {
    let matcher = glob.compile_matcher();
    // What stands below the name of a case with tests of its own may be one of them.
    let has_test = |case: &Known| {
        let of_case = rules::of_case(glob.glob(), case.name.split('/').count());
        case.has_tests && of_case.is_some_and(|of_case| rules::matches(&of_case, &case.name))
    };
    if known.iter().any(|case| matcher.is_match(&case.name) || has_test(case)) {
        return Ok(());
    }
    let known = || known.iter().map(|case| case.name.clone());
    // `folder/*` stands for itself in a suggestion: a misspelt folder is as likely as a name.
    let folders = known().filter_map(|name| Some(format!("{}/*", name.rsplit_once('/')?.0)));
    let candidates: Vec<String> = folders.chain(known()).collect();
    let help = match nearest(glob.glob(), candidates.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "see `hil suites` for the names of all cases".into(),
    };
    Err(Failure::usage(format!("{flag} '{}' matches no case\nhelp: {help}", glob.glob())))
}

/// Each pattern, as it is and compiled, with why it is expected.
fn read_expected(file: &Path, known: &[Known]) -> Result<Vec<(String, GlobSet, String)>, Failure> {
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
        let flag = format!("{}: match", file.display());
        let globs = globs(&flag, std::slice::from_ref(&glob), known)?;
        Ok((glob, globs, format!("{reason} ({link})")))
    };
    parsed.case.into_iter().map(read).collect()
}
