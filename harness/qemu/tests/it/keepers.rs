//! No orphan, whatever kills hil: the parent-death signal and the keeper, each alone.
//!
//! The test program starts itself again in the roles of hil and of the keeper: `hil_itself` and
//! `keeper_itself` do nothing unless they were started so.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::guests::{Bench, LONG};
use hil_qemu::keeper::{Keeper, keeper_main};
use hil_qemu::{RUN_VARIABLE, RunDir};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

const ROLE: &str = "HIL_TEST_ROLE";
const BASE: &str = "HIL_TEST_BASE";
const RUN: &str = "HIL_TEST_RUN";
const WITH_KEEPER: &str = "HIL_TEST_WITH_KEEPER";
const NO_DEATH_SIGNAL: &str = "HIL_TEST_NO_PDEATHSIG";

/// This program in a role.
fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let path = format!("keepers::{name}");
    command.args(["--exact", &path, "--nocapture", "--test-threads=1"]).env(ROLE, name);
    command
}

/// In the role of the keeper: its arguments are the last ones, a run and one folder.
#[test]
fn keeper_itself() {
    if std::env::var_os(ROLE).is_some_and(|role| role == "keeper_itself") {
        let mut arguments: Vec<String> = std::env::args().collect();
        let folder = PathBuf::from(arguments.pop().unwrap());
        let ended = keeper_main(&arguments.pop().unwrap(), &[folder]);
        // The harness would print; nobody reads.
        std::process::exit(i32::from(ended != ExitCode::SUCCESS));
    }
}

/// In the role of hil: starts a keeper if told to, starts a machine, says so, and waits.
#[tokio::test]
async fn hil_itself() {
    if std::env::var_os(ROLE).is_none_or(|role| role != "hil_itself") {
        return;
    }
    let base = PathBuf::from(std::env::var_os(BASE).unwrap());
    let run_id = std::env::var(RUN).unwrap();
    let mut bench = Bench::echo();
    bench.run = RunDir::create_in(&base, &run_id).unwrap();
    bench.spec.console = bench.run.socket("console").unwrap();
    bench.spec.qmp = bench.run.socket("qmp").unwrap();
    let keeper = std::env::var_os(WITH_KEEPER)
        .map(|_| Keeper::start(role("keeper_itself"), &run_id, &[bench.run.path()]).unwrap());
    println!("\nkeeper {}", keeper.map_or(0, |keeper| std::mem::ManuallyDrop::new(keeper).pid()));
    let started = bench.start().await.unwrap();
    println!("\nmachine {}", started.qemu.pid());
    std::future::pending::<()>().await;
}

/// hil in a process of its own, to be killed.
struct Hil {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Hil {
    fn start(base: &Path, run_id: &str, settings: &[&str]) -> Hil {
        let mut command = role("hil_itself");
        command.env(BASE, base).env("TMPDIR", base).env(RUN, run_id).stdout(Stdio::piped());
        for name in [WITH_KEEPER, NO_DEATH_SIGNAL] {
            command.env_remove(name);
        }
        for name in settings {
            command.env(name, "1");
        }
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Hil { process, output }
    }

    /// The process whose number stands behind a word in hil's output.
    fn told(&mut self, word: &str) -> OwnedFd {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "hil ended without `{word}`");
            if let Some(number) = line.trim().strip_prefix(word) {
                let pid = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
                return pidfd_open(pid, PidfdFlags::empty()).unwrap();
            }
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn ends_within(process: &OwnedFd, most: Duration) -> bool {
    let most = Timespec::try_from(most).unwrap();
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&most)).unwrap() > 0
}

/// Whether any process carries the run's name.
fn anybody_of(run_id: &str) -> bool {
    let mark = format!("{RUN_VARIABLE}={run_id}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.map(|entry| entry.path().join("environ")).any(|file| {
        let environment = std::fs::read(file).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    })
}

#[test]
fn the_death_signal_alone_ends_the_machine() {
    let base = tempfile::tempdir().unwrap();
    let mut hil = Hil::start(base.path(), "signal-only", &[]);
    let machine = hil.told("machine");
    hil.kill();
    assert!(ends_within(&machine, LONG), "the machine outlived hil");
}

#[test]
fn the_keeper_alone_ends_the_machine_and_removes_its_folder() {
    let base = tempfile::tempdir().unwrap();
    let mut hil = Hil::start(base.path(), "keeper-only", &[WITH_KEEPER, NO_DEATH_SIGNAL]);
    let keeper = hil.told("keeper");
    let machine = hil.told("machine");
    hil.kill();
    assert!(ends_within(&machine, LONG), "the machine outlived hil");
    assert!(ends_within(&keeper, LONG), "the keeper did not end");
    assert!(!base.path().join("hil-keeper-only").exists(), "the run's folder is still there");
}

/// Without either, the machine must survive: otherwise the two tests above show nothing.
#[test]
fn without_both_the_machine_is_left_over() {
    let base = tempfile::tempdir().unwrap();
    let mut hil = Hil::start(base.path(), "neither", &[NO_DEATH_SIGNAL]);
    let machine = hil.told("machine");
    hil.kill();
    assert!(!ends_within(&machine, Duration::from_secs(1)), "something else ended it");
    rustix::process::pidfd_send_signal(&machine, Signal::KILL).unwrap();
    assert!(ends_within(&machine, LONG));
}

/// hil dies at any moment while it starts a machine: nothing may be left, registered or not.
#[test]
fn a_death_in_the_middle_of_a_start_leaves_nothing() {
    for wait in [0, 1, 2, 4, 8, 16, 32, 64] {
        let base = tempfile::tempdir().unwrap();
        let run_id = format!("middle-{wait}-{}", std::process::id());
        let mut hil = Hil::start(base.path(), &run_id, &[WITH_KEEPER, NO_DEATH_SIGNAL]);
        let keeper = hil.told("keeper");
        // Not a synchronisation: each round only shifts the moment of death.
        std::thread::sleep(Duration::from_millis(wait));
        hil.kill();
        assert!(ends_within(&keeper, LONG), "the keeper did not end");
        assert!(!anybody_of(&run_id), "{wait} ms: a process of the run is left");
    }
}

/// A process that carries the run's name, as a machine does.
struct Bystander(Child);

impl Bystander {
    fn new(run_id: &str) -> Bystander {
        let mut command = Command::new("sleep");
        Bystander(command.arg("1000").env(RUN_VARIABLE, run_id).process_group(0).spawn().unwrap())
    }

    fn pidfd(&self) -> OwnedFd {
        pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).unwrap()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_keeper_is_deaf_to_signals_and_kills_only_its_own() {
    let base = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(base.path(), "deaf").unwrap();
    let (ours, other) = (Bystander::new("deaf"), Bystander::new("deaf-2"));
    let keeper = Keeper::start(role("keeper_itself"), "deaf", &[run.path()]).unwrap();
    let pid = Pid::from_raw(keeper.pid().try_into().unwrap()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill_process(pid, signal).unwrap();
    }
    assert!(!ends_within(&ours.pidfd(), Duration::ZERO), "killed before hil's end");
    drop(keeper);
    assert!(ends_within(&ours.pidfd(), LONG), "the keeper had died of a signal");
    assert!(!ends_within(&other.pidfd(), Duration::ZERO), "another run's process was killed");
    assert!(!run.path().exists());
}

#[test]
fn a_keeper_that_is_done_touches_nothing() {
    let base = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(base.path(), "done").unwrap();
    let bystander = Bystander::new("done");
    let keeper = Keeper::start(role("keeper_itself"), "done", &[run.path()]).unwrap();
    keeper.done();
    assert!(!ends_within(&bystander.pidfd(), Duration::ZERO));
    assert!(run.path().exists());
}

#[test]
fn a_keeper_that_is_none_is_told() {
    let error = Keeper::start(Command::new("/bin/true"), "x", &[]).unwrap_err().to_string();
    assert_eq!(error, "start the keeper: /bin/true: it ended at once");
    let error = Keeper::start(Command::new("/nonexistent"), "x", &[]).unwrap_err().to_string();
    assert!(error.starts_with("start the keeper: /nonexistent: No such file"), "{error}");
}
