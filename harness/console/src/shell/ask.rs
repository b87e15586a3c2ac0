//! A command's way to the target and its answer's way back: sent, taken, run, ended. Each step is
//! asked for again where silence follows, but nothing is done twice.

use hil_core::deadline::Deadline;
use hil_core::parts::{self, Match, STANDS_BY};
use hil_core::trouble::{Outcome, Trouble};

use super::talk::{FRUITLESS, Lines, Remote, Talk, decode, no_loss, regex};
use super::target::{self, WITH_ANSWER};
use crate::login::INTERRUPT;
use crate::transfer::{Encoder, Stamp};

/// How often what is typed is typed when it arrives damaged.
const SENDS: u32 = 2;

/// Sets the numbers apart that were asked with before and after a line was sent again.
const ROUND: u32 = 1000;

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) status: i32,
    /// Of stdout and stderr.
    pub(crate) stamps: [Stamp; 2],
    /// The words of the target.
    text: String,
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
            Some(Ended { status, stamps, text: format!("{begin}{rest}~") })
        })
    }

    pub(crate) fn remotes(&self, id: u32, encoder: &'static Encoder) -> [Remote<'static>; 2] {
        let [out, err] = self.stamps;
        [
            Remote { id, tag: 'o', word: "$_hd/o", len: out.len, encoder },
            Remote { id, tag: 'e', word: "$_hd/e", len: err.len, encoder },
        ]
    }
}

/// What is known once a command has ended.
pub(crate) struct Answer {
    pub(crate) ended: Ended,
    /// The first lines of stdout and stderr, as far as they came whole.
    pub(crate) known: [Lines; 2],
    doubt: Option<Doubt>,
}

/// An answer of which something did not come whole at first: by noise, or by loss.
struct Doubt {
    came: Option<Vec<u8>>,
    /// Whether its end mark is missing in what came.
    endless: bool,
}

impl Answer {
    /// An error if bytes were lost: known only now that all of the output is.
    pub(crate) fn judge(
        &self,
        id: u32,
        remotes: [Remote<'_>; 2],
        outputs: &[Vec<u8>; 2],
    ) -> Outcome {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let mut sent = vec![format!("~b{id}~").into_bytes()];
        for (remote, output) in remotes.iter().zip(outputs) {
            let lines = output.chunks(remote.encoder.unit).take(WITH_ANSWER as usize);
            sent.extend(lines.enumerate().map(|(nth, line)| remote.line(nth as u64, line)));
        }
        sent.push(self.ended.text.clone().into_bytes());
        sent.extend(doubt.endless.then(|| format!("~k{id}~").into_bytes()));
        no_loss(&doubt.came, &sent)
    }
}

impl Talk<'_> {
    /// Makes the target define its functions and hears that they arrived as they were sent.
    pub(crate) async fn define(
        &self,
        id: u32,
        encoder: &Encoder,
        mut from: u64,
        deadline: Deadline,
    ) -> Outcome {
        let (typed, sum) = target::functions(id, encoder);
        let typed = super::lines(typed);
        let begin = format!("~f{id}:");
        for _ in 0..=SENDS {
            self.say(&typed, deadline).await?;
            let again = |_| format!("{INTERRUPT}{typed}");
            let mark = format!("{begin}[^~\n]*~");
            let end = self.until(&mark, again, from, typed.len(), deadline).await?.end;
            let told = self.lines(from, end)?.iter().rev().find_map(|line| {
                let text = String::from_utf8_lossy(line).into_owned();
                Stamp::parse(text.split_once(&begin)?.1.split('~').next()?)
            });
            if told.is_some_and(|stamp| stamp.fits(&sum)) {
                return Ok(());
            }
            from = end;
        }
        Err(Trouble::rack(format!(
            "the console lost or changed bytes: {} bytes were typed {} times and never reached the \
             board's shell whole",
            typed.len(),
            SENDS + 1
        )))
    }

    /// Types a command until the target says that it took it; where the answer begins, and the
    /// first word of it.
    pub(crate) async fn taken(
        &self,
        id: u32,
        typed: &str,
        deadline: Deadline,
    ) -> Outcome<(u64, Match)> {
        let word = format!(r"~([bikn]){id}(?:\.(\d+))?~");
        for send in 0..SENDS {
            let begin = self.console.position();
            self.say(typed, deadline).await?;
            let again = |nth| format!(" _hk {id} {}\n", send * ROUND + nth);
            let (mut from, mut echo) = (begin, typed.len());
            loop {
                let found = self.until(&word, again, from, echo, deadline).await?;
                if group(&found, 1) != "n" {
                    return Ok((begin, found));
                }
                // It was never begun. A late answer may still speak of the time before.
                if group(&found, 2).parse().map_or(send, |nth: u32| nth / ROUND) == send {
                    break;
                }
                (from, echo) = (found.end, 0);
            }
        }
        Err(Trouble::rack(format!(
            "the console lost or changed bytes: a command line of {} bytes was typed {SENDS} times \
             and reached the board damaged; it was not run",
            typed.len()
        )))
    }

    /// Begins a program that waits for its line, on a console that loses nothing.
    pub(crate) async fn stand_by(&self, id: u32, program: &str, deadline: Deadline) -> Outcome {
        let from = self.console.position();
        self.say(&format!("\x15 _hw {id} {program}\n"), deadline).await?;
        let mark = regex(&format!(r"{STANDS_BY}|~z{id}:(\d+)~"))?;
        let found = self.console.expect(from, &mark, deadline).await?;
        match group(&found, 1) {
            "" => Ok(()),
            status => Err(Trouble::unmet(format!("`{program}` ended at once, with {status}"))),
        }
    }

    /// Gives it its line; the status that it ends with.
    pub(crate) async fn cue(&self, id: u32, line: &str, deadline: Deadline) -> Outcome<i32> {
        let from = self.console.position();
        let typed = parts::cue_line(line) + "\n";
        self.say(&typed, deadline).await?;
        let mark = format!(r"~z{id}:(\d+)~");
        // The program takes one line, and the shell the next: this is answered when it has ended.
        let again = |_| format!(" echo \"~z$(({id})):$_hr~\"\n");
        let told = self.until(&mark, again, from, typed.len(), deadline).await?;
        let status = group(&told, 1).parse();
        status.map_err(|_| Trouble::rack("the board's shell told a status that is no number"))
    }

    /// Waits for the end of a command that was taken.
    pub(crate) async fn ended(
        &self,
        id: u32,
        (begin, word): (u64, Match),
        encoder: &'static Encoder,
        deadline: Deadline,
    ) -> Outcome<Answer> {
        let mark = format!(r"~k{id}(?:\.(\d+))?~");
        let again = |nth| format!(" _hk {id} {nth}\n");
        let took = group(&word, 1) == "b";
        let mut from = if took { word.end } else { begin };
        let mut first = None;
        for attempt in 0..FRUITLESS {
            let found = self.until(&mark, again, from, 0, deadline).await?;
            let lines = self.lines(begin, found.end)?;
            let cut_short = format!("~i{id}~");
            if lines.iter().any(|line| line.ends_with(cut_short.as_bytes())) {
                return Err(Trouble::rack("the board's shell was interrupted in a command"));
            }
            from = found.end;
            let first = first.get_or_insert(found);
            let Some(ended) = Ended::find(&lines, id) else {
                self.say(&again(attempt + 1), deadline).await?;
                continue;
            };
            let remotes = ended.remotes(id, encoder);
            let known = remotes.map(|remote| decode(&lines, remote));
            let whole = |(remote, known): (&Remote<'_>, &Lines)| {
                known.len() as u64 >= remote.lines().min(WITH_ANSWER)
            };
            let all_whole = remotes.iter().zip(&known).all(whole);
            let plain = took && attempt == 0 && group(first, 1).is_empty();
            let doubt = match plain && all_whole {
                true => None,
                false => Some(self.doubt(id, begin, first)?),
            };
            return Ok(Answer { ended, known, doubt });
        }
        Err(Trouble::rack(format!(
            "the console lost or changed bytes: how a command ended was asked {FRUITLESS} times and \
             never came whole"
        )))
    }

    /// What came of the first answer, without the one that was asked for again.
    fn doubt(&self, id: u32, begin: u64, end: &Match) -> Outcome<Doubt> {
        let mut came = self.answer(begin, end.start)?;
        let mut endless = false;
        if let Some(came) = &mut came
            && !group(end, 1).is_empty()
        {
            let head = format!("~h{id}:");
            let heads: Vec<usize> = memchr::memmem::find_iter(came, head.as_bytes()).collect();
            if let [.., _, last] = heads[..] {
                came.truncate(last);
                endless = true;
            }
        }
        Ok(Doubt { came, endless })
    }
}

fn group(found: &Match, nth: usize) -> &str {
    found.groups.get(nth).map_or("", String::as_str)
}
