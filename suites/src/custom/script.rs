//! The body that all cases of custom suites share: push, run, follow, collect, judge.

use std::io::Write;
use std::path::{Path, PathBuf};

use hil_core::case::{Act, Need, Running};
use hil_core::deadline::{Deadline, Span, secs};
use hil_core::parts::Output;
use hil_core::rig::Rig;
use hil_core::trouble::{Outcome, Trouble};
use hil_core::verdict::Verdict;
use hil_tap::{Own, Point, Reader};

use super::package::Package;
use super::spec::{CaseFile, Format, SuiteFile};
use super::target::{self, State};

/// What one exchange with the target may take on a fast host, without any file.
const WORD: std::time::Duration = secs(30);
const MOST_COLLECTED: usize = 200;
const MIB: u64 = 1 << 20;

/// A case of a `suite.toml`.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) dir: &'static Path,
    pub(super) suite: &'static SuiteFile,
    pub(super) case: &'static CaseFile,
}

impl Act for Script {
    fn act<'r>(&'r self, rig: &'r mut Rig) -> Running<'r> {
        Box::pin(self.run(rig))
    }
}

/// How a script came to its end.
struct End {
    /// None where it was ended at its deadline.
    status: Option<i32>,
    /// What else went wrong, in words that follow "the script".
    fault: Option<String>,
}

impl Script {
    async fn run(&self, rig: &mut Rig) -> Outcome {
        // Named by the seed, so that a repetition never meets what an earlier one left.
        let (suite, case) = (&self.suite.name, &self.case.name);
        let workdir = self.suite.workdir.trim_end_matches('/');
        let dir = format!("{workdir}/hil-{suite}-{case}-{:x}", rig.seed());
        self.push(rig, &dir).await?;
        let mut following = Following::new(self.case.format, rig)?;
        let end = self.follow(rig, &dir, &mut following).await;
        // However it ended: what it had said until then is known.
        let end_status = end.as_ref().ok().and_then(|end| end.status);
        let own = following.end(rig, end_status);
        let end = end?;
        let said = rig.run_in(&target::last_words(&dir), WORD).await.map(|output| output.said());
        self.collect(rig, &dir).await?;
        rig.run_in(&target::remove(&dir), WORD).await?;
        judge(own, end, &said.unwrap_or_default())
    }

    async fn push(&self, rig: &mut Rig, dir: &str) -> Outcome {
        let arch = rig.board().arch.name();
        let mut package = Package::default();
        for path in self.suite.push.iter().chain(&self.case.push) {
            let path = path.replace("{arch}", arch);
            package.add(self.dir, &path, self.suite.limits.push_mib * MIB)?;
        }
        let mut env = self.suite.env.clone();
        env.extend(self.case.env.clone());
        for (name, value) in [
            ("HIL_BOARD", rig.board().name.clone()),
            ("HIL_ARCH", arch.to_string()),
            ("HIL_IMAGE", rig.image().label()),
            ("HIL_CASE", format!("{}/{}", self.suite.name, self.case.name)),
            ("HIL_SEED", rig.seed().to_string()),
        ] {
            env.insert(name.into(), value);
        }
        let runner = target::runner(&self.case.run, &env, self.suite.limits.output_mib * MIB);
        let archive = package.archive(&runner)?;
        done(rig, &target::make(&self.suite.workdir), "make the folder for what is pushed").await?;
        let deadline = rig.within(super::AROUND);
        rig.put(archive.path(), &format!("{dir}.tar"), "pushing", deadline).await?;
        done(rig, &target::unpack(dir), "unpack what was pushed").await
    }

    /// Starts the script and reads what it says until it ends, floods, or has had its time.
    async fn follow(&self, rig: &mut Rig, dir: &str, following: &mut Following) -> Outcome<End> {
        done(rig, &target::start(dir), "start the script").await?;
        let deadline = rig.within(secs(self.case.deadline_s));
        let most = self.suite.limits.output_mib * MIB;
        rig.journal().doing(self.case.run.clone(), None);
        loop {
            let state = following.news(rig, dir, deadline.left().as_secs() + 1).await?;
            let fault = match state {
                State::Ended(status) => return Ok(End { status: Some(status), fault: None }),
                State::Flooded => flooded(most),
                State::Running if following.read > most => flooded(most),
                State::Running if deadline.passed() => late(deadline),
                State::Running => continue,
            };
            if state == State::Running {
                rig.run_in(&target::kill(dir), WORD).await?;
                following.news(rig, dir, 0).await?;
            }
            return Ok(End { status: None, fault: Some(fault) });
        }
    }

    /// Fetches the files that the case keeps; what is missing or too large is told.
    async fn collect(&self, rig: &mut Rig, dir: &str) -> Outcome {
        if self.case.collect.is_empty() {
            return Ok(());
        }
        let listed = rig.run_in(&target::sizes(dir, &self.case.collect), WORD).await?;
        let most = self.suite.limits.collect_mib * MIB;
        let lines: Vec<String> = listed.text().lines().map(String::from).collect();
        if lines.is_empty() {
            rig.journal().note(format!("nothing to collect: {}", self.case.collect.join(" ")));
        }
        for line in lines.iter().take(MOST_COLLECTED) {
            let Some((size, path)) = line.trim().split_once(' ') else { continue };
            if size.parse::<u64>().map_or(true, |size| size > most) {
                rig.journal().note(format!("{path} is not collected: it has {size} bytes"));
                continue;
            }
            let local = attach(rig, &local_name(path))?;
            let remote =
                if path.starts_with('/') { path.into() } else { format!("{dir}/files/{path}") };
            let deadline = rig.within(super::AROUND);
            let shell = rig.shell().ok_or_else(|| Trouble::Skip(Need::Shell.hint().into()))?;
            shell.download(&remote, &local, &|_, _| {}, deadline).await?;
        }
        Ok(())
    }
}

/// Runs a command of hil's own on the target; that it cannot be done is no finding about the
/// product, which never promised to have these tools.
async fn done(rig: &mut Rig, command: &str, what: &str) -> Outcome {
    let output: Output = rig.run_in(command, WORD).await?;
    match output.ok() {
        true => Ok(()),
        false => Err(Trouble::rack(format!("{what} on the target: {}", output.said()))),
    }
}

/// Where a file of the case goes; its folder is there.
fn attach(rig: &Rig, name: &str) -> Outcome<PathBuf> {
    let file = rig.attach(name)?;
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.map_err(|why| Trouble::rack(format!("make the folder of {}: {why}", file.display())))?;
    Ok(file)
}

/// A script's output as it is read.
struct Following {
    reader: Reader,
    read: u64,
    log: std::fs::File,
    tests: usize,
}

impl Following {
    fn new(format: Format, rig: &Rig) -> Outcome<Following> {
        let format = match format {
            Format::Exit => hil_tap::Format::Exit,
            Format::Tap => hil_tap::Format::Tap,
            Format::Ktap => hil_tap::Format::Ktap,
            Format::Lava => hil_tap::Format::Lava,
        };
        let path = attach(rig, "output.txt")?;
        let log = std::fs::File::create(&path)
            .map_err(|error| Trouble::rack(format!("create {}: {error}", path.display())))?;
        Ok(Following { reader: Reader::new(format), read: 0, log, tests: 0 })
    }

    /// Reads what there is; the script has not ended before all it said is read.
    async fn news(&mut self, rig: &mut Rig, dir: &str, wait: u64) -> Outcome<State> {
        let output = rig.run_in(&target::news(dir, self.read, wait), WORD).await?;
        let Some((state, bytes)) = target::read_news(&output) else {
            let why = format!("the script's folder {dir} is gone: {}", output.said());
            return Err(Trouble::product(why));
        };
        self.read += bytes.len() as u64;
        let written = self.log.write_all(bytes);
        written.map_err(|error| Trouble::rack(format!("write the script's output: {error}")))?;
        for point in self.reader.feed(bytes) {
            self.tests += 1;
            record(rig, &point);
        }
        let more = bytes.len() == target::CHUNK && state != State::Flooded;
        Ok(if more { State::Running } else { state })
    }

    fn end(self, rig: &mut Rig, status: Option<i32>) -> Own {
        let ending = self.reader.end(status);
        for point in &ending.points {
            record(rig, point);
        }
        match self.tests + ending.points.len() {
            0 => {}
            1 => rig.journal().note("ran 1 test"),
            tests => rig.journal().note(format!("ran {tests} tests")),
        }
        ending.own
    }
}

/// A test of the script's becomes a subtest of the case.
fn record(rig: &mut Rig, point: &Point) {
    let name = point.name();
    let told = point.told.trim();
    let why = match (point.reason.as_str(), told) {
        ("", "") => None,
        ("", told) => Some(told.to_string()),
        (reason, "") => Some(reason.to_string()),
        (reason, told) => Some(format!("{reason}\n{told}")),
    };
    let todo = || Some(format!("TODO {}", point.reason).trim().to_string());
    let (verdict, expected) = match point.outcome {
        hil_tap::Outcome::Pass => (Verdict::Pass, None),
        hil_tap::Outcome::Fail => (Verdict::Fail, None),
        hil_tap::Outcome::Skip => (Verdict::Skip, None),
        hil_tap::Outcome::Todo { passed: true } => (Verdict::Pass, todo()),
        hil_tap::Outcome::Todo { passed: false } => (Verdict::Fail, todo()),
    };
    let why = match verdict {
        Verdict::Pass => None,
        Verdict::Skip => why.or(Some("the script skipped it".into())),
        _ => why.or(Some("the script says `not ok`, and not why".into())),
    };
    rig.subtest(&name, verdict, why, expected);
    if let Some((value, unit)) = &point.measured {
        rig.fact(&name, *value, unit);
    }
}

fn judge(own: Own, end: End, stderr: &str) -> Outcome {
    let said = if stderr.is_empty() { String::new() } else { format!("; stderr: {stderr}") };
    match (end.fault, own) {
        (Some(fault), Own::Fail(why)) => Err(Trouble::product(format!("{fault}; {why}{said}"))),
        (Some(fault), _) => Err(Trouble::product(format!("{fault}{said}"))),
        (None, Own::Pass) => Ok(()),
        (None, Own::Skip(why)) => Err(Trouble::Skip(why)),
        (None, Own::Fail(why)) => Err(Trouble::product(format!("the script: {why}{said}"))),
    }
}

fn flooded(most: u64) -> String {
    format!("the script printed more than {} MiB and was ended", most / MIB)
}

fn late(deadline: Deadline) -> String {
    format!("the script did not end within its deadline of {} and was ended", Span(deadline.span()))
}

/// A target's path as one below the case's folder.
fn local_name(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}
