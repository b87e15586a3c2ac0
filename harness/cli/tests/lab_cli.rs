//! `hil lab` against a virtual rack: what it says, what it switches, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "common/rack.rs"]
mod rack;
mod virtual_lab;

use std::fs;
use std::process::Command;

use common::{Background, run, signal, wait_until};
use virtual_lab::{Terminal, VirtualLab};

/// The same lab, used by somebody else.
fn as_user(mut command: Command, user: &str) -> Command {
    command.env("USER", user);
    command
}

fn held_by(lab: &VirtualLab, user: &str, words: &[&str]) -> Background {
    let hold = [&["lab", "hold", "bbb-1"], words].concat();
    let mut held = Background::start(&mut as_user(lab.hil(&hold), user));
    held.says("bbb-1 is yours until");
    held
}

#[test]
fn status_shows_who_holds_a_board_and_for_what_until_the_time_is_up() {
    let lab = VirtualLab::start();
    let ended = lab.lab(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("bbb-1     beaglebone   off    there    free"), "{}", ended.out);
    let held = held_by(&lab, "alice", &["--for", "3s", "--why", "looking at the SPL"]);
    let ended = lab.lab(&["status"]);
    assert!(ended.out.contains("held by alice (process "), "{}", ended.out);
    assert!(ended.out.contains("for `looking at the SPL`"), "{}", ended.out);
    assert_eq!(lab.status("bbb-1")["holder"]["by_hand"], true);
    assert_eq!(lab.status("opi-1")["holder"], serde_json::Value::Null);
    let ended = held.ends();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("the time is up"), "{}", ended.said);
    assert_eq!(lab.status("bbb-1")["holder"], serde_json::Value::Null);
    let switch = lab.status("bbb-1")["switch"].to_string();
    let calibration = format!(
        "instance = \"bbb-1\"\npower = {switch}\ndate = \"2026-01-02T03:04:05Z\"\ncycles = 9\n\
         talk = \"shell\"\n[off_delay]\nms = 61.0\njitter_ms = 3.0\nerror_ms = 1.0\n"
    );
    fs::write(lab.path("state/state/bbb-1.calibration"), calibration).unwrap();
    fs::remove_file(lab.path("rack/dev/quick.console")).unwrap();
    let seen = lab.status("bbb-1");
    assert_eq!(seen["console"], "absent");
    assert!(seen["calibration"].as_str().unwrap().starts_with("off after 61 ± "), "{seen}");
}

#[test]
fn power_moves_the_contact_and_leaves_it_so() {
    let lab = VirtualLab::start();
    let ended = lab.lab(&["power", "on", "bbb-1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("bbb-1 is on, as LCUS relay 1"), "{}", ended.out);
    wait_until("the contact closes", || lab.contact("quick"));
    // The keeper has ended with hil, and has not settled anything.
    let seen = lab.status("bbb-1");
    assert_eq!((&seen["power"], &seen["holder"]), (&true.into(), &serde_json::Value::Null));
    let powered = lab.truth("quick")["since_mono_ns"].as_u64().unwrap();
    assert_eq!(lab.lab(&["power", "cycle", "bbb-1"]).code, Some(0));
    wait_until("the board has power again", || {
        let now = lab.truth("quick");
        now["contact"] == true && now["since_mono_ns"].as_u64().unwrap() > powered
    });
    assert_eq!(lab.lab(&["power", "off", "bbb-1"]).code, Some(0));
    wait_until("the contact opens", || !lab.contact("quick"));
    let ended = lab.lab(&["power", "on", "bbb-2"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("did you mean `bbb-1`?"), "{}", ended.said);
}

#[test]
fn ones_own_hold_is_no_obstacle_and_anothers_is() {
    let lab = VirtualLab::start();
    let mut held = held_by(&lab, "alice", &[]);
    let on = &["lab", "power", "on", "bbb-1"];
    let ended = run(&mut as_user(lab.hil(on), "bob"));
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.said.contains("bbb-1 is held by alice (process "), "{}", ended.said);
    assert!(!lab.contact("quick"));
    let ended = run(&mut as_user(lab.hil(on), "alice"));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("bbb-1 is yours already"), "{}", ended.said);
    wait_until("the contact closes", || lab.contact("quick"));
    signal(held.child.id() as i32, "INT");
    held.says("bbb-1 is in its safe state (off), and free");
    assert_eq!(held.ends().code, Some(0));
    assert!(!lab.contact("quick"));
}

#[test]
fn a_killed_hold_leaves_the_board_safe_and_free() {
    let lab = VirtualLab::start();
    let mut held = held_by(&lab, "alice", &[]);
    let ended = run(&mut as_user(lab.hil(&["lab", "power", "on", "bbb-1"]), "alice"));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    wait_until("the contact closes", || lab.contact("quick"));
    held.child.kill().unwrap();
    wait_until("the contact opens", || !lab.contact("quick"));
    wait_until("the lock is free", || lab.status("bbb-1")["holder"].is_null());
}

#[test]
fn a_check_quarantines_what_is_broken_and_lifts_what_is_well_again() {
    let lab = VirtualLab::start();
    let ended = lab.lab(&["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("ok      bbb-1\n") && ended.out.contains("ok      opi-1\n"));
    assert!(ended.out.contains("4194304 bytes, comes and goes with USB-SD-Mux"), "{}", ended.out);
    // It sticks where it is: closed.
    assert_eq!(lab.lab(&["power", "on", "bbb-1"]).code, Some(0));
    wait_until("the contact closes", || lab.contact("quick"));
    lab.fault("quick stuck-relay on");
    let ended = lab.lab(&["check", "bbb-1"]);
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.out.contains("broken  bbb-1: in quarantine"), "{}", ended.out);
    assert!(ended.out.contains("its contact sticks"), "{}", ended.out);
    let seen = lab.status("bbb-1");
    assert!(seen["quarantine"]["why"].as_str().unwrap().contains("its contact sticks"));
    let ended = run(&mut lab.hil(&["run", "--board", "bbb-1", "--suite", "boot", "--out", "o"]));
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let junit = common::junit(&lab.path("o"));
    assert!(junit.contains("bbb-1 is in quarantine") && junit.contains("its contact sticks"));
    assert!(!junit.contains("<failure"), "{junit}");
    lab.fault("quick stuck-relay off");
    let ended = lab.lab(&["check", "bbb-1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("its quarantine is lifted"), "{}", ended.out);
    assert!(lab.status("bbb-1")["quarantine"].is_null());
}

#[test]
fn a_dead_uart_and_a_mux_that_does_not_switch_are_told() {
    let lab = VirtualLab::start();
    lab.fault("other dead-uart on");
    lab.fault("mux-1 stuck on");
    let ended = lab.lab(&["check"]);
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let why = |instance: &str| lab.status(instance)["quarantine"]["why"].to_string();
    assert!(why("opi-1").contains("no byte came on the console within 5.0 s"), "{}", why("opi-1"));
    let mux = why("bbb-1");
    assert!(mux.contains("which took the command to switch it to the host"), "{mux}");
    assert!(mux.contains("did not appear within 20 s"), "{mux}");
    assert!(!mux.contains("console"), "the rest of it is well: {mux}");
    // A mux that admits it is told by its own word.
    lab.fault("mux-1 stuck on tells=truth");
    assert_eq!(lab.lab(&["check", "bbb-1"]).code, Some(69));
    assert!(why("bbb-1").contains("yet says that it is still switched to"), "{}", why("bbb-1"));
    lab.fault("other dead-uart off");
    lab.fault("mux-1 stuck off");
    let ended = lab.lab(&["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn a_relay_that_hangs_holds_up_no_other_board() {
    let lab = VirtualLab::start();
    lab.fault("relay-b hang on");
    let ended = lab.lab(&["status"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("bbb-1     beaglebone   off "), "{}", ended.out);
    assert!(ended.out.contains("opi-1     orangepi-pc  ? "), "{}", ended.out);
    assert!(ended.out.contains("opi-1: failed to "), "{}", ended.out);
    let mut check = Background::start(&mut lab.hil(&["lab", "check"]));
    // Nothing of the other has been told yet: it still hangs.
    check.says("ok      bbb-1");
    assert!(!check.said.contains("opi-1"), "{}", check.said);
    let ended = check.ends();
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.said.contains("broken  opi-1: in quarantine"), "{}", ended.said);
}

#[test]
fn settling_makes_safe_what_nobody_holds() {
    let lab = VirtualLab::start();
    let held = held_by(&lab, "alice", &[]);
    let on = |instance| {
        let words = ["lab", "power", "on", instance];
        let ended = run(&mut as_user(lab.hil(&words), "alice"));
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    };
    on("bbb-1");
    on("opi-1");
    wait_until("both are on", || lab.contact("quick") && lab.contact("other"));
    let ended = lab.lab(&["check", "--settle"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("safe    opi-1: off"), "{}", ended.out);
    assert!(ended.out.contains("held    bbb-1: left alone: held by alice"), "{}", ended.out);
    wait_until("the contact opens", || !lab.contact("other"));
    assert!(lab.contact("quick"));
    drop(held);
    wait_until("the keeper makes it free", || lab.status("bbb-1")["holder"].is_null());
    assert!(!lab.contact("quick"), "free before it was safe");
    lab.fault("relay-b hang on");
    let ended = lab.lab(&["check", "--settle"]);
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.out.contains("safe    bbb-1: off"), "{}", ended.out);
    assert!(ended.out.contains("broken  opi-1: "), "{}", ended.out);
}

#[test]
fn flashing_by_hand_writes_the_image_to_the_card() {
    let lab = VirtualLab::start();
    let ended = lab.lab(&["flash", "bbb-1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("bbb-1 is flashed: "), "{}", ended.out);
    let mux = Command::new(lab.path("rack/bin/usbsdmux"))
        .arg(lab.path("rack/dev/mux-1"))
        .arg("host")
        .status();
    assert!(mux.unwrap().success());
    let card = fs::read(lab.path("rack/dev/quick.card")).unwrap();
    let image = fs::read(lab.path("disk.img")).unwrap();
    assert!(card[..image.len()] == image[..], "the card holds something else");
    let ended = lab.lab(&["flash", "opi-1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("opi-1 has no [storage]"), "{}", ended.said);
}

fn console(lab: &VirtualLab, user: &str, words: &[&str]) -> Terminal {
    let console = [&["lab", "console", "bbb-1", "--log", "log"], words].concat();
    let mut terminal = Terminal::start(&mut as_user(lab.hil(&console), user));
    terminal.expect(" ends; captured in log");
    terminal
}

#[test]
fn a_console_is_raw_captured_and_leaves_the_terminal_as_it_was() {
    let lab = VirtualLab::start();
    let mut terminal = console(&lab, "alice", &[]);
    wait_until("the terminal is raw", || !terminal.is_cooked());
    // By hand beside it; somebody else is told who looks, and where the capture is.
    let on = &["lab", "power", "on", "bbb-1"];
    assert_eq!(run(&mut as_user(lab.hil(on), "alice")).code, Some(0));
    terminal.expect("login: ");
    let ended = run(&mut as_user(lab.hil(on), "bob"));
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let hint = format!("tail -f {}", lab.path("log/console.log").canonicalize().unwrap().display());
    assert!(ended.said.contains(&hint), "{}", ended.said);
    terminal.type_keys(b"root\r");
    terminal.expect("Password: ");
    terminal.type_keys(b"demo\r");
    terminal.expect("# ");
    // Ctrl-C is the board's, not hil's.
    terminal.type_keys(b"sleep 1000\r");
    terminal.expect("sleep 1000");
    terminal.type_keys(b"\x03");
    terminal.expect("# ");
    terminal.type_keys(b"echo $((40 + 2))\r");
    terminal.expect("42");
    terminal.type_keys(b"\x1d");
    terminal.expect("its power is as it was");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(terminal.is_cooked());
    assert!(lab.contact("quick"), "{}", terminal.shown);
    let raw = fs::read_to_string(lab.path("log/console.raw")).unwrap();
    assert!(raw.contains("U-Boot SPL") && raw.contains("42\r\n"), "{raw}");
    let log = fs::read_to_string(lab.path("log/console.log")).unwrap();
    assert!(log.lines().any(|line| line.ends_with("42")), "{log}");
}

#[test]
fn a_console_that_is_ended_from_outside_restores_the_terminal() {
    let lab = VirtualLab::start();
    for name in ["TERM", "HUP"] {
        let mut terminal = console(&lab, "alice", &["--escape", "^A"]);
        assert!(terminal.shown.contains("Ctrl-A ends"), "{}", terminal.shown);
        wait_until("the terminal is raw", || !terminal.is_cooked());
        signal(terminal.child.id() as i32, name);
        terminal.expect("its power is as it was");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
        assert!(terminal.is_cooked());
        assert!(lab.status("bbb-1")["holder"].is_null());
    }
    let ended = lab.lab(&["console", "bbb-1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("needs a terminal"), "{}", ended.said);
}

#[test]
fn the_doctor_looks_at_the_labs_ports() {
    let lab = VirtualLab::start();
    fs::remove_file(lab.path("rack/dev/relay-a")).unwrap();
    let said = run(&mut lab.hil(&["doctor"])).out;
    assert!(said.contains("PROBLEM  bbb-1, relay: there is no port "), "{said}");
    assert!(!said.contains("bbb-1, console"), "{said}");
    assert!(said.contains("ok       opi-1: "), "{said}");
}
