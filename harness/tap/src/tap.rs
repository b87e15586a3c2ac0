//! TAP 13, TAP 14 and KTAP, line by line. The three differ in little: subtests are indented, by
//! four blanks or by two, and end with a test point of the level above, which tells their name.
//!
//! A test point that only sums up its subtests is no test of its own, so that a failure is told
//! once; one that fails though no subtest did, is.

use crate::ending::Found;
use crate::frame::{Frame, Inner};
use crate::line::{Directive, Line, Said, read};
use crate::{Outcome, Point};

/// Bounds that no sane script meets.
const MOST_DEPTH: usize = 16;
const MOST_POINTS: u64 = 10_000;
/// Bytes of explanation for a test, and for all of a script's.
const MOST_TOLD: usize = 4 << 10;
const MOST_TOLD_IN_ALL: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Tap {
    kernel: bool,
    /// The open levels; the first is the document itself.
    frames: Vec<Frame>,
    /// The last test point, which the next lines may explain, and its indentation.
    pending: Option<(usize, Point)>,
    /// The indentation of the YAML block that is open.
    yaml: Option<usize>,
    /// The name that `# Subtest:` gave to what comes next.
    announced: Option<String>,
    /// The kernel explains a test before its result.
    before: String,
    points: u64,
    told: usize,
    /// Nothing more is read: bailed out, or full.
    over: bool,
}

impl Tap {
    pub(crate) fn new(kernel: bool) -> Tap {
        Tap {
            kernel,
            frames: vec![Frame::default()],
            pending: None,
            yaml: None,
            announced: None,
            before: String::new(),
            points: 0,
            told: 0,
            over: false,
        }
    }

    pub(crate) fn line(&mut self, line: &str, found: &mut Found, out: &mut Vec<Point>) {
        if self.over {
            return;
        }
        let line = if self.kernel { without_time(line) } else { line };
        let (indent, said) = read(line);
        if self.is_yaml(line, indent, &said, found) {
            return;
        }
        match said {
            Line::Other => {}
            Line::Comment(text) => self.explain(text),
            Line::YamlBegin => {
                let explains = self.pending.as_ref().is_some_and(|(point, _)| indent > *point);
                self.yaml = explains.then_some(indent);
            }
            Line::Subtest(name) => self.announce(indent, name),
            Line::Version { kernel } => {
                self.kernel |= kernel;
                self.level(indent, found, out);
            }
            Line::Plan { last, skip } => {
                self.level(indent, found, out);
                if self.frames.len() == 1 && last == 0 {
                    found.skip = skip;
                }
                self.top().plan(last, found);
            }
            Line::Point(said) => self.point(indent, said, found, out),
            Line::BailOut(why) => {
                self.flush(found, out);
                let why = if why.is_empty() { "without a reason" } else { &why };
                found.fault(format!("it bailed out: {why}"));
                self.over = true;
            }
        }
    }

    pub(crate) fn end(mut self, found: &mut Found, out: &mut Vec<Point>) {
        self.flush(found, out);
        while self.frames.len() > 1 {
            self.close(found, out);
        }
        self.orphan(found, out);
        let plan_is_optional = self.kernel;
        if !self.over {
            self.top().check(plan_is_optional, found);
        }
    }

    /// Whether the line belongs to a YAML block.
    fn is_yaml(&mut self, line: &str, indent: usize, said: &Line<'_>, found: &mut Found) -> bool {
        let Some(block) = self.yaml else { return false };
        if line.trim() == "..." {
            self.yaml = None;
            return true;
        }
        if indent < block && !matches!(said, Line::Other | Line::Comment(_)) {
            found.fault("a YAML block has no end");
            self.yaml = None;
            return false;
        }
        self.explain(&line[block.min(indent)..]);
        true
    }

    fn explain(&mut self, text: &str) {
        if self.told + text.len() >= MOST_TOLD_IN_ALL {
            return;
        }
        let into = match &mut self.pending {
            Some((_, point)) if !self.kernel || self.yaml.is_some() => &mut point.told,
            _ if self.kernel => &mut self.before,
            _ => return,
        };
        if into.len() + text.len() < MOST_TOLD {
            into.push_str(text);
            into.push('\n');
            self.told += text.len() + 1;
        }
    }

    /// TAP 14 announces a subtest from the level above, the kernel from within.
    fn announce(&mut self, indent: usize, name: String) {
        let inside = self.frames.len() > 1;
        let top = self.top();
        match inside && top.indent == indent && top.is_fresh() && top.name.is_none() {
            true => top.name = Some(name),
            false => self.announced = Some(name),
        }
    }

    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// Opens or closes levels until the top one has this indentation.
    fn level(&mut self, indent: usize, found: &mut Found, out: &mut Vec<Point>) {
        self.flush(found, out);
        while self.frames.len() > 1 && indent < self.top().indent {
            self.close(found, out);
        }
        if indent > self.top().indent && self.frames.len() < MOST_DEPTH {
            let name = self.announced.take();
            self.frames.push(Frame::at(indent, name));
        }
    }

    /// Ends the top level, which then waits for its test point in the one above.
    fn close(&mut self, found: &mut Found, out: &mut Vec<Point>) {
        self.orphan(found, out);
        let Some(frame) = self.frames.pop() else { return };
        if !self.over {
            frame.check(self.kernel, found);
        }
        // Of two subtests with nothing between them, the first has no test point.
        self.orphan(found, out);
        self.top().inner = Some(Inner { name: frame.name, points: frame.held });
    }

    /// Gives out the tests of a subtest whose own test point never came.
    fn orphan(&mut self, found: &mut Found, out: &mut Vec<Point>) {
        let Some(inner) = self.top().inner.take() else { return };
        let name = inner.name.clone().unwrap_or_else(|| "subtest".into());
        if !self.over {
            found.fault(format!("the subtest {name} has no result of its own"));
        }
        inner.under(&name).for_each(|point| self.deliver(point, found, out));
    }

    fn point(&mut self, indent: usize, said: Said, found: &mut Found, out: &mut Vec<Point>) {
        self.level(indent, found, out);
        self.points += 1;
        if self.points > MOST_POINTS {
            found
                .fault(format!("it printed more than {MOST_POINTS} results; the rest is not read"));
            self.over = true;
            return;
        }
        let number = self.top().number(&said, found);
        let before = std::mem::take(&mut self.before);
        let inner = self.top().inner.take().filter(|inner| !inner.points.is_empty());
        let announced = inner.as_ref().and_then(|inner| inner.name.clone());
        let name = match said.name.is_empty() {
            true => announced.unwrap_or_else(|| format!("test {number}")),
            false => said.name.clone(),
        };
        let mut point = Point {
            path: vec![name.clone()],
            outcome: outcome(&said),
            reason: said.reason.clone(),
            told: before,
            measured: None,
        };
        if let Some(inner) = inner {
            let sums_up = point.outcome != Outcome::Fail || inner.failed();
            for mut test in inner.under(&name) {
                if said.directive == Directive::Todo && test.outcome == Outcome::Fail {
                    test.outcome = Outcome::Todo { passed: false };
                    test.reason.clone_from(&said.reason);
                }
                self.deliver(test, found, out);
            }
            if sums_up {
                return;
            }
            point.told.push_str("none of its subtests failed\n");
        }
        self.pending = Some((indent, point));
    }

    /// The last test point is whole now.
    fn flush(&mut self, found: &mut Found, out: &mut Vec<Point>) {
        if let Some((_, point)) = self.pending.take() {
            self.deliver(point, found, out);
        }
    }

    /// A test of the document is given out at once; one of a subtest, when the subtest has a name.
    fn deliver(&mut self, point: Point, found: &mut Found, out: &mut Vec<Point>) {
        if self.frames.len() > 1 {
            self.top().held.push(point);
        } else {
            found.count(&point);
            out.push(point);
        }
    }
}

fn outcome(said: &Said) -> Outcome {
    match (said.directive, said.ok) {
        (Directive::Skip, _) => Outcome::Skip,
        (Directive::Todo, passed) => Outcome::Todo { passed },
        (Directive::Failed, _) | (Directive::None, false) => Outcome::Fail,
        (Directive::None, true) => Outcome::Pass,
    }
}

/// The kernel's log puts `[   12.345678] ` before each line.
fn without_time(line: &str) -> &str {
    let time = |inner: &str| inner.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b' ');
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((inner, rest)) if time(inner) => rest,
        _ => line,
    }
}
