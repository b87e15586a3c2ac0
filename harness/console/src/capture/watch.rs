//! Notices stage marks and alarms in lines, once each. What follows from them is decided
//! elsewhere.

use std::collections::VecDeque;

use hil_core::mask::Masker;
use hil_core::parts::{Seen, Sighting};
use hil_core::stage::{Stage, StageMarks};
use regex::bytes::{RegexSet, RegexSetBuilder};

use super::lines::Line;
use crate::alarms::{Alarms, REACH};
use crate::ansi;

/// How many sightings are kept for readers that lag; a flood of marks pushes out the oldest.
const KEPT: usize = 1024;

/// How much of a line a sighting quotes, in bytes.
const QUOTED: usize = 1024;

pub(crate) struct Watch {
    marks: RegexSet,
    stages: Vec<Stage>,
    alarms: Alarms,
    masker: Masker,
    /// What the current line has been reported for already, one bit a stage or alarm.
    reported: u32,
    /// The end of the piece before, where the current line comes in pieces.
    carry: Vec<u8>,
    sightings: VecDeque<Sighting>,
    /// Sightings that have been pushed out.
    gone: u64,
}

fn compiled(marks: &StageMarks) -> Result<(Vec<Stage>, RegexSet), regex::Error> {
    let (stages, marks): (Vec<Stage>, Vec<&str>) = marks.by_stage().into_iter().unzip();
    Ok((stages, RegexSetBuilder::new(marks).dfa_size_limit(1 << 20).build()?))
}

impl Watch {
    pub(crate) fn new(marks: &StageMarks, masker: Masker) -> Result<Watch, regex::Error> {
        let (stages, marks) = compiled(marks)?;
        let alarms = Alarms::new()?;
        let (carry, sightings) = (Vec::new(), VecDeque::new());
        Ok(Watch { marks, stages, alarms, masker, reported: 0, carry, sightings, gone: 0 })
    }

    /// From now on these marks count: another image is booted.
    pub(crate) fn set_marks(&mut self, marks: &StageMarks) -> Result<(), regex::Error> {
        (self.stages, self.marks) = compiled(marks)?;
        Ok(())
    }

    /// Looks at a line as far as it has come. True when something new was seen in it.
    pub(crate) fn look(&mut self, line: &Line<'_>) -> bool {
        let before = self.sightings();
        self.look_for_alarm(line);
        // Marks stand in a line's first piece; what comes later must not pass for a line's start.
        if !line.continues && !self.stages.is_empty() {
            for nth in self.marks.matches(line.text) {
                self.report(line, Seen::Stage(self.stages[nth]), 8 + nth, line.text);
            }
        }
        self.sightings() > before
    }

    /// Looks at a line or piece that is complete, and gets ready for the next.
    pub(crate) fn take(&mut self, line: &Line<'_>) -> bool {
        let news = self.look(line);
        self.carry.clear();
        if line.ended {
            self.reported = 0;
        } else {
            let from = line.text.len().saturating_sub(REACH);
            self.carry.extend_from_slice(&line.text[from..]);
        }
        news
    }

    fn look_for_alarm(&mut self, line: &Line<'_>) {
        if self.carry.is_empty() {
            if let Some((alarm, range)) = self.alarms.find(line.text) {
                let quote = &line.text[range.start.saturating_sub(QUOTED / 2)..];
                self.report(line, Seen::Alarm(alarm), alarm as usize, quote);
            }
            return;
        }
        let joined = [self.carry.as_slice(), line.text].concat();
        if let Some((alarm, range)) = self.alarms.find(&joined) {
            let quote = &joined[range.start.saturating_sub(QUOTED / 2)..];
            self.report(line, Seen::Alarm(alarm), alarm as usize, quote);
        }
    }

    fn report(&mut self, line: &Line<'_>, what: Seen, bit: usize, quote: &[u8]) {
        if self.reported & (1 << bit) != 0 {
            return;
        }
        self.reported |= 1 << bit;
        // What a line not yet ended ends with may be the beginning of a secret.
        let held = if line.ended { 0 } else { self.masker.held_back(quote) };
        let quote = &quote[..quote.len() - held];
        // Masked before it is cut, or a secret across the cut would show its beginning.
        let mut text = self.masker.text(&ansi::text(quote)).into_owned();
        let end = (0..=QUOTED.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        if self.sightings.len() == KEPT {
            self.sightings.pop_front();
            self.gone += 1;
        }
        let (at, offset) = (line.at, line.offset);
        self.sightings.push_back(Sighting { at, offset, line: text, what });
    }

    pub(crate) fn sightings(&self) -> u64 {
        self.gone + self.sightings.len() as u64
    }

    /// The sighting after `cursor`, or the oldest kept; the cursor moves past it.
    pub(crate) fn next(&self, cursor: &mut u64) -> Option<Sighting> {
        let nth = (*cursor).max(self.gone);
        let sighting = self.sightings.get((nth - self.gone) as usize)?;
        *cursor = nth + 1;
        Some(sighting.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_core::parts::Alarm;
    use std::time::Duration;

    fn watch(ready: &str, secrets: &[&str]) -> Watch {
        let marks = StageMarks { ready: Some(ready.into()), ..Default::default() };
        Watch::new(&marks, Masker::new(secrets)).unwrap()
    }

    fn line(text: &str, continues: bool, ended: bool) -> Line<'_> {
        Line { offset: 7, at: Duration::ZERO, text: text.as_bytes(), continues, ended }
    }

    #[test]
    fn a_line_is_reported_once_however_often_it_is_looked_at() {
        let mut watch = watch("login:", &[]);
        assert!(watch.look(&line("x login:", false, false)));
        assert!(!watch.look(&line("x login: r", false, false)));
        assert!(!watch.take(&line("x login: root", false, true)));
        assert!(watch.take(&line("login: again", false, true)));
        assert_eq!(watch.sightings(), 2);
    }

    #[test]
    fn an_alarm_across_two_pieces_is_seen_once() {
        let mut watch = watch("nothing", &[]);
        let long = "y".repeat(3000);
        assert!(!watch.take(&line(&format!("{long}Kernel pan"), false, false)));
        assert!(watch.take(&line("ic - not syncing: dead", true, false)));
        assert!(!watch.take(&line("end", true, true)));
        let sighting = watch.next(&mut 0).unwrap();
        assert_eq!(sighting.what, Seen::Alarm(Alarm::Panic));
        assert!(sighting.line.contains("Kernel panic - not syncing: dead"), "{}", sighting.line);
    }

    #[test]
    fn a_mark_anchored_to_the_line_is_not_seen_at_a_piece() {
        let mut watch = watch("^ready$", &[]);
        watch.take(&line("x", false, false));
        assert!(!watch.take(&line("ready", true, true)));
        assert!(watch.take(&line("ready", false, true)));
    }

    #[test]
    fn a_flood_of_marks_stays_bounded_and_a_lagging_reader_goes_on_with_the_oldest() {
        let mut watch = watch("m", &["pass-word"]);
        for _ in 0..5000 {
            watch.take(&line("m pass-word", false, true));
        }
        assert_eq!(watch.sightings(), 5000);
        let mut cursor = 3;
        assert_eq!(watch.next(&mut cursor).unwrap().line, "m ********");
        assert_eq!(cursor, 5000 - KEPT as u64 + 1);
        cursor = 5000;
        assert_eq!(watch.next(&mut cursor), None);
        assert_eq!(cursor, 5000);
    }

    #[test]
    fn a_far_alarm_is_quoted_and_the_quote_bounded() {
        let mut watch = watch("nothing", &[]);
        let text = format!("{}oom-kill:constraint{}", "é".repeat(900), "z".repeat(1500));
        watch.take(&line(&text, false, true));
        let quote = watch.next(&mut 0).unwrap().line;
        assert!(quote.contains("oom-kill") && quote.len() <= QUOTED, "{}", quote.len());
    }
}
