//! Where hil keeps things, by the XDG base directory specification.

use std::env;
use std::path::PathBuf;

use crate::failure::Failure;

/// `$XDG_CACHE_HOME/hil`, or `~/.cache/hil`.
pub(crate) fn cache() -> Result<PathBuf, Failure> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|path| path.join("hil"))
        .ok_or_else(|| Failure::usage("neither HOME nor XDG_CACHE_HOME is set; set one of them"))
}
