//! Custom suites from the folder to the events, with this host's own `sh` and `tar` as the target's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hil_core::board::Board;
use hil_core::deadline::Deadline;
use hil_core::event::{Clock, Event, Journal, Sink, What};
use hil_core::image::Image;
use hil_core::parts::{
    Console, CutPolicy, CutReport, Depot, Match, Output, Power, Progress, Served, Shell, Sighting,
};
use hil_core::plan::{CaseId, PlannedCase};
use hil_core::prelude::*;
use hil_core::product::Os;
use hil_core::rig::{Adapters, Parts};
use hil_core::verdict::Verdict;
use hil_suites::custom;
use regex::bytes::Regex;
use tokio::sync::watch;

/// This host, as a board's shell.
struct HostShell;

#[async_trait]
impl Shell for HostShell {
    fn name(&self) -> &'static str {
        "host"
    }

    async fn open(&mut self, _: Deadline) -> Outcome {
        Ok(())
    }

    async fn exec(&mut self, command: &str, _: Deadline) -> Outcome<Output> {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let status = output.status.code().unwrap_or(128);
        let took = Duration::ZERO;
        Ok(Output { status, stdout: output.stdout, stderr: output.stderr, took })
    }

    async fn upload(&mut self, local: &Path, to: &str, _: Progress<'_>, _: Deadline) -> Outcome {
        fs::copy(local, to).map(|_| ()).map_err(Trouble::rack)
    }

    async fn download(&mut self, from: &str, to: &Path, _: Progress<'_>, _: Deadline) -> Outcome {
        fs::copy(from, to).map(|_| ()).map_err(Trouble::rack)
    }

    fn forget(&mut self) {}
}

struct NoPower(watch::Sender<Option<Trouble>>);

#[async_trait]
impl Power for NoPower {
    fn label(&self) -> String {
        "host".into()
    }

    async fn on(&mut self) -> Outcome {
        Ok(())
    }

    async fn off(&mut self) -> Outcome {
        Ok(())
    }

    async fn cut(&mut self, _: CutPolicy, _: u64) -> Outcome<CutReport> {
        Ok(CutReport::default())
    }

    fn loss(&self) -> watch::Receiver<Option<Trouble>> {
        self.0.subscribe()
    }
}

struct NoConsole;

#[async_trait]
impl Console for NoConsole {
    fn position(&self) -> u64 {
        0
    }

    async fn send(&self, _: &[u8]) -> Outcome {
        Ok(())
    }

    async fn expect(&self, _: u64, _: &Regex, _: Deadline) -> Outcome<Match> {
        Err(Trouble::unmet("there is no console"))
    }

    fn read(&self, _: u64, _: usize) -> Outcome<Vec<u8>> {
        Ok(Vec::new())
    }

    fn tail(&self, _: usize) -> Vec<String> {
        Vec::new()
    }

    fn sightings(&self) -> u64 {
        0
    }

    async fn sighting(&self, _: &mut u64) -> Sighting {
        std::future::pending().await
    }
}

struct NoOs;

#[async_trait]
impl Os for NoOs {
    async fn version(&self, _: &mut Rig) -> Outcome<String> {
        Err(Trouble::rack("nobody asks"))
    }

    async fn slot(&self, _: &mut Rig) -> Outcome<String> {
        Err(Trouble::rack("nobody asks"))
    }

    async fn failed_units(&self, _: &mut Rig) -> Outcome<Vec<String>> {
        Err(Trouble::rack("nobody asks"))
    }

    async fn taint(&self, _: &mut Rig) -> Outcome<u64> {
        Err(Trouble::rack("nobody asks"))
    }

    async fn clock(&self, _: &mut Rig) -> Outcome<i64> {
        Err(Trouble::rack("nobody asks"))
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<What>>);

impl Sink for Heard {
    fn event(&self, _: &str, event: &Event) {
        self.0.lock().unwrap().push(event.what.clone());
    }
}

/// A case's end, and what was told on the way.
struct Ran {
    outcome: Outcome,
    events: Vec<What>,
    out: tempfile::TempDir,
}

impl Ran {
    /// `name verdict` of each test within it.
    fn tests(&self) -> Vec<String> {
        let test = |event: &What| match event {
            What::Subtest { name, verdict, .. } => Some(format!("{name} {verdict}")),
            _ => None,
        };
        self.events.iter().filter_map(test).collect()
    }

    fn why(&self) -> String {
        self.outcome.clone().unwrap_err().to_string()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join("files/s/case").join(name)).unwrap_or_default()
    }
}

struct NoDepot;

#[async_trait]
impl Depot for NoDepot {
    async fn serve(&self, _: &Path, _: Option<u64>, _: bool) -> Outcome<Box<dyn Served>> {
        Err(Trouble::rack("nothing is handed out here"))
    }
}

fn planned() -> PlannedCase {
    PlannedCase {
        id: CaseId { suite: "s".into(), name: "case".into(), round: 1 },
        seed: 7,
        deadline_s: 60.0,
        isolation: Isolation::Shared,
        required: false,
        expected: None,
        cuts: Vec::new(),
    }
}

/// Runs the one case of a suite whose file ends with `more`, beside which lie `files`.
fn run(more: &str, files: &[(&str, &str)]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let work = tempfile::tempdir().unwrap();
    let work_path = work.path().display();
    let text = format!(
        "name = \"s\"\nworkdir = \"{work_path}\"\n[limits]\noutput_mib = 1\n\
                        collect_mib = 1\n[[case]]\nname = \"case\"\n{more}"
    );
    fs::write(dir.path().join("suite.toml"), text).unwrap();
    let suite = custom::load(dir.path()).unwrap();
    let (out, heard) = (tempfile::tempdir().unwrap(), Arc::new(Heard::default()));
    let journal = Journal::new("qemu-x", Clock::new(), vec![heard.clone()]);
    let (os, depot) = (Arc::new(NoOs), Arc::new(NoDepot));
    let adapters = Adapters { os, engine: None, updater: None, depot };
    let mut rig = Rig::new(parts(), adapters, journal).keeping_in(out.path());
    rig.set_case(Some(planned()), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let outcome = runtime.block_on(suite.cases[0].body.run(&mut rig));
    let left: Vec<_> = fs::read_dir(work.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} are left on the target");
    let events = heard.0.lock().unwrap().clone();
    Ran { outcome, events, out }
}

fn parts() -> Parts {
    let board = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n";
    let image = "name = \"os\"\narch = \"arm\"\n[boot.kernel]\nfile = \"k\"\n[login]\n";
    Parts {
        board: Arc::new(Board::parse(board, Path::new("qemu-x.toml")).unwrap()),
        image: Arc::new(Image::parse(image, Path::new("image.toml")).unwrap()),
        power: Box::new(NoPower(watch::channel(None).0)),
        console: Arc::new(NoConsole),
        login: Some(Box::new(HostShell)),
        ssh: None,
        slowness: 1.0,
        reach_by: Box::new(Vec::new),
    }
}

#[test]
fn a_script_has_its_files_and_variables_and_its_tests_are_told() {
    let script = "echo 1..3\n[ \"$WORD\" = \"it's me\" ] && echo ok - word\n\
                  . lib/arm/names.sh && echo ok - $NAME\necho \"not ok - $HIL_BOARD\"\n";
    let more = "run = \"sh main.sh\"\nformat = \"tap\"\npush = [\"main.sh\", \"lib/{arch}\"]\n\
                [case.env]\nWORD = \"it's me\"\n";
    let ran = run(more, &[("main.sh", script), ("lib/arm/names.sh", "NAME=lib"), ("other", "")]);
    assert_eq!(ran.tests(), ["word pass", "lib pass", "qemu-x fail"]);
    assert_eq!(ran.outcome, Ok(()), "its failure is the test's, told once");
    assert_eq!(ran.file("output.txt"), "1..3\nok - word\nok - lib\nnot ok - qemu-x\n");
}

#[test]
fn a_script_that_dies_midway_tells_what_is_missing_and_its_last_words() {
    let ran = run(
        "run = \"echo 1..4; echo ok; printf '\\\\377\\\\000 garbage'; echo dying >&2; kill -9 $$\"\n\
         format = \"tap\"\n",
        &[],
    );
    assert_eq!(ran.tests(), ["test 1 pass"]);
    let why = ran.why();
    for told in ["of 4 planned tests 2 to 4 never came", "signal 9", "stderr: dying"] {
        assert!(why.contains(told), "{why}");
    }
    assert_eq!(ran.outcome.unwrap_err().verdict(), Verdict::Fail);
}

#[test]
fn exit_status_alone_is_a_verdict() {
    let verdict = |run_: &str| match run(&format!("run = \"{run_}\"\n"), &[]).outcome {
        Ok(()) => Verdict::Pass,
        Err(trouble) => trouble.verdict(),
    };
    assert_eq!(verdict("true"), Verdict::Pass);
    assert_eq!(verdict("exit 77"), Verdict::Skip);
    assert_eq!(verdict("exit 4"), Verdict::Fail);
    assert_eq!(verdict("/no/such/program"), Verdict::Fail);
}

#[test]
fn a_flood_and_a_hang_are_ended_with_all_they_started() {
    let ran = run("run = \"yes ok\"\nformat = \"tap\"\n", &[]);
    assert!(ran.why().contains("printed more than 1 MiB and was ended"), "{}", ran.why());
    let alive =
        "run = \"echo 1..2; echo ok; sleep 4711 & sleep 4711\"\nformat = \"tap\"\ndeadline_s = 1\n";
    let ran = run(alive, &[]);
    let why = ran.why();
    assert!(why.contains("did not end within its deadline of 1.0 s"), "{why}");
    assert!(why.contains("of 2 planned tests 2 never came"), "{why}");
    assert_eq!(ran.tests(), ["test 1 pass"]);
    let left = Command::new("pgrep").args(["-f", "^sleep 4711"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "what it started is still there");
}

#[test]
fn files_are_collected_within_their_limit() {
    let more = "run = \"mkdir log; echo hello >log/a.txt; echo b >log/b.bin; \
                head -c 1100000 /dev/zero >log/big.txt\"\ncollect = [\"log/*.txt\"]\n";
    let ran = run(more, &[]);
    assert_eq!(ran.outcome, Ok(()));
    assert_eq!(ran.file("log/a.txt"), "hello\n");
    let attached =
        |event: &&What| matches!(event, What::Attachment { path, .. } if path.contains("log/"));
    assert_eq!(ran.events.iter().filter(attached).count(), 1);
    let told = "log/big.txt is not collected: it has 1100000 bytes";
    assert!(ran.events.contains(&What::Note { text: told.into() }), "{:?}", ran.events);
}

#[test]
fn too_much_to_push_is_no_finding_about_the_product() {
    let big = "x".repeat(2 << 20);
    let more = "run = \"true\"\npush = [\"big\"]\n";
    let dir_limit = format!("{more}[case.env]\n");
    let ran = run(&dir_limit, &[("big", &big)]);
    assert_eq!(ran.outcome, Ok(()), "64 MiB is the usual limit");
    let ran = run("run = \"true\"\npush = [\"{arch}/tool\"]\n", &[]);
    assert_eq!(ran.outcome.clone().unwrap_err().verdict(), Verdict::Broken);
    assert!(ran.why().contains("arm/tool"), "{}", ran.why());
}

#[test]
fn lavas_measurements_are_figures() {
    let signal = "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=up RESULT=pass MEASUREMENT=2.5 UNITS=s>";
    let ran = run(&format!("run = \"echo '{signal}'\"\nformat = \"lava\"\n"), &[]);
    assert_eq!(ran.tests(), ["up pass"]);
    let fact = |event: &What| match event {
        What::Fact { name, value, .. } => name == "up" && *value == 2.5,
        _ => false,
    };
    assert!(ran.events.iter().any(fact));
}

#[test]
fn a_folder_of_suites_is_each_of_its_suites() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["zeta", "alpha", "no-suite"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    for name in ["zeta", "alpha"] {
        let text = "[[case]]\nname = \"a\"\nrun = \"true\"\n";
        fs::write(dir.path().join(name).join("suite.toml"), text).unwrap();
    }
    let names = |dir: &Path| -> Vec<&str> {
        custom::find(dir).unwrap().iter().map(|suite| suite.name).collect()
    };
    assert_eq!(names(dir.path()), ["alpha", "zeta"]);
    assert_eq!(names(&dir.path().join("zeta")), ["zeta"]);
    assert!(custom::find(&dir.path().join("gone")).is_err());
}
