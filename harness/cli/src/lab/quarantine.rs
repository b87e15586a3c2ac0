//! Boards that a check found wanting: no run takes them until a check finds them well.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use hil_lab::Places;
use serde::{Deserialize, Serialize};

/// Why and since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    /// RFC 3339, UTC.
    pub(crate) since: String,
    pub(crate) why: String,
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (since {}; `hil lab check` lifts it)", self.why, self.since)
    }
}

pub(crate) fn read(places: &Places, instance: &str) -> Option<Quarantine> {
    let text = fs::read_to_string(path(places, instance)).ok()?;
    // A file that cannot be read is a quarantine all the same.
    Some(serde_json::from_str(&text).unwrap_or_else(|why| Quarantine {
        since: "?".into(),
        why: format!("{}: {why}", path(places, instance).display()),
    }))
}

/// Puts the instance into quarantine, or lifts it.
pub(crate) fn set(
    places: &Places,
    instance: &str,
    quarantine: Option<&Quarantine>,
) -> std::io::Result<()> {
    let path = path(places, instance);
    match quarantine {
        Some(quarantine) => fs::write(path, serde_json::to_string(quarantine).unwrap_or_default()),
        None => match fs::remove_file(path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    }
}

fn path(places: &Places, instance: &str) -> PathBuf {
    places.state.join(format!("{instance}.quarantine"))
}
