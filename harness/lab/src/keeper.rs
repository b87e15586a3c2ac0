//! The lab's keeper: a process that holds the boards' locks for hil and makes each board safe when
//! hil lets go of it, or ends in whatever way. The lock is free only after that, and a board that
//! could not be made safe goes into quarantine before: nobody takes it unseen.
//!
//! They talk in lines of JSON: [`Request`] on the keeper's standard input, [`Reply`] on its output.
//! The input's end is hil's end. Each board has a thread of its own here, too.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::DriverError;
use crate::labfile::{Instance, Safe, Timing};
use crate::lock::{Asked, Holder, Lock};
use crate::places::Places;
use crate::power;
use crate::quarantine;
use crate::storage::StorageSpec;
use crate::wired::Wired;

/// A device that refuses to switch is asked again for this long before the board is given up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the keeper says first.
pub const READY: &str = "lab keeper ready";

/// What hil asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub id: u64,
    pub ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Take this board, if nobody has it.
    Hold { name: String, instance: Box<Instance>, holder: Holder },
    /// Make it safe and let go of it.
    Release { name: String },
    /// Let go of it as it is: somebody switched it by hand.
    Leave { name: String },
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    pub answer: Answer,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Held {
        /// Who died holding it: the board may be in any state.
        left_by: Option<Holder>,
    },
    Busy {
        holder: Option<Holder>,
    },
    Released,
    Failed {
        why: String,
    },
}

struct Kept {
    instance: Instance,
    holder: Holder,
    /// Held for its drop.
    _lock: Lock,
}

/// Serves until `requests` end, then makes every board safe. `before` runs first: it ends what
/// still uses the boards. Whether all boards are safe.
pub fn serve(
    places: &Places,
    requests: impl BufRead,
    replies: impl Write + Send + 'static,
    before: impl FnOnce(),
) -> bool {
    let replies = Arc::new(Mutex::new(replies));
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut releasing = Vec::new();
    for line in requests.lines() {
        let Ok(line) = line else { break };
        let Ok(Request { id, ask }) = serde_json::from_str(&line) else { continue };
        match ask {
            Ask::Hold { name, instance, holder } => {
                let answer = hold(places, &mut kept, name, *instance, &holder);
                say(&replies, id, answer);
            }
            Ask::Leave { name } => {
                // The lock goes with it, before the answer.
                drop(kept.remove(&name));
                say(&replies, id, Answer::Released);
            }
            Ask::Release { name } => match kept.remove(&name) {
                None => say(&replies, id, Answer::Released),
                Some(board) => {
                    let (replies, places) = (replies.clone(), places.clone());
                    releasing.push(thread::spawn(move || {
                        let answer = match settle(&places, board, PATIENCE) {
                            Ok(()) => Answer::Released,
                            Err(why) => Answer::Failed { why },
                        };
                        let safe = answer == Answer::Released;
                        say(&replies, id, answer);
                        safe
                    }));
                }
            },
        }
    }
    if !kept.is_empty() {
        before();
    }
    let settling = kept.into_values().map(|board| {
        let places = places.clone();
        thread::spawn(move || settle(&places, board, PATIENCE).is_ok())
    });
    let all: Vec<JoinHandle<bool>> = settling.collect();
    // All are waited for, whatever became of one.
    let ended: Vec<bool> =
        all.into_iter().chain(releasing).map(|one| one.join().unwrap_or(false)).collect();
    ended.iter().all(|safe| *safe)
}

fn hold(
    places: &Places,
    kept: &mut BTreeMap<String, Kept>,
    name: String,
    mut instance: Instance,
    holder: &Holder,
) -> Answer {
    // A lab file names it by its table, and so does who sends it.
    instance.name.clone_from(&name);
    match Lock::ask(&places.locks, &name, holder) {
        Ok(Asked::Held(lock)) => {
            let left_by = lock.left_by.clone();
            kept.insert(name, Kept { instance, holder: holder.clone(), _lock: lock });
            Answer::Held { left_by }
        }
        Ok(Asked::Busy(holder)) => Answer::Busy { holder },
        Err(error) => Answer::Failed { why: format!("failed to {error}") },
    }
}

/// Safe first, then free; in quarantine between the two if it is not safe.
fn settle(places: &Places, board: Kept, patience: Duration) -> Result<(), String> {
    let Kept { instance, holder, _lock } = board;
    let made = make_safe(&instance, patience).map_err(|error| format!("failed to {error}"));
    made.map_err(|why| {
        let words = format!("it could not be made safe: {why}");
        match quarantine::put(places, &instance.name, words, &holder) {
            Ok(()) => format!("{why}; it is in quarantine"),
            Err(error) => format!("{why}; and its quarantine could not be noted: {error}"),
        }
    })
}

fn make_safe(instance: &Instance, patience: Duration) -> Result<(), DriverError> {
    Wired::new(instance).settle(instance.safe, patience)?;
    // Left closed by a run that was killed, it would keep the board in its loader.
    match instance.storage.as_ref().and_then(StorageSpec::contact) {
        Some(contact) => {
            let mut contact = Wired::over(power::open(contact), Timing::default());
            contact.settle(Safe::Off, patience)
        }
        None => Ok(()),
    }
}

fn say(replies: &Mutex<impl Write>, id: u64, answer: Answer) {
    let line = serde_json::to_string(&Reply { id, answer }).unwrap_or_default();
    let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
    // A hil that is gone needs no answer; the end of its requests follows.
    let _ = writeln!(replies, "{line}").and_then(|()| replies.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, pipe};

    fn instance(dir: &std::path::Path, off: &str) -> Box<Instance> {
        let log = dir.join("log");
        let text = format!(
            "[instance.b]\ntype = \"t\"\n[instance.b.power.command]\non = [\"sh\", \"-c\", \
             \"echo on >>{log}\"]\noff = [\"sh\", \"-c\", \"{off}\"]\n[instance.b.console.tcp]\n\
             address = \"localhost:1\"\n",
            log = log.display(),
            off = off.replace("LOG", &log.display().to_string()),
        );
        let lab = crate::Lab::parse(&text, &dir.join("lab.toml"), &|name| name == "t", &[]);
        Box::new(lab.unwrap().instance["b"].clone())
    }

    fn me() -> Holder {
        let (user, since) = ("me".into(), "2026-01-01T00:00:00Z".into());
        Holder { pid: 1, user, since, what: "test".into(), by_hand: false }
    }

    #[test]
    fn boards_are_made_safe_when_the_requests_end_and_only_then_free() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path()).unwrap();
        let (from_hil, mut to_keeper) = pipe().unwrap();
        let (from_keeper, replies) = pipe().unwrap();
        let locks = places.locks.clone();
        let seen = Arc::new(Mutex::new(None));
        let at_end = seen.clone();
        let serving = thread::spawn(move || {
            serve(&places, BufReader::new(from_hil), replies, || {
                *at_end.lock().unwrap() = Some(Lock::holder(&places.locks, "b").is_some());
            })
        });
        let instance = instance(dir.path(), "echo off >>LOG");
        let ask =
            |name: &str| Ask::Hold { name: name.into(), instance: instance.clone(), holder: me() };
        let mut answers = BufReader::new(from_keeper).lines();
        let mut talk = |id, ask| {
            let line = serde_json::to_string(&Request { id, ask }).unwrap();
            writeln!(to_keeper, "{line}").unwrap();
            let reply: Reply = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
            assert_eq!(reply.id, id);
            reply.answer
        };
        assert_eq!(talk(1, ask("b")), Answer::Held { left_by: None });
        assert_eq!(talk(2, ask("b")), Answer::Busy { holder: Some(me()) });
        assert_eq!(talk(3, ask("c")), Answer::Held { left_by: None });
        assert_eq!(talk(4, Ask::Release { name: "c".into() }), Answer::Released);
        assert_eq!(Lock::holder(&locks, "c"), None);
        assert_eq!(talk(5, ask("d")), Answer::Held { left_by: None });
        // Nothing is switched: the log below has two lines.
        assert_eq!(talk(6, Ask::Leave { name: "d".into() }), Answer::Released);
        assert_eq!(Lock::holder(&locks, "d"), None);
        drop(to_keeper);
        assert!(serving.join().unwrap());
        assert_eq!(*seen.lock().unwrap(), Some(true), "processes are ended while it is held");
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "off\noff\n");
        assert_eq!(Lock::holder(&locks, "b"), None);
    }

    #[test]
    fn a_board_that_cannot_be_made_safe_is_in_quarantine_before_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path()).unwrap();
        let mut kept = BTreeMap::new();
        let stuck = *instance(dir.path(), "exit 3");
        hold(&places, &mut kept, "b".into(), stuck, &me());
        let why = settle(&places, kept.remove("b").unwrap(), Duration::ZERO).unwrap_err();
        assert!(why.ends_with("it is in quarantine"), "{why}");
        assert_eq!(Lock::holder(&places.locks, "b"), None);
        let found = quarantine::read(&places, "b").unwrap();
        assert_eq!(found.after, Some(me()));
        let words = found.to_string();
        assert!(words.contains("could not be made safe") && words.contains("`test`"), "{words}");
    }
}
