//! The suites of this run: those in code, and the user's folders beside them.

use std::path::{Path, PathBuf};

use hil_core::case::Suite;
use hil_core::located::ConfigError;
use hil_suites::custom;

use crate::failure::Failure;

/// The folder beside the user's project that is read unasked.
const USUAL: &str = "suites";

/// hil's own, under which it reports of itself.
const OWN: &str = "hil";

/// All suites, with those of the asked folder, or of `./suites` if there is one.
pub(crate) fn all(asked: Option<&Path>) -> Result<&'static [Suite], Failure> {
    let mut all = hil_suites::SUITES.to_vec();
    let folder = match asked {
        Some(folder) => Some(folder.to_path_buf()),
        None => Some(PathBuf::from(USUAL)).filter(|folder| folder.is_dir()),
    };
    let found = folder.as_deref().map_or(Ok(Vec::new()), custom::find)?;
    if let (Some(folder), true) = (asked, found.is_empty()) {
        let what = format!("there is no {} in {}", custom::FILE_NAME, folder.display());
        let help = "give the folder of a suite, or one that holds folders of suites";
        return Err(ConfigError::whole(folder, what).with_help(help).into());
    }
    for suite in found {
        if suite.name == OWN || all.iter().any(|known| known.name == suite.name) {
            let what = format!("there is a suite `{}` already", suite.name);
            let help = "give it another `name` in its suite.toml";
            return Err(Failure::usage(format!("{what}\nhelp: {help}")));
        }
        all.push(suite);
    }
    Ok(all.leak())
}
