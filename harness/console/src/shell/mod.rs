//! `ConsoleShell`: commands and files over a serial console, on any target with a POSIX shell.
//!
//! A command is sent as one line, or as several that are acknowledged, runs in a shell of its own
//! with stdin from `/dev/null`, and its output comes back encoded in numbered lines from files on
//! the target: kernel messages in the middle of a line cost a repetition, never a byte. stdout and
//! stderr are apart. It is slow beside SSH; files should be small.
//!
//! A console that loses or changes bytes is found out, and an error of the rack: what is typed
//! carries its checksum, so that nothing runs but what was meant; no command is ever run twice; and
//! an answer that had to be repeated is compared with what came the first time (`loss`).

mod ask;
mod loss;
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
use ask::Answer;
pub(crate) use own::OwnWords;
use put::{Kind, Source};
use talk::{Remote, Talk};

/// A command whose line would be longer goes as a file: line editors take about 1000 characters.
const INLINE: usize = 600;

/// How much of the console is searched for the echo of a command.
const ECHO: usize = 4096;

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
    /// A command was begun and its end not seen: its future was dropped, or it stands by.
    busy: bool,
    /// The command under way that stands by for its line.
    waits: Option<u32>,
    /// Where a command was typed that the target has not said it took.
    asked: Option<(u64, String)>,
    /// Output before this offset belongs to an earlier boot.
    floor: u64,
    id: u32,
}

impl ConsoleShell {
    pub fn new(console: Arc<dyn Console>, login: Login) -> Outcome<ConsoleShell> {
        let no_regex = |why: regex::Error| Trouble::rack(format!("no regex: {why}"));
        let login_prompt = Regex::new(&login.prompt).map_err(no_regex)?;
        let alarms = Alarms::new().map_err(no_regex)?;
        let (session, busy, waits, asked, floor, id) = (None, false, None, None, 0, 0);
        Ok(ConsoleShell {
            console,
            login,
            login_prompt,
            alarms,
            session,
            busy,
            waits,
            asked,
            floor,
            id,
        })
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
            self.waits = None;
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
        // Nothing but these lines is under way; the key gets out of a quote that was not closed.
        let again = |_| format!("{INTERRUPT}{survey}");
        let end = talk.until(&mark, again, cursor, survey.len(), deadline).await?.end;
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
        talk.define(id, encoder, end, deadline).await?;
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
            let sum = Cksum::of(format!("{id} {format}").as_bytes());
            format!("\x15 _hx {id} {} {} '{format}'\n", sum.value(), sum.len())
        } else {
            let text = format!("{command}\n");
            let mut bytes = text.as_bytes();
            let source = Source { len: text.len() as u64, from: &mut bytes, kind: Kind::Printf };
            self.talk().put(id, source, &|_, _| (), deadline).await?;
            let sum = Cksum::of(format!("{id}\n{text}").as_bytes());
            format!(" _hl {id} {} {}\n", sum.value(), sum.len())
        };
        self.asked = Some((self.console.position(), typed.clone()));
        let taken = self.talk().taken(id, &typed, deadline).await?;
        self.asked = None;
        let answer = self.talk().ended(id, taken, session.encoder, deadline).await?;
        let status = answer.ended.status;
        let [stdout, stderr] = self.outputs(id, &session, answer, deadline).await?;
        self.busy = false;
        Ok(Output { status, stdout, stderr, took: begun.elapsed() })
    }

    async fn outputs(
        &self,
        id: u32,
        session: &Session,
        mut answer: Answer,
        deadline: Deadline,
    ) -> Outcome<[Vec<u8>; 2]> {
        let mut outputs = [Vec::new(), Vec::new()];
        let remotes = answer.ended.remotes(id, session.encoder);
        let known = std::mem::take(&mut answer.known);
        for (nth, (remote, known)) in remotes.into_iter().zip(known).enumerate() {
            if remote.len > MOST {
                return Err(Trouble::rack(format!(
                    "the command printed {} bytes; a console carries at most {MOST}: let it write \
                     to a file, or use SSH",
                    remote.len
                )));
            }
            let out = &mut outputs[nth];
            let take = |bytes: &[u8]| {
                out.extend_from_slice(bytes);
                Ok(())
            };
            self.talk().fetch(remote, known, deadline, take).await?;
            if !answer.ended.stamps[nth].fits(&Cksum::of(out)) {
                // Noise adds to lines, and such are not whole.
                return Err(Trouble::rack(format!(
                    "the console lost or changed bytes: the checksum of a command's {} bytes of \
                     output is not the board's",
                    remote.len
                )));
            }
        }
        answer.judge(id, remotes, &outputs)?;
        Ok(outputs)
    }

    /// What to say of a command that is not known to have begun: the shell is there, and what it
    /// echoed of the command's line is not what was typed.
    fn damaged(&self) -> Option<Trouble> {
        let (begin, typed) = self.asked.as_ref()?;
        let echo = self.console.read(*begin, ECHO).ok()?;
        let typed = typed.trim_start_matches('\x15');
        loss::is_damaged_echo(&echo, typed.as_bytes()).then(|| {
            Trouble::rack(format!(
                "the console lost or changed bytes: a command line of {} bytes came back damaged \
                 and was never taken by the board's shell",
                typed.len()
            ))
        })
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
                let damaged = self.damaged();
                if self.busy {
                    self.interrupt().await?;
                }
                if let Some(damaged) = damaged.filter(|_| self.session.is_some()) {
                    return Err(damaged);
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

    async fn stand_by(&mut self, program: &str, deadline: Deadline) -> Outcome {
        self.session(deadline).await?;
        let id = self.next_id();
        self.busy = true;
        self.talk().stand_by(id, program, deadline).await?;
        self.waits = Some(id);
        Ok(())
    }

    async fn cue(&mut self, line: &str, deadline: Deadline) -> Outcome<Option<i32>> {
        let Some(id) = self.waits.take().filter(|_| self.session.is_some()) else {
            return Ok(None);
        };
        let status = self.talk().cue(id, line, deadline).await;
        self.busy = status.is_err();
        if matches!(status, Err(Trouble::Transport(_))) {
            self.session = None;
        }
        status.map(Some)
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
        self.asked = None;
        self.waits = None;
        self.busy = false;
        self.floor = self.console.position();
    }

    fn keep(&self) -> Option<String> {
        let still = !self.busy || self.waits.is_some();
        let Session { dir, encoder } = self.session.as_ref().filter(|_| still)?;
        Some(format!("{} {} {} {dir}", self.id, self.waits.unwrap_or(0), encoder.tool))
    }

    fn recall(&mut self, kept: Option<&str>) {
        self.forget();
        let session = kept.and_then(|kept| {
            let mut words = kept.splitn(4, ' ');
            let id: u32 = words.next()?.parse().ok()?;
            let waits: u32 = words.next()?.parse().ok()?;
            let encoder = target::encoder(words.next()?)?;
            let dir = words.next()?.to_string();
            Some((id, waits, Session { dir, encoder }))
        });
        if let Some((id, waits, session)) = session {
            // No number is ever given twice: the board knows those of the commands it has run. Of a
            // program that stands by each fork tells the end, all with one number: to a console on
            // which the fork before has said its last.
            self.id = self.id.max(id);
            self.waits = (waits > 0).then_some(waits);
            self.busy = self.waits.is_some();
            self.session = Some(session);
        }
    }
}
