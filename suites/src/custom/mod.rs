//! Custom suites: a folder with a `suite.toml` and scripts or programs that run on the target.
//! Nobody needs Rust to add a test.
//!
//! `spec` is the file's format, `package` what goes to the target, `target` the words the target's
//! shell hears, `script` the one body that all such cases share. What scripts say is `hil-tap`'s.

mod package;
mod script;
mod spec;
mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hil_core::case::{Body, Case, Suite};
use hil_core::deadline::secs;
use hil_core::located::ConfigError;

use script::Script;
pub use spec::SuiteFile;

/// A suite's file in its folder.
pub const FILE_NAME: &str = "suite.toml";

/// What pushing, collecting and tidying may take besides the script, on a fast host.
const AROUND: Duration = secs(60);

/// The suites of a folder: the one that it is, or those that its folders are, by name.
pub fn find(dir: &Path) -> Result<Vec<Suite>, ConfigError> {
    if dir.join(FILE_NAME).is_file() {
        return Ok(vec![load(dir)?]);
    }
    let unreadable = |error: std::io::Error| {
        ConfigError::whole(dir, format!("the folder of suites cannot be read: {error}"))
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        if folder.join(FILE_NAME).is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    folders.iter().map(|folder| load(folder)).collect()
}

/// Reads and checks one suite. It is read once and kept for the life of the process, as the suites
/// in code are.
pub fn load(dir: &Path) -> Result<Suite, ConfigError> {
    let file = dir.join(FILE_NAME);
    let text = std::fs::read_to_string(&file)
        .map_err(|error| ConfigError::whole(&file, format!("cannot be read: {error}")))?;
    let spec = SuiteFile::parse(&text, &file)?;
    let dir: &'static Path = Box::leak(PathBuf::from(dir).into_boxed_path());
    let spec: &'static SuiteFile = Box::leak(Box::new(spec));
    let cases: Vec<Case> = spec.case.iter().map(|case| a_case(dir, spec, case)).collect();
    Ok(Suite {
        name: &spec.name,
        about: &spec.about,
        cases: cases.leak(),
        deadline: secs(spec.deadline_s),
    })
}

fn a_case(dir: &'static Path, suite: &'static SuiteFile, case: &'static spec::CaseFile) -> Case {
    let script: &'static Script = Box::leak(Box::new(Script { dir, suite, case }));
    Case {
        name: &case.name,
        about: &case.about,
        needs: case.all_needs(suite).leak(),
        isolation: case.isolation,
        deadline: secs(case.deadline_s) + AROUND,
        cuts: None,
        lasts: None,
        body: Body::Data(script),
    }
}
