//! `hil lab calibrate` on a virtual rack, whose own log tells the truth: what was measured is what
//! the rack was told to have, and a cut aimed by it takes the power away when it should.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "common/rack.rs"]
mod rack;

use std::fs;
use std::process::Command;

use common::{Ended, events, run};
use rack::Rack;
use serde_json::Value;

const LATENCY: (f64, f64) = (8.0, 2.0);
const HOLD_UP: (f64, f64) = (60.0, 10.0);

const RACK: &str = "
seed = 7
[relay.relay-a]
latency_ms = 8
latency_jitter_ms = 2
[relay.relay-a.lcus]
channels = 1
[board.one.power]
relay = \"relay-a\"
channel = 1
hold_up_ms = 60
hold_up_jitter_ms = 10
brown_out_ms = 20
[board.one.sh]
boot_ms = 100
autoboot_ms = 100
login = true
";

const LAB: &str = "
[instance.bbb-1]
type = \"beaglebone\"
images = [\"image/image.toml\"]
slowness = 0.5
[instance.bbb-1.power.lcus]
port = \"rack/dev/relay-a\"
channel = 1
[instance.bbb-1.console.tty]
port = \"rack/dev/one.console\"
[instance.bbb-1.timing]
min_off_s = 0.1
discharge_s = 0.3
";

fn start() -> Rack {
    start_with(RACK)
}

fn start_with(text: &str) -> Rack {
    let rack = Rack::start(text);
    fs::write(rack.lab(), LAB).unwrap();
    let image = rack.home.path().join("image");
    fs::create_dir(&image).unwrap();
    let shipped = common::root().join("fixtures/virtual-lab/sh-image.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let without = text.split("[login]").next().unwrap();
    fs::write(image.join("nologin.toml"), without).unwrap();
    fs::write(image.join("image.toml"), text).unwrap();
    let content: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(image.join("disk.img"), content).unwrap();
    rack
}

fn calibrate(rack: &Rack, words: &str) -> Ended {
    let mut command: Command = rack.hil();
    command.args(["lab", "calibrate", "bbb-1"]).current_dir(rack.home.path());
    run(command.args(words.split(' ').filter(|word| !word.is_empty())))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Milliseconds from `from` to the first such event of the rack after it.
fn until(log: &[Value], from: u64, what: &str, closed: Option<bool>) -> f64 {
    let after = |event: &&Value| event["mono_ns"].as_u64().unwrap() >= from;
    let mut such = log.iter().filter(|event| {
        event["what"] == what && closed.is_none_or(|closed| event["closed"] == closed)
    });
    let event = such.find(after).unwrap_or_else(|| panic!("no {what} after {from}"));
    (event["mono_ns"].as_u64().unwrap() - from) as f64 / 1e6
}

/// `[table]`'s `ms` and `error_ms`.
fn figure(calibration: &str, table: &str) -> (f64, f64) {
    let text = calibration.split(&format!("[{table}]")).nth(1).unwrap();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    (value("ms"), value("error_ms"))
}

#[test]
fn it_recovers_what_the_rack_was_told_to_have_and_aimed_cuts_land() {
    let rack = start();
    let ended = calibrate(&rack, "--cycles 12 --dips --verify 10 --samples samples");
    // Misses on a host under load are this test's to judge, by the rack's log.
    assert!(
        ended.code == Some(0) || ended.said.contains("cuts at a mark missed"),
        "{}",
        ended.said
    );
    let state = rack.home.path().join("state/state/bbb-1.calibration");
    let calibration = fs::read_to_string(state).unwrap();
    for (table, told) in [("latency", LATENCY.0), ("hold_up", HOLD_UP.0)] {
        let (ms, error) = figure(&calibration, table);
        assert!((ms - told).abs() <= error, "{table} is {told} ms:\n{calibration}\n{}", ended.said);
        assert!(error < told.max(10.0), "an error that says nothing:\n{calibration}");
    }

    let log = lines(&fs::read_to_string(rack.path("log.jsonl")).unwrap());
    let samples = lines(&fs::read_to_string(rack.home.path().join("samples")).unwrap());
    let (mut punctual, mut missed) = (0, Vec::new());
    for cut in samples.iter().filter(|sample| sample["what"] == "aimed") {
        let at = |name: &str| cut[format!("{name}_mono_ns")].as_u64().unwrap();
        let asked = at("asked");
        let commanded = until(&log, asked, "command", Some(false));
        let contact = until(&log, asked, "contact", Some(false));
        let lost = until(&log, asked, "power-lost", None);
        // A rack that this host kept waiting did not do what it was told to.
        let on_time = |span: f64, (middle, jitter): (f64, f64)| span <= middle + jitter + 1.0;
        if !on_time(contact - commanded, LATENCY) || !on_time(lost - contact, HOLD_UP) {
            continue;
        }
        punctual += 1;
        let predicted = (at("died") - asked) as f64 / 1e6;
        let within = cut["within_ms"].as_f64().unwrap();
        if (lost - predicted).abs() > within {
            missed.push(format!("lost {lost:.1}, predicted {predicted:.1} ± {within:.1}"));
        }
    }
    assert!(punctual >= 5, "only {punctual} of 10 cuts tell anything on this host");
    // Twelve cycles need not have shown the whole of the jitter.
    assert!(missed.len() <= 1, "{missed:?}\n{}", ended.said);

    // A run's report says what its cuts are worth.
    let ran = run(&mut rack.run("bbb-1", "--case boot/stages-in-order"));
    let session = events(&rack.out(), "bbb-1");
    let session = session.iter().find_map(|event| event["what"]["session-started"].as_object());
    let power = session.unwrap_or_else(|| panic!("{}", ran.said))["power"].as_str().unwrap();
    assert!(power.contains("ms (calibrated 20") && power.contains("12 cycles)"), "{power}");
}

#[test]
fn without_a_login_the_boot_itself_must_do_and_nothing_is_told_apart() {
    // A line of the kernel every 40 ms: some come while the power goes.
    let rack = start_with(&RACK.replace("boot_ms = 100\nauto", "boot_ms = 320\nauto"));
    let ended = calibrate(&rack, "--cycles 3 --image image/nologin.toml --dips");
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.out.contains("its own boot's output"), "{}", ended.out);
    assert!(ended.out.contains("not separable"), "{}", ended.out);
    let state = rack.home.path().join("state/state/bbb-1.calibration");
    let calibration = fs::read_to_string(state).unwrap();
    let (ms, error) = figure(&calibration, "off_delay");
    // Commands travel for some milliseconds.
    assert!((ms - LATENCY.0 - HOLD_UP.0 - 5.0).abs() <= error, "{calibration}\n{}", ended.said);
    assert!(!calibration.contains("latency"), "{calibration}");
}

#[test]
fn a_board_that_may_not_be_used_or_does_not_talk_is_refused_with_the_reason() {
    let rack = start();
    let refused = |why: &str| {
        let ended = calibrate(&rack, "--cycles 3");
        assert_eq!(ended.code, Some(69), "{}", ended.said);
        assert!(ended.said.contains(why), "no `{why}` in {}", ended.said);
    };
    let unknown = run(rack.hil().args(["lab", "calibrate", "bbb-7"]));
    assert_eq!(unknown.code, Some(2), "{}", unknown.said);

    rack.ctl("fault one dead-uart on");
    refused("does not talk: no byte came on its console");
    assert!(!rack.powered("one") && rack.is_free("bbb-1"));
    rack.ctl("fault one dead-uart off");

    let lock = rack.home.path().join("state/locks/bbb-1.lock");
    let lock = fs::File::open(lock).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    refused("holds bbb-1");
    drop(lock);

    let quarantine = rack.home.path().join("state/state/bbb-1.quarantine");
    fs::write(quarantine, r#"{"since":"2026-01-01T00:00:00Z","why":"its relay sticks"}"#).unwrap();
    refused("bbb-1 is in quarantine: its relay sticks");
}
