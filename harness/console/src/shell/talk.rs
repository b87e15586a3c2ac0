//! One question to the target's functions and its answer, read through whatever noise the kernel
//! makes in between: an answer counts when its line is whole, and is asked for again otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use hil_core::deadline::{Deadline, secs};
use hil_core::parts::{Console, Match};
use hil_core::trouble::{Outcome, Trouble};
use regex::bytes::{Regex, RegexBuilder};

use super::loss;
use crate::ansi::{Cleaner, Piece};
use crate::transfer::Encoder;

/// How long the console must have been silent behind a damaged answer before it is asked again.
const SILENCE: Duration = Duration::from_secs(2);

/// How much of the console is searched for the lines of an answer.
const ANSWER: u64 = 64 << 10;

/// How far back a login prompt can begin that is the console's last line.
const LAST: u64 = 1024;

/// How often in a row a question may be answered by nothing new.
pub(crate) const FRUITLESS: u32 = 10;

/// A conversation on a console.
pub(crate) struct Talk<'t> {
    pub(crate) console: &'t dyn Console,
    /// What the console shows once nobody is logged in any more.
    pub(crate) login_prompt: &'t Regex,
}

/// A file on the target that is read line by line.
#[derive(Clone, Copy)]
pub(crate) struct Remote<'r> {
    pub(crate) id: u32,
    pub(crate) tag: char,
    /// A word for the target's shell.
    pub(crate) word: &'r str,
    pub(crate) len: u64,
    pub(crate) encoder: &'static Encoder,
}

impl Remote<'_> {
    /// How many lines it has.
    pub(crate) fn lines(&self) -> u64 {
        self.len.div_ceil(self.encoder.unit as u64)
    }

    /// How many bytes line `nth` must hold.
    fn want(&self, nth: u64) -> usize {
        let unit = self.encoder.unit as u64;
        unit.min(self.len.saturating_sub(nth * unit)) as usize
    }

    /// A line as the target prints it.
    pub(crate) fn line(&self, nth: u64, bytes: &[u8]) -> Vec<u8> {
        format!("~{}{}{nth}:{}.", self.id, self.tag, self.encoder.encode(bytes)).into_bytes()
    }
}

/// Decoded lines by number.
pub(crate) type Lines = BTreeMap<u64, Vec<u8>>;

impl Talk<'_> {
    pub(crate) async fn say(&self, text: &str, deadline: Deadline) -> Outcome {
        deadline.bound("writing to the console", self.console.send(text.as_bytes())).await
    }

    /// Waits for `mark`, behind which an answer is complete; asks `again`, with a number that
    /// counts up, when bytes came and then silence, since the mark may have been damaged. `echo`
    /// is how long the question was, whose echo is no sign of an answer.
    pub(crate) async fn until(
        &self,
        mark: &str,
        again: impl Fn(u32) -> String,
        from: u64,
        echo: usize,
        deadline: Deadline,
    ) -> Outcome<Match> {
        let echoed = |len: usize| len as u64 + 16;
        let mark = regex(mark)?;
        let (mut from, mut asked_at, mut asked) = (from, from + echoed(echo), 0);
        loop {
            let before = self.console.position();
            let found = self.console.expect(from, &mark, deadline.or_sooner(SILENCE)).await;
            match found {
                Ok(found) => return Ok(found),
                Err(Trouble::Unmet(why)) if deadline.passed() => return Err(Trouble::Unmet(why)),
                Err(Trouble::Unmet(_)) => {}
                Err(other) => return Err(other),
            }
            let now = self.console.position();
            if now == before {
                self.still_logged_in()?;
            }
            if now == before && now > asked_at {
                asked += 1;
                let again = again(asked);
                self.say(&again, deadline).await?;
                asked_at = now + echoed(again.len());
            }
            from = from.max(now.saturating_sub(4096));
        }
    }

    fn still_logged_in(&self) -> Outcome {
        // Not the tail, which is for people: there the shell's own words are left out.
        let end = self.console.position();
        let lines = self.lines(end.saturating_sub(LAST), end)?;
        let last = lines.iter().rfind(|line| !line.trim_ascii().is_empty());
        let last = last.map_or(&[][..], Vec::as_slice);
        if self.login_prompt.is_match(last) {
            let last = String::from_utf8_lossy(last);
            return Err(Trouble::transport(format!(
                "the console session has ended: the console shows `{last}`"
            )));
        }
        Ok(())
    }

    /// The cleaned lines between two offsets; of very many the last ones.
    pub(crate) fn lines(&self, from: u64, to: u64) -> Outcome<Vec<Vec<u8>>> {
        let from = from.max(to.saturating_sub(ANSWER));
        let raw = self.console.read(from, (to - from) as usize)?;
        let mut clean = Vec::with_capacity(raw.len());
        Cleaner::new(true).clean(0, &raw, |piece| match piece {
            Piece::Text(_, run) => clean.extend_from_slice(run),
            Piece::Newline(_) => clean.push(b'\n'),
        });
        Ok(clean.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
    }

    /// Reads all of a file, window by window, beginning with the lines that are known already.
    pub(crate) async fn fetch(
        &self,
        remote: Remote<'_>,
        mut known: Lines,
        deadline: Deadline,
        mut take: impl FnMut(&[u8]) -> Outcome,
    ) -> Outcome {
        const WINDOW: u64 = 64;
        let mut first = 0;
        while first < remote.lines() {
            let end = remote.lines().min(first + WINDOW);
            self.window(remote, first..end, &mut known, deadline).await?;
            for nth in first..end {
                take(&known.remove(&nth).unwrap_or_default())?;
            }
            first = end;
        }
        Ok(())
    }

    /// Asks until every line of a range is known.
    async fn window(
        &self,
        remote: Remote<'_>,
        range: std::ops::Range<u64>,
        known: &mut Lines,
        deadline: Deadline,
    ) -> Outcome {
        let Remote { id, tag, word, .. } = remote;
        let missing = |known: &Lines| range.clone().find(|nth| !known.contains_key(nth));
        let (mut doubtful, mut fruitless) = (Vec::new(), 0);
        while let Some(first) = missing(known) {
            let gap = (first..range.end).take_while(|nth| !known.contains_key(nth)).count() as u64;
            let from = self.console.position();
            let ask = format!(" _hf {id} {word} {first} {gap} {tag}\n");
            self.say(&ask, deadline).await?;
            let mark = format!(r"~g{id}:{first}(\.\d+)?~");
            let sooner = deadline.or_sooner(secs(60));
            let again = |nth| format!(" echo \"~g$(({id})):{first}.{nth}~\"\n");
            let end = self.until(&mark, again, from, ask.len(), sooner).await?;
            let fresh = decode(&self.lines(from, end.end)?, remote);
            fruitless = if fresh.is_empty() { fruitless + 1 } else { 0 };
            if fruitless == FRUITLESS {
                return Err(Trouble::rack(format!(
                    "the console lost or changed bytes: a line of an answer was asked for \
                     {FRUITLESS} times and never came whole"
                )));
            }
            let repeated = end.groups.get(1).is_some_and(|nth| !nth.is_empty());
            if repeated || fresh.len() as u64 != gap {
                doubtful.push((first..first + gap, repeated, self.answer(from, end.start)?));
            }
            known.extend(fresh);
        }
        // Only now it is known what the board had sent each time.
        for (lines, repeated, came) in doubtful {
            let line = |nth| remote.line(nth, known.get(&nth).map_or(&[][..], Vec::as_slice));
            let mut sent: Vec<Vec<u8>> = lines.clone().map(line).collect();
            sent.extend(repeated.then(|| format!("~g{id}:{}~", lines.start).into_bytes()));
            no_loss(&came, &sent)?;
        }
        Ok(())
    }

    /// An answer as it came, noise and all; nothing of it when it is too long to be looked at.
    pub(crate) fn answer(&self, from: u64, to: u64) -> Outcome<Option<Vec<u8>>> {
        if to.saturating_sub(from) > ANSWER {
            return Ok(None);
        }
        self.console.read(from, (to - from) as usize).map(Some)
    }
}

/// An error if what the board sent is not in what came.
pub(crate) fn no_loss(came: &Option<Vec<u8>>, sent: &[Vec<u8>]) -> Outcome {
    let loss = came.as_ref().and_then(|came| loss::find(came, sent));
    loss.map_or(Ok(()), |loss| Err(Trouble::rack(loss)))
}

/// The whole lines of a file among the lines of an answer.
pub(crate) fn decode(lines: &[Vec<u8>], remote: Remote<'_>) -> Lines {
    let mark = format!("~{}{}", remote.id, remote.tag);
    let line = |line: &Vec<u8>| -> Option<(u64, Vec<u8>)> {
        // Noise without a line end may stand before it.
        let at = memchr::memmem::rfind(line, mark.as_bytes())?;
        let rest = line[at + mark.len()..].strip_suffix(b".")?;
        let colon = memchr::memchr(b':', rest)?;
        let nth: u64 = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let bytes = remote.encoder.decode(&rest[colon + 1..], remote.want(nth))?;
        (!bytes.is_empty()).then_some((nth, bytes))
    };
    lines.iter().filter_map(line).collect()
}

/// A regex of the shell's own words, which are ASCII: to compile one for all scripts takes 300 KB,
/// and several are compiled for every command.
pub(crate) fn regex(pattern: &str) -> Outcome<Regex> {
    let regex = RegexBuilder::new(pattern).unicode(false).build();
    regex.map_err(|why| Trouble::rack(format!("no regex: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{ENCODERS, to_base64};

    #[test]
    fn only_whole_lines_count() {
        let bytes: Vec<u8> = (0..130).collect();
        let encoder = &ENCODERS[0];
        let remote = Remote { id: 17, tag: 'o', word: "f", len: 130, encoder };
        let line = |nth: usize| {
            let chunk = &bytes[nth * 57..bytes.len().min(nth * 57 + 57)];
            format!("~17o{nth}:{}.", to_base64(chunk)).into_bytes()
        };
        let decoded = |lines: &[Vec<u8>]| decode(lines, remote).into_keys().collect::<Vec<_>>();
        assert_eq!(decoded(&[line(0), line(1), line(2)]), [0, 1, 2]);
        let mut noisy = line(1);
        noisy.splice(20..20, *b"[   12.3] noise");
        assert_eq!(decoded(&[line(0), noisy.clone(), b"rest.".to_vec()]), [0]);
        // Noise in the encoding's own letters is noticed by the length.
        let mut sly = line(1);
        sly.splice(20..20, *b"AAAA");
        assert_eq!(decoded(&[sly]), [] as [u64; 0]);
        let before = [b"[  1.2] half a message ".to_vec(), line(2)].concat();
        assert_eq!(decoded(&[before]), [2]);
        assert_eq!(decoded(&[b"~17o9:.".to_vec()]), [] as [u64; 0]);
    }
}
