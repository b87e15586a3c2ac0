//! The reader of a script's output, in the format its suite says.

use crate::Point;
use crate::ending::{Ending, Found};
use crate::lava::Lava;
use crate::lines::Lines;
use crate::tap::Tap;

/// How a script tells what came of its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// By its exit status alone: 0 passes, 77 skips, all else fails.
    Exit,
    /// TAP 13 or 14.
    Tap,
    /// The kernel's TAP: the plan is optional, lines may bear the kernel's time, status 4 skips.
    Ktap,
    /// LAVA's signals, `<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=… RESULT=…>`.
    Lava,
}

impl Format {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Format::Exit => "output",
            Format::Tap => "TAP",
            Format::Ktap => "KTAP",
            Format::Lava => "LAVA signal",
        }
    }
}

/// Reads as the output comes; tests are given out as soon as they are whole.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    lines: Lines,
    language: Language,
    found: Found,
}

#[derive(Debug)]
enum Language {
    None,
    Tap(Tap),
    Lava(Lava),
}

impl Reader {
    pub fn new(format: Format) -> Reader {
        let language = match format {
            Format::Exit => Language::None,
            Format::Tap | Format::Ktap => Language::Tap(Tap::new(format == Format::Ktap)),
            Format::Lava => Language::Lava(Lava::default()),
        };
        Reader { format, lines: Lines::default(), language, found: Found::default() }
    }

    /// Takes the next piece of output, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Point> {
        let mut points = Vec::new();
        let (language, found) = (&mut self.language, &mut self.found);
        self.lines.feed(bytes, |line| language.line(line, found, &mut points));
        points
    }

    /// The output has ended, and the script with `status`; none if it did not end by itself.
    pub fn end(mut self, status: Option<i32>) -> Ending {
        let mut points = Vec::new();
        if let Some(last) = self.lines.end() {
            self.language.line(&last, &mut self.found, &mut points);
        }
        match self.language {
            Language::None => {}
            Language::Tap(tap) => tap.end(&mut self.found, &mut points),
            Language::Lava(lava) => lava.end(&mut self.found),
        }
        Ending { points, own: self.found.own(self.format, status) }
    }
}

impl Language {
    fn line(&mut self, line: &str, found: &mut Found, points: &mut Vec<Point>) {
        match self {
            Language::None => {}
            Language::Tap(tap) => tap.line(line, found, points),
            Language::Lava(lava) => points.extend(lava.line(line, found)),
        }
    }
}
