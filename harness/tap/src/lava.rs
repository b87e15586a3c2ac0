//! LAVA's signals, as `lava-test-case` and its like print them: one a line, anywhere in it.

use crate::ending::Found;
use crate::line::short;
use crate::{Outcome, Point};

const BEGIN: &str = "<LAVA_SIGNAL_";
/// Bounds that no sane script meets.
const MOST_POINTS: u64 = 10_000;
const MOST_BEGUN: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Lava {
    /// `STARTTC` without a result yet.
    begun: Vec<String>,
    set: Option<String>,
}

impl Lava {
    pub(crate) fn line(&mut self, line: &str, found: &mut Found) -> Option<Point> {
        let signal = line.split_once(BEGIN)?.1.split_once('>')?.0;
        let (kind, words) = signal.split_once(' ').unwrap_or((signal, ""));
        let first = words.split_whitespace().next().unwrap_or_default();
        match kind {
            "TESTCASE" => return self.case(words, found),
            "STARTTC" if self.begun.len() < MOST_BEGUN => self.begun.push(short(first)),
            "TESTSET" => {
                let name = words.strip_prefix("START").map(|name| short(name.trim()));
                self.set = name.filter(|name| !name.is_empty());
            }
            "TESTRAISE" => found.fault(format!("it raised: {}", short(words))),
            _ => {}
        }
        None
    }

    pub(crate) fn end(self, found: &mut Found) {
        for name in self.begun {
            found.fault(format!("{name} was begun and has no result"));
        }
    }

    fn case(&mut self, words: &str, found: &mut Found) -> Option<Point> {
        let value = |key: &str| {
            let of = |word: &str| word.strip_prefix(key)?.strip_prefix('=').map(short);
            words.split_whitespace().find_map(of)
        };
        let Some(name) = value("TEST_CASE_ID").filter(|name| !name.is_empty()) else {
            found.fault(format!("a result without a name: {}", short(words)));
            return None;
        };
        if found.points >= MOST_POINTS {
            if found.points == MOST_POINTS {
                let told =
                    format!("it printed more than {MOST_POINTS} results; the rest is not read");
                found.fault(told);
                found.points += 1;
            }
            return None;
        }
        self.begun.retain(|begun| *begun != name);
        let result = value("RESULT").unwrap_or_default();
        let outcome = match result.as_str() {
            "pass" => Outcome::Pass,
            "skip" => Outcome::Skip,
            // `unknown` is a result of LAVA's, too, and no pass.
            _ => Outcome::Fail,
        };
        let told = match result.as_str() {
            "pass" | "fail" | "skip" => String::new(),
            other => format!("its result is `{other}`\n"),
        };
        let measured = value("MEASUREMENT").and_then(|figure| figure.parse::<f64>().ok());
        let unit = value("UNITS").or(value("MEASUREMENT_UNITS")).unwrap_or_default();
        let point = Point {
            path: self.set.iter().cloned().chain([name]).collect(),
            outcome,
            reason: String::new(),
            told,
            measured: measured.filter(|figure| figure.is_finite()).map(|figure| (figure, unit)),
        };
        found.count(&point);
        Some(point)
    }
}
