//! `ConsoleShell`: commands and files over a serial console, on any target with a POSIX shell.
//!
//! A command is sent as one line, or as several that are acknowledged, runs in a shell of its own
//! with stdin from `/dev/null`, and its output comes back encoded in numbered lines from files on
//! the target: kernel messages in the middle of a line cost a repetition, never a byte. stdout and
//! stderr are apart. It is slow beside SSH; files should be small.

mod own;
mod put;
mod talk;
mod target;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hil_core::deadline::{Deadline, secs};
use hil_core::image::Login;
use hil_core::parts::{Console, Output, Progress, Shell};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::Regex;

use crate::alarms::Alarms;
use crate::login::{Entry, INTERRUPT, Proof};
use crate::transfer::{Cksum, Encoder, Stamp, quote, stamp_of, to_printf};
pub(crate) use own::OwnWords;
use put::{Kind, Source};
use talk::{Remote, Talk, decode};

/// A command whose line would be longer goes as a file: line editors take about 1000 characters.
const INLINE: usize = 400;

/// What a command may print; more belongs into a file.
const MOST: u64 = 1 << 20;

/// What is known of the target once its functions are there.
#[derive(Clone)]
struct Session {
    dir: String,
    encoder: &'static Encoder,
}

/// A shell on a serial console.
pub struct ConsoleShell {
    console: Arc<dyn Console>,
    login: Login,
    login_prompt: Regex,
    alarms: Alarms,
    session: Option<Session>,
    /// A command was begun and its end not seen: its future was dropped.
    busy: bool,
    /// Output before this offset belongs to an earlier boot.
    floor: u64,
    id: u32,
}

impl ConsoleShell {
    pub fn new(console: Arc<dyn Console>, login: Login) -> Outcome<ConsoleShell> {
        let login_prompt = talk::regex(&login.prompt)?;
        let alarms = Alarms::new().map_err(|why| Trouble::rack(format!("no regex: {why}")))?;
        let (session, busy, floor, id) = (None, false, 0, 0);
        Ok(ConsoleShell { console, login, login_prompt, alarms, session, busy, floor, id })
    }

    fn next_id(&mut self) -> u32 {
        self.id += 1;
        self.id
    }

    fn talk(&self) -> Talk<'_> {
        Talk { console: &*self.console, login_prompt: &self.login_prompt }
    }

    /// A session without a command under way.
    async fn session(&mut self, deadline: Deadline) -> Outcome<Session> {
        if self.busy && self.session.is_some() {
            self.interrupt().await?;
        }
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let id = self.next_id();
        let entry = Entry::new(&*self.console, &self.login, self.floor, id)?;
        let cursor = entry.enter(deadline).await?;
        let session = self.set_up(cursor, deadline).await?;
        self.busy = false;
        Ok(self.session.insert(session).clone())
    }

    /// Defines the functions on the target and learns what it has.
    async fn set_up(&mut self, cursor: u64, deadline: Deadline) -> Outcome<Session> {
        let id = self.next_id();
        let talk = self.talk();
        let survey = lines(target::survey(id));
        talk.say(&survey, deadline).await?;
        let mark = format!("~t{id}:[^~\n]*~");
        let end = talk.until(&mark, "\n", cursor, survey.len(), deadline).await?;
        let begin = format!("~t{id}:");
        let told = talk.lines(cursor, end)?.iter().rev().find_map(|line| {
            let text = String::from_utf8_lossy(line).into_owned();
            let (tools, dir) = text.split_once(&begin)?.1.split('~').next()?.split_once(':')?;
            Some((tools.to_string(), dir.to_string()))
        });
        let Some((tools, dir)) = told else {
            return Err(Trouble::transport("the shell's answer on the console was damaged"));
        };
        if dir.is_empty() {
            return Err(Trouble::product(
                "no shell on the console: none of /run, /tmp, /dev/shm, /var/tmp is writable",
            ));
        }
        let Some(encoder) = target::encoder(&tools) else {
            return Err(Trouble::product(
                "no shell on the console: the image has none of base64, hexdump, od, xxd",
            ));
        };
        let functions = lines(target::functions(id, encoder));
        talk.say(&functions, deadline).await?;
        talk.until(&format!("~f{id}~"), "\n", end, functions.len(), deadline).await?;
        Ok(Session { dir, encoder })
    }

    /// Ends what runs in the foreground and proves that the shell is back; forgets it otherwise.
    async fn interrupt(&mut self) -> Outcome {
        let kill = "\x1a\nkill -KILL %% 2>/dev/null\n";
        for keys in [INTERRUPT, "\x1c", kill] {
            let proof = Proof::new(self.next_id());
            let cursor = self.console.position();
            let typed = format!("{keys}{} stty echo 2>/dev/null\n", proof.typed());
            let deadline = Deadline::within(secs(3));
            self.talk().say(&typed, deadline).await?;
            let answer = talk::regex(&proof.answer)?;
            if self.console.expect(cursor, &answer, deadline).await.is_ok() {
                self.busy = false;
                return Ok(());
            }
        }
        self.session = None;
        Ok(())
    }

    async fn run(&mut self, command: &str, deadline: Deadline) -> Outcome<Output> {
        let session = self.session(deadline).await?;
        let begun = Instant::now();
        let id = self.next_id();
        self.busy = true;
        // The console must not see an alarm in the echo of a command that looks for one.
        let hide = self.alarms.find(command.as_bytes()).is_some();
        let format = to_printf(format!("{command}\n").as_bytes(), hide);
        let typed = if format.len() <= INLINE {
            format!("\x15 _hx {id} {} '{format}'\n", format.len())
        } else {
            let text = format!("{command}\n");
            let mut bytes = text.as_bytes();
            let source = Source { len: text.len() as u64, from: &mut bytes, kind: Kind::Printf };
            self.talk().put(id, source, &|_, _| (), deadline).await?;
            format!(" mv $_hd/u $_hd/c;_hx {id} 0 ''\n")
        };
        let (ended, known) = self.ask(id, &typed, &session, deadline).await?;
        let [stdout, stderr] = self.outputs(id, &session, &ended, known, deadline).await?;
        self.busy = false;
        Ok(Output { status: ended.status, stdout, stderr, took: begun.elapsed() })
    }

    /// Sends a command and waits for its end; what came of its output is known then.
    async fn ask(
        &self,
        id: u32,
        typed: &str,
        session: &Session,
        deadline: Deadline,
    ) -> Outcome<(Ended, [talk::Lines; 2])> {
        let talk = self.talk();
        let begin = self.console.position();
        talk.say(typed, deadline).await?;
        let (mark, again) = (format!("~k{id}~"), format!(" _hk {id}\n"));
        let mut from = begin;
        loop {
            let end = talk.until(&mark, &again, from, typed.len(), deadline).await?;
            let lines = talk.lines(begin, end)?;
            if let Some(ended) = Ended::find(&lines, id) {
                let of = |remote: Remote<'_>| decode(&lines, remote);
                let known = ended.remotes(id, session).map(of);
                return Ok((ended, known));
            }
            // The target knows nothing of this command: it got damaged on the way.
            let unknown = format!("~n{id}~");
            let mut new = talk.lines(from, end)?.into_iter();
            let lost = new.any(|line| line.ends_with(unknown.as_bytes()));
            talk.say(if lost { typed } else { &again }, deadline).await?;
            from = end;
        }
    }

    async fn outputs(
        &self,
        id: u32,
        session: &Session,
        ended: &Ended,
        known: [talk::Lines; 2],
        deadline: Deadline,
    ) -> Outcome<[Vec<u8>; 2]> {
        let mut outputs = [Vec::new(), Vec::new()];
        let remotes = ended.remotes(id, session);
        for (nth, (remote, mut known)) in remotes.into_iter().zip(known).enumerate() {
            if remote.len > MOST {
                return Err(Trouble::rack(format!(
                    "the command printed {} bytes; a console carries at most {MOST}: let it write \
                     to a file, or use SSH",
                    remote.len
                )));
            }
            let out = &mut outputs[nth];
            loop {
                out.clear();
                let take = |bytes: &[u8]| {
                    out.extend_from_slice(bytes);
                    Ok(())
                };
                self.talk().fetch(remote, known, deadline, take).await?;
                if ended.stamps[nth].fits(&Cksum::of(out)) {
                    break;
                }
                // Damage that looks like data: all of it once more.
                known = talk::Lines::new();
            }
        }
        Ok(outputs)
    }

    /// Runs one of our own commands, which must succeed; its output.
    async fn must(&mut self, what: &str, command: &str, deadline: Deadline) -> Outcome<String> {
        let output = self.exec(command, deadline).await?;
        match output.ok() {
            true => Ok(output.text()),
            false => Err(Trouble::product(format!("{what}: {}", output.said()))),
        }
    }
}

/// How a command ended.
struct Ended {
    status: i32,
    /// Of stdout and stderr.
    stamps: [Stamp; 2],
}

impl Ended {
    fn find(lines: &[Vec<u8>], id: u32) -> Option<Ended> {
        let begin = format!("~h{id}:");
        lines.iter().rev().find_map(|line| {
            let text = std::str::from_utf8(line).ok()?;
            let rest = text.split_once(&begin)?.1.strip_suffix('~')?;
            let mut parts = rest.split(':');
            let status = parts.next()?.parse().ok()?;
            let stamps = [Stamp::parse(parts.next()?)?, Stamp::parse(parts.next()?)?];
            Some(Ended { status, stamps })
        })
    }

    fn remotes(&self, id: u32, session: &Session) -> [Remote<'static>; 2] {
        let encoder = session.encoder;
        let [out, err] = self.stamps;
        [
            Remote { id, tag: 'o', word: "$_hd/o", len: out.len, encoder },
            Remote { id, tag: 'e', word: "$_hd/e", len: err.len, encoder },
        ]
    }
}

/// Lines as they are typed; the blank keeps them out of a history.
fn lines(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| format!(" {line}\n")).collect()
}

#[async_trait]
impl Shell for ConsoleShell {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        self.session(deadline).await.map(drop)
    }

    async fn exec(&mut self, command: &str, deadline: Deadline) -> Outcome<Output> {
        self.session(deadline).await?;
        match self.run(command, deadline).await {
            Err(Trouble::Unmet(_)) => {
                // Quoted before the interrupt adds its own words.
                let tail = self.console.tail(3).join(" / ");
                if self.busy {
                    self.interrupt().await?;
                }
                let head: String = command.chars().take(80).collect();
                Err(Trouble::unmet(format!(
                    "`{head}` on the console did not end within {deadline}; its last lines: {tail}"
                )))
            }
            Err(Trouble::Transport(why)) => {
                self.session = None;
                Err(Trouble::Transport(why))
            }
            other => other,
        }
    }

    async fn upload(
        &mut self,
        local: &Path,
        remote: &str,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let rack = |why| Trouble::rack(format!("upload {}: {why}", local.display()));
        let file = File::open(local).map_err(rack)?;
        let len = file.metadata().map_err(rack)?.len();
        let session = self.session(deadline).await?;
        let (id, to) = (self.next_id(), quote(remote));
        let base64 = session.encoder.tool == "base64";
        let kind = if base64 { Kind::Base64 } else { Kind::Printf };
        self.busy = true;
        let mut file = BufReader::new(file);
        let source = Source { from: &mut file, len, kind };
        if let Err(trouble) = self.talk().put(id, source, progress, deadline).await {
            self.interrupt().await?;
            return Err(trouble);
        }
        self.busy = false;
        let decode = if base64 { "base64 -d" } else { "cat" };
        let stamp = stamp_of(&to);
        let dir = session.dir;
        let command = format!("{decode} <{dir}/u >{to} && rm -f {dir}/u && {{ {stamp}; }}");
        let told = self.must(&format!("upload to {remote}"), &command, deadline).await?;
        match Stamp::parse(&told) {
            Some(stamp) if stamp.len == len => Ok(()),
            _ => Err(Trouble::transport(format!(
                "upload to {remote}: {len} bytes were sent, but the board has `{told}`"
            ))),
        }
    }

    async fn download(
        &mut self,
        remote: &str,
        local: &Path,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let session = self.session(deadline).await?;
        let (from, dir) = (quote(remote), &session.dir);
        let command = format!(
            "[ -r {from} ] || {{ echo \"cannot read \"{from} >&2; exit 1; }}; \
             ln -snf \"$(readlink -f {from})\" {dir}/d && {{ {}; }}",
            stamp_of(&from)
        );
        let what = format!("download of {remote}");
        let told = self.must(&what, &command, deadline).await?;
        let damaged = || Trouble::transport(format!("{what}: not told its size but `{told}`"));
        let stamp = Stamp::parse(&told).ok_or_else(damaged)?;
        let rack = |why| Trouble::rack(format!("download to {}: {why}", local.display()));
        let mut file = File::create(local).map_err(rack)?;
        let (len, encoder) = (stamp.len, session.encoder);
        let remote = Remote { id: self.next_id(), tag: 'd', word: "$_hd/d", len, encoder };
        let mut sum = Cksum::default();
        self.busy = true;
        let take = |bytes: &[u8]| {
            sum.add(bytes);
            progress(sum.len(), len);
            file.write_all(bytes).map_err(rack)
        };
        self.talk().fetch(remote, talk::Lines::new(), deadline, take).await?;
        self.busy = false;
        match stamp.fits(&sum) {
            true => Ok(()),
            false => Err(Trouble::transport(format!("{what}: the file changed, or got damaged"))),
        }
    }

    fn forget(&mut self) {
        self.session = None;
        self.busy = false;
        self.floor = self.console.position();
    }
}
