//! Programs as switches: what they print, how they fail, and that none outlives its time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::peers::{fails, get, on, switch};

fn shell(script: &str) -> String {
    format!("['sh', '-c', '''{script}''']")
}

#[test]
fn a_program_switches_and_tells() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let write = |word: &str| shell(&format!("echo {word} > {}; echo chatter >&2", state.display()));
    let mut switch = switch(&format!(
        "command = {{ on = {}, off = {}, get = ['cat', '{}'] }}",
        write("on"),
        write("off"),
        state.display()
    ));
    switch.set(true).unwrap();
    assert_eq!(switch.get().unwrap(), Some(true));
    switch.set(false).unwrap();
    assert_eq!(switch.get().unwrap(), Some(false));
    fs::write(&state, "perhaps\n").unwrap();
    let why = switch.get().unwrap_err().to_string();
    assert_eq!(why, "read the state by its command: `cat` must print on or off, not `perhaps`");
}

fn with(on: &str) -> Box<dyn hil_lab::power::Switch> {
    switch(&format!("command = {{ on = {on}, off = ['true'] }}"))
}

#[test]
fn failures_carry_what_the_program_said() {
    assert_eq!(with("['true']").get().unwrap(), None);
    let why = fails(with(&shell("echo it is stuck >&2; exit 3")), on);
    assert_eq!(
        why,
        "switch on by its command: `sh` ended with exit status 3, stderr: `it is stuck`"
    );
    assert!(fails(with(&shell("kill -9 $$")), on).contains("ended with signal 9"));
    assert!(fails(with("['/nonexistent/relay']"), on).contains("could not be started"));
    assert!(fails(with("[]"), on).contains("the list of its words is empty"));
    let loud = switch("command = { on = ['true'], off = ['true'], get = ['yes', 'on'] }");
    let why = fails(loud, get);
    assert!(why.contains("`yes` was killed: it ran longer than 5.0 s"), "{why}");
}

/// Blocks until every writer of the pipe has ended.
fn ended(pipe: &Path) {
    let mut last = String::new();
    for line in BufReader::new(fs::File::open(pipe).unwrap()).lines() {
        last = line.unwrap();
    }
    assert_eq!(last, "started");
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    // The grandchild holds the pipe open: it ends for us only when that one is dead.
    let script = format!("exec 3>{}; (sleep 1000; true) & echo started >&3; wait", pipe.display());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ended(&pipe);
        tell.send(()).unwrap();
    });
    let why = fails(with(&shell(&script)), on);
    assert!(why.contains("`sh` was killed: it ran longer than"), "{why}");
    told.recv_timeout(super::peers::WAIT).expect("a child lives on");
}

#[test]
fn what_a_program_leaves_running_does_not_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo on", file.display());
    let mut switch =
        switch(&format!("command = {{ on = ['true'], off = ['true'], get = {} }}", shell(&script)));
    assert_eq!(switch.get().unwrap(), Some(true));
    // Such a daemon is the program's business: it still runs.
    let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
