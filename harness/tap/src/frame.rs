//! One level of a TAP document: the tests under one plan, and whether the plan was kept.

use std::collections::BTreeSet;

use crate::ending::Found;
use crate::line::Said;
use crate::{Outcome, Point};

/// How many gaps in the numbers are named.
const MOST_GAPS: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) indent: usize,
    /// What `# Subtest:` called it.
    pub(crate) name: Option<String>,
    plan: Option<u64>,
    /// The plan came after tests: none may follow it.
    ended: bool,
    numbers: BTreeSet<u64>,
    next: u64,
    /// Tests that wait until the test point of this level's own tells its name.
    pub(crate) held: Vec<Point>,
    /// The level below that ended last and still waits for its test point here.
    pub(crate) inner: Option<Inner>,
}

/// A level that has ended.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: Option<String>,
    pub(crate) points: Vec<Point>,
}

impl Inner {
    pub(crate) fn failed(&self) -> bool {
        self.points.iter().any(|point| point.outcome == Outcome::Fail)
    }

    /// Its tests under a name.
    pub(crate) fn under(self, name: &str) -> impl Iterator<Item = Point> {
        self.points.into_iter().map(move |mut point| {
            point.path.insert(0, name.to_string());
            point
        })
    }
}

impl Frame {
    pub(crate) fn at(indent: usize, name: Option<String>) -> Frame {
        Frame { indent, name, ..Frame::default() }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.plan.is_none() && self.next == 0
    }

    /// `place` is how a fault here begins: nothing for the document, `in NAME: ` for a subtest.
    pub(crate) fn place(&self) -> String {
        match (&self.name, self.indent) {
            (Some(name), _) => format!("in {name}: "),
            (None, 0) => String::new(),
            (None, indent) => format!("in a subtest indented by {indent}: "),
        }
    }

    pub(crate) fn plan(&mut self, last: u64, found: &mut Found) {
        if self.plan.is_some() {
            found.fault(format!("{}a second plan came", self.place()));
            return;
        }
        self.plan = Some(last);
        self.ended = self.next > 0;
    }

    /// Takes a test's number, or gives it the next one.
    pub(crate) fn number(&mut self, said: &Said, found: &mut Found) -> u64 {
        let number = said.number.unwrap_or(self.next + 1);
        self.next = number;
        if self.ended {
            found.fault(format!("{}test {number} came after the end of the plan", self.place()));
        }
        if !self.numbers.insert(number) {
            found.fault(format!("{}test {number} came twice", self.place()));
        }
        number
    }

    /// Whether all tests came that were promised, and no other.
    pub(crate) fn check(&self, plan_is_optional: bool, found: &mut Found) {
        let place = self.place();
        let Some(last) = self.plan else {
            if !self.numbers.is_empty() && !plan_is_optional {
                found.fault(format!("{place}there is no plan, so tests may be missing"));
            }
            return;
        };
        let missing = self.missing(last);
        if !missing.is_empty() {
            found.fault(format!("{place}of {last} planned tests {missing} never came"));
        }
        if let Some(beyond) = self.numbers.range(last + 1..).next() {
            found.fault(format!("{place}test {beyond} came, though {last} were planned"));
        }
    }

    /// `3, 7 to 10`; empty if none is missing. The plan may be as large as it likes.
    fn missing(&self, last: u64) -> String {
        let mut gaps = Vec::new();
        let mut next = 1;
        for number in self.numbers.range(1..last + 1).copied().chain([last + 1]) {
            match number - next {
                0 => {}
                1 => gaps.push(next.to_string()),
                _ => gaps.push(format!("{next} to {}", number - 1)),
            }
            next = number + 1;
        }
        if gaps.len() > MOST_GAPS {
            gaps.truncate(MOST_GAPS);
            gaps.push("…".into());
        }
        gaps.join(", ")
    }
}
