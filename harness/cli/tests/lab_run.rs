//! `hil run` on physical boards: a virtual rack plays them, over real ttys, sockets and files.
//! What goes wrong in the rack is Broken, what goes wrong on the board is Fail, and whatever
//! happens to hil, the board ends without power and free.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "common/rack.rs"]
mod rack;

use std::fs;

use common::{Background, Ended, events, junit, run, wait_until};
use rack::{Rack, shells};
use serde_json::Value;

/// Cases of a second each: long enough to be met in the middle.
const LONG: &str = "--case boot/clock-sane --repeat 12";

fn case_started(rack: &Rack, board: &str) -> bool {
    events(&rack.out(), board).iter().any(|event| !event["what"]["case-started"].is_null())
}

fn kinds(rack: &Rack, board: &str) -> Vec<String> {
    let kind = |event: &Value| match &event["what"] {
        Value::String(kind) => kind.clone(),
        Value::Object(map) => map.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    events(&rack.out(), board).iter().map(kind).collect()
}

fn passes(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

/// Broken for this reason, and nothing is blamed on the product.
fn broken(rack: &Rack, ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let junit = junit(&rack.out());
    assert!(junit.contains("<error") && !junit.contains("<failure"), "{junit}");
    assert!(junit.contains(why), "no `{why}` in {junit}");
}

#[test]
fn a_board_is_flashed_booted_and_left_without_power() {
    let rack = Rack::shells();
    passes(&run(&mut rack.run("beaglebone", "--case boot/[!r]*")));
    let kinds = kinds(&rack, "beaglebone");
    let at = |kind: &str| kinds.iter().position(|k| k == kind).unwrap_or_else(|| panic!("{kind}"));
    assert!(at("flashed") < at("power-on") && at("power-on") < at("case-started"));
    assert!(kinds.iter().any(|kind| kind == "power-off"));
    assert!(!rack.powered("one") && rack.is_free("bbb-1"));
    assert_eq!(rack.state("mux", "mux-one")["side"], "dut");
}

/// Two cases, each of which must not find what the other has left.
const PRISTINE: &str = "[[case]]\nname = \"one\"\nrun = \"true\"\nisolation = \"fork\"\n\
                        [[case]]\nname = \"two\"\nrun = \"true\"\nisolation = \"fork\"\n";

#[test]
fn a_medium_is_written_anew_for_each_case_where_the_lab_file_says_so() {
    let rack = Rack::shells();
    let suite = rack.home.path().join("suites/pristine");
    fs::create_dir_all(&suite).unwrap();
    fs::write(suite.join("suite.toml"), PRISTINE).unwrap();
    let lab = fs::read_to_string(rack.lab()).unwrap();
    let card = "[instance.bbb-1.storage]\n";
    assert!(lab.contains(card));
    fs::write(rack.lab(), lab.replace(card, &format!("{card}renew = true\n"))).unwrap();
    for (board, written) in [("bbb-1", 2), ("bbb-2", 1)] {
        let mut command = rack.run(board, "--suite pristine --require * --suite-dir");
        passes(&run(command.arg(suite.parent().unwrap())));
        let kinds = kinds(&rack, board);
        let flashed: Vec<usize> = (0..kinds.len()).filter(|at| kinds[*at] == "flashed").collect();
        assert_eq!(flashed.len(), written, "{kinds:?}");
        let first = kinds.iter().position(|kind| kind == "case-started").unwrap();
        assert!(flashed[1..].iter().all(|at| *at > first), "{kinds:?}");
    }
}

#[test]
fn two_boards_run_side_by_side_and_a_third_asker_is_told_who_holds_them() {
    let rack = Rack::shells();
    let mut command = rack.run("bbb-1", "--case boot/clock-sane --repeat 12");
    command.args(["--board", "bbb-2"]);
    let both = Background::start(&mut command);
    wait_until("both boards run a case", || {
        case_started(&rack, "bbb-1") && case_started(&rack, "bbb-2")
    });
    let mut third = rack.hil();
    third.args(["run", "--board", "beaglebone", "--case", "boot/console-login", "--out"]);
    let told = run(third.arg(rack.home.path().join("third")));
    assert_eq!(told.code, Some(69), "{}", told.said);
    for held in ["bbb-1 is held by", "bbb-2 is held by", "--board bbb-1"] {
        assert!(told.said.contains(held), "{held}: {}", told.said);
    }
    let mut patient = rack.hil();
    patient.args(["run", "--board", "beaglebone", "--case", "boot/console-login", "--wait", "200"]);
    let waited = run(patient.arg("--out").arg(rack.home.path().join("fourth")));
    passes(&waited);
    passes(&both.ends());
}

#[test]
fn a_relay_whose_contact_sticks_is_the_racks_fault() {
    let rack = Rack::shells();
    rack.ctl("fault one stuck-relay on");
    let ended = run(&mut rack.run("bbb-1", "--suite boot"));
    broken(&rack, &ended, "no byte came");
}

#[test]
fn a_contact_that_sticks_closed_is_found_at_the_end() {
    let rack = Rack::shells();
    let run = Background::start(&mut rack.run("bbb-1", LONG));
    wait_until("a case has started", || case_started(&rack, "bbb-1"));
    rack.ctl("fault one stuck-relay on");
    broken(&rack, &run.ends(), "contact sticks");
}

#[test]
fn a_board_that_goes_dark_late_is_told_and_no_contact_that_sticks() {
    // Between the one second of its lab file, and twice that on top.
    let rack = Rack::shells_of(&shells().replace("hold_up_ms = 60", "hold_up_ms = 2500"));
    let lab = fs::read_to_string(rack.lab()).unwrap();
    fs::write(rack.lab(), lab.replace("discharge_s = 0.3", "discharge_s = 1")).unwrap();
    let ended = run(&mut rack.run("bbb-1", "--case boot/console-login"));
    passes(&ended);
    assert!(ended.said.contains("bbb-1 still spoke on its console 1 s after"), "{}", ended.said);
    let checked = run(rack.hil().args(["lab", "check", "bbb-1"]));
    assert_eq!(checked.code, Some(0), "{}", checked.said);
    assert!(checked.said.contains("still spoke 1 s after its power had gone"), "{}", checked.said);
}

#[test]
fn a_dead_uart_is_the_racks_fault() {
    let rack = Rack::shells();
    rack.ctl("fault one dead-uart on");
    broken(&rack, &run(&mut rack.run("bbb-1", "--suite boot")), "no byte came");
}

#[test]
fn a_line_that_loses_bytes_is_the_racks_fault() {
    let rack = Rack::shells();
    let run = Background::start(&mut rack.run("bbb-1", LONG));
    wait_until("a case has started", || case_started(&rack, "bbb-1"));
    rack.ctl("fault one lose-bytes on every=97");
    broken(&rack, &run.ends(), "lost");
}

#[test]
fn a_line_unplugged_in_mid_case_is_the_racks_fault() {
    let rack = Rack::shells();
    let run = Background::start(&mut rack.run("bbb-1", LONG));
    wait_until("a case has started", || case_started(&rack, "bbb-1"));
    rack.ctl("fault one unplug on");
    broken(&rack, &run.ends(), "the console line of bbb-1 is gone");
}

#[test]
fn a_mux_that_does_not_switch_is_the_racks_fault() {
    let rack = Rack::shells();
    rack.ctl("fault mux-one stuck on");
    broken(&rack, &run(&mut rack.run("bbb-1", "--suite boot")), "mux");
}

/// How long a killed hil's board may stay powered: the relay's and the keeper's own time.
fn ends_safe(rack: &Rack, when: &str) {
    let took = wait_until(when, || !rack.powered("one") && rack.is_free("bbb-1"));
    println!("{when}: {:.2} s", took.as_secs_f64());
}

#[test]
fn killed_in_mid_case_or_mid_flash_hil_leaves_the_board_safe_and_free() {
    // Two kills a round. HIL_KILL_ROUNDS=25 shows the whole of the claim, 50 of 50.
    let rounds = std::env::var("HIL_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let rack = Rack::shells();
    for round in 0..rounds {
        let mut in_case = Background::start(&mut rack.run("bbb-1", LONG));
        wait_until("a case has started", || case_started(&rack, "bbb-1"));
        in_case.child.kill().unwrap();
        ends_safe(&rack, &format!("safe after kill {round} in mid-case"));
        std::fs::remove_dir_all(rack.out()).unwrap();

        let mut flashing = Background::start(&mut rack.run("bbb-1", "--suite boot"));
        wait_until("the card is on this host", || rack.path("dev/one.card").exists());
        flashing.child.kill().unwrap();
        ends_safe(&rack, &format!("safe after kill {round} in mid-flash"));
        std::fs::remove_dir_all(rack.out()).unwrap();
    }
    // Whoever comes next is told, and nothing of it hinders him.
    passes(&run(&mut rack.run("bbb-1", "--case boot/console-login")));
}

#[test]
fn a_board_that_cannot_be_made_safe_is_taken_by_nobody_before_a_check() {
    let rack = Rack::shells();
    let lab = std::fs::read_to_string(rack.lab()).unwrap();
    std::fs::write(rack.lab(), lab.replace("channel = 1", "channel = 1\nanswers = true")).unwrap();
    let mut run_1 = Background::start(&mut rack.run("bbb-1", LONG));
    wait_until("a case has started", || case_started(&rack, "bbb-1"));
    rack.ctl("fault relay-a hang on");
    run_1.child.kill().unwrap();
    wait_until("its keeper has given it up", || rack.is_free("bbb-1"));
    assert!(rack.powered("one"), "the relay heard nothing");
    rack.ctl("fault relay-a hang off");
    std::fs::remove_dir_all(rack.out()).unwrap();
    let refused = run(&mut rack.run("bbb-1", "--case boot/console-login"));
    assert_eq!(refused.code, Some(69), "{}", refused.said);
    for words in ["bbb-1 is in quarantine: it could not be made safe", "had it for `hil run"] {
        assert!(refused.said.contains(words), "{words}: {}", refused.said);
    }
    passes(&run(rack.hil().args(["lab", "check", "bbb-1"])));
    std::fs::remove_dir_all(rack.out()).unwrap();
    passes(&run(&mut rack.run("bbb-1", "--case boot/console-login")));
}

/// Runs a command on the board behind hil's back.
fn meddle(command: &str) {
    let key = common::demo("aarch64", "mini").join("ssh_login");
    let target = format!("root@{}", Rack::address());
    let options = "-p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                   -o BatchMode=yes -o ConnectTimeout=60 -o LogLevel=ERROR";
    let mut ssh = std::process::Command::new("ssh");
    ssh.args(options.split_whitespace()).arg("-i").arg(key).args([&target, command]);
    // The command ends its own connection, in whatever way.
    let _ = ssh.stdin(std::process::Stdio::null()).status().unwrap();
}

/// The product's failure, with this reason; the rack is blamed for nothing.
fn fails(rack: &Rack, ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let junit = junit(&rack.out());
    assert!(junit.contains("<failure") && !junit.contains("<error"), "{junit}");
    assert!(junit.contains(why), "no `{why}` in {junit}");
}

#[test]
fn ssh_that_never_comes_to_a_healthy_board_is_the_racks_fault() {
    let rack = Rack::demo();
    rack.ctl("fault rpi ssh-blocked on");
    let ended = run(&mut rack.run("rpi-1", "--case boot/ssh-login"));
    broken(&rack, &ended, "on the console the board is healthy and its SSH server runs");
}

/// Whether a case has failed for this reason.
fn failed(rack: &Rack, board: &str, why: &str) -> bool {
    let told = |event: &Value| {
        let finished = &event["what"]["case-finished"];
        finished["verdict"] == "fail" && finished["why"].to_string().contains(why)
    };
    events(&rack.out(), board).iter().any(told)
}

#[test]
fn an_ssh_server_that_crashed_or_is_gone_is_the_products_fault() {
    let rack = Rack::demo();
    // Each case is in the middle of a command over SSH for a second.
    let run = Background::start(&mut rack.run("rpi-1", "--case boot/clock-sane --repeat 8"));
    wait_until("a case has started", || case_started(&rack, "rpi-1"));
    // Its init starts it again each time.
    meddle(
        "setsid sh -c 'for n in 1 2 3; do kill -9 $(pidof dropbear); sleep 1; done' >/dev/null &",
    );
    wait_until("a crash is told", || failed(&rack, "rpi-1", "started anew meanwhile: it crashed"));
    // From now on there is nothing to start.
    meddle("mount -o bind /bin/false /usr/sbin/dropbear && kill -9 $(pidof dropbear)");
    fails(&rack, &run.ends(), "no SSH server runs");
}

#[test]
fn a_kernel_that_panics_is_the_products_fault() {
    let rack = Rack::demo();
    let run = Background::start(&mut rack.run("rpi-1", "--case boot/ssh-login --repeat 400"));
    wait_until("a case has started", || case_started(&rack, "rpi-1"));
    meddle("echo c >/proc/sysrq-trigger");
    fails(&rack, &run.ends(), "Kernel panic");
}
