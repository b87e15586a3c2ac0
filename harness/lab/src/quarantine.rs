//! Boards that no run takes until a check finds them well: those that a check found wanting, and
//! those that could not be made safe.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lock::{Holder, now};
use crate::places::Places;

/// Why, since when, and in whose hands it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// RFC 3339, UTC.
    pub since: String,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Holder>,
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (since {}", self.why, self.since)?;
        if let Some(Holder { user, what, .. }) = &self.after {
            write!(f, ", after {user} had it for `{what}`")?;
        }
        f.write_str("; `hil lab check` lifts it)")
    }
}

pub fn read(places: &Places, instance: &str) -> Option<Quarantine> {
    let text = fs::read_to_string(path(places, instance)).ok()?;
    // A file that cannot be read is a quarantine all the same.
    Some(serde_json::from_str(&text).unwrap_or_else(|why| Quarantine {
        since: "?".into(),
        why: format!("{}: {why}", path(places, instance).display()),
        after: None,
    }))
}

/// Puts the instance into quarantine. One that is there already is so since then.
pub fn put(places: &Places, instance: &str, why: String, after: &Holder) -> std::io::Result<()> {
    let since = read(places, instance).map_or_else(now, |before| before.since);
    let quarantine = Quarantine { since, why, after: Some(after.clone()) };
    let text = serde_json::to_string(&quarantine).unwrap_or_default();
    fs::write(path(places, instance), text)
}

/// Lifts it, if there is one; whether there was.
pub fn lift(places: &Places, instance: &str) -> std::io::Result<bool> {
    match fs::remove_file(path(places, instance)) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn path(places: &Places, instance: &str) -> PathBuf {
    places.state.join(format!("{instance}.quarantine"))
}
