//! Sends bytes to the target as numbered lines, each of which it acknowledges: a line that was
//! damaged or lost on the way is sent again, and no more is under way than a terminal holds.

use std::io::Read;
use std::time::Duration;

use hil_core::deadline::Deadline;
use hil_core::parts::Progress;
use hil_core::trouble::{Outcome, Trouble};

use super::talk::{Talk, regex};
use crate::transfer::{Cksum, Stamp, to_base64, to_printf};

/// Bytes a line: a terminal takes lines of at most 4095 characters, `to_printf` quadruples.
const LINE: usize = 720;

/// How long an acknowledgement may take before a line is sent again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the target writes the lines it gets.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// As they are, to be decoded later.
    Base64,
    /// Through `printf`: needs no tool, and suits text.
    Printf,
}

/// How often a line is sent that the target says it did not get as it was sent.
const ATTEMPTS: u32 = 5;

/// Bytes to be sent, and how many there are.
pub(crate) struct Source<'s> {
    pub(crate) from: &'s mut (dyn Read + Send),
    pub(crate) len: u64,
    pub(crate) kind: Kind,
}

impl Source<'_> {
    /// The next line without its number; empty at the end.
    fn line(&mut self, sent: &mut u64) -> Outcome<String> {
        let mut bytes = Vec::with_capacity(LINE);
        let read = (&mut *self.from).take(LINE as u64).read_to_end(&mut bytes);
        read.map_err(|why| Trouble::rack(format!("read what is to be uploaded: {why}")))?;
        *sent += bytes.len() as u64;
        Ok(match self.kind {
            Kind::Base64 => to_base64(&bytes),
            Kind::Printf => to_printf(&bytes, true),
        })
    }
}

impl Talk<'_> {
    /// Puts bytes into the session's file `u`.
    pub(crate) async fn put(
        &self,
        id: u32,
        mut source: Source<'_>,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        let mut cursor = self.console.position();
        let kind = if source.kind == Kind::Base64 { "b" } else { "p" };
        let begin = format!(" _hu {id} {kind}\n");
        self.say(&begin, deadline).await?;
        // Said to a target that listens already it is a line out of turn, and acknowledged.
        cursor = self.acknowledged(id, 0, &begin, cursor, deadline).await?;
        let (mut sum, mut sent) = (Cksum::default(), 0);
        for nth in 1_u64.. {
            let line = source.line(&mut sent)?;
            if line.is_empty() {
                break;
            }
            // What lands in the file, so that its stamp can be judged.
            match source.kind {
                Kind::Base64 => sum.add(format!("{line}\n").as_bytes()),
                Kind::Printf => sum.add(&unprintf(&line)),
            }
            let line = format!("{nth} {} {line}\n", line.len());
            self.say(&line, deadline).await?;
            cursor = self.acknowledged(id, nth, &format!("\n{line}"), cursor, deadline).await?;
            progress(sent, source.len);
        }
        self.finish(id, &sum, cursor, deadline).await
    }

    /// Waits for the acknowledgement of line `nth`, sending `again` as often as it takes.
    async fn acknowledged(
        &self,
        id: u32,
        nth: u64,
        again: &str,
        cursor: u64,
        deadline: Deadline,
    ) -> Outcome<u64> {
        let mark = regex(&format!("~u{id}:{nth}~"))?;
        let refused = regex(&format!("~u{id}:{}~", nth.wrapping_sub(1)))?;
        let mut refusals = 0;
        loop {
            match self.console.expect(cursor, &mark, deadline.or_sooner(PATIENCE)).await {
                Ok(found) => return Ok(found.end),
                Err(Trouble::Unmet(_)) if !deadline.passed() => {}
                Err(Trouble::Unmet(why)) => {
                    return Err(Trouble::unmet(format!("upload over the console: {why}")));
                }
                Err(other) => return Err(other),
            }
            // The line before, acknowledged once more: this one was heard, but not whole.
            let now = Deadline::within(Duration::ZERO);
            refusals += u32::from(self.console.expect(cursor, &refused, now).await.is_ok());
            if refusals == ATTEMPTS {
                return Err(Trouble::rack(format!(
                    "the console lost or changed bytes: line {nth} of an upload was sent \
                     {ATTEMPTS} times and never reached the board whole"
                )));
            }
            self.say(again, deadline).await?;
        }
    }

    async fn finish(&self, id: u32, sum: &Cksum, cursor: u64, deadline: Deadline) -> Outcome {
        self.say("end\n", deadline).await?;
        let mark = format!(r"~v{id}:[-\d]+ \d+~");
        // A lost `end` is followed by this line, which the loop on the target takes for data.
        let again = |_| format!("\nend\n _hv {id}\n");
        let end = self.until(&mark, again, cursor, 16, deadline).await?.end;
        let lines = self.lines(cursor, end)?;
        let begin = format!("~v{id}:");
        let stamp = lines.iter().rev().find_map(|line| {
            let text = String::from_utf8_lossy(line).into_owned();
            let (_, rest) = text.split_once(&begin)?;
            Stamp::parse(rest.split('~').next()?)
        });
        match stamp {
            Some(stamp) if stamp.fits(sum) => Ok(()),
            stamp => Err(Trouble::rack(format!(
                "the console lost or changed bytes of an upload: {} with checksum {} were sent, \
                 but {stamp:?} came to be on the board",
                sum.len(),
                sum.value()
            ))),
        }
    }
}

/// The bytes that a format of [`to_printf`] stands for.
fn unprintf(format: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(format.len());
    let mut rest = format.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        if *byte == b'\\' && tail.len() >= 3 {
            let octal = tail[..3].iter().fold(0_u32, |n, digit| n * 8 + u32::from(digit - b'0'));
            out.push(octal as u8);
            rest = &tail[3..];
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_a_terminal_in_either_kind() {
        let bytes = [0_u8; LINE * 2];
        for kind in [Kind::Base64, Kind::Printf] {
            let (mut from, mut sent) = (bytes.as_slice(), 0);
            let mut source = Source { from: &mut from, len: 0, kind };
            let line = source.line(&mut sent).unwrap();
            assert!(line.len() < 3000 && sent == LINE as u64, "{}", line.len());
        }
    }

    #[test]
    fn printf_formats_are_undone() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unprintf(&to_printf(&bytes, true)), bytes);
    }
}
