//! GPIO lines and HID relays at the boundary to the kernel: a preloaded library stands for it,
//! which reads the calls' arguments by the kernel's own headers. No hardware was ever behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hil_lab::power::hid_relay::{HidRelay, Relay};
use hil_lab::power::{Switch, gpio};

use super::peers::{fails, get, on, present, switch};

const ROOT: &str = "HIL_SHIM_ROOT";
const CHIP: &str = "/dev/gpiochip97";

fn shim(dir: &Path) -> Option<PathBuf> {
    let there = Command::new("cc").arg("--version").output().is_ok();
    if !present(there, "a C compiler", "ci/setup") {
        return None;
    }
    let library = dir.join("shim.so");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library);
    let built = cc.arg(super::peers::script("ioctl_shim.c")).status().unwrap();
    assert!(built.success());
    Some(library)
}

/// Runs one of this file's ignored tests within the shim. What the shim was asked.
fn within(inner: &str, dir: &Path) -> Option<String> {
    let library = shim(dir)?;
    let log = dir.join("log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("ioctl::{inner}"), "--ignored", "--nocapture"]);
    command.env("LD_PRELOAD", library).env("SHIM_LOG", &log).env(ROOT, dir);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
    Some(fs::read_to_string(log).unwrap())
}

#[test]
fn a_gpio_line_is_requested_once_and_held() {
    let dir = tempfile::tempdir().unwrap();
    let Some(log) = within("gpio_inside", dir.path()) else { return };
    let wanted = "\
        consumer hil request line 3 output level 1\n\
        write line 3 level 0\n\
        read line 3\n\
        write line 3 level 1\n\
        read line 3\n\
        consumer hil request line 5\n\
        read line 5\n\
        config line 5 output level 1\n";
    assert_eq!(log, wanted);
}

#[test]
#[ignore = "runs within the shim, by a_gpio_line_is_requested_once_and_held"]
fn gpio_inside() {
    if std::env::var_os(ROOT).is_none() {
        return;
    }
    let line =
        |line| Box::new(gpio::Line::new(gpio::Gpio { chip: CHIP.into(), line })) as Box<dyn Switch>;
    let mut third = line(3);
    third.set(true).unwrap();
    third.set(false).unwrap();
    assert_eq!(third.get().unwrap(), Some(false));
    third.set(true).unwrap();
    assert_eq!(third.get().unwrap(), Some(true));
    // Asked before it was ever set: it is left as it is, and then driven without letting go.
    let mut fifth = line(5);
    assert_eq!(fifth.get().unwrap(), Some(false));
    fifth.set(true).unwrap();
    let why = fails(line(6), on);
    assert!(why.contains("the line is held by `heartbeat`"), "{why}");
    let why = fails(line(8), on);
    assert!(why.contains("/dev/gpiochip97 has lines 0 to 7 only"), "{why}");
}

#[test]
fn a_chip_that_is_none_is_told() {
    let at = |chip: &str| switch(&format!("gpio = {{ chip = '{chip}', line = 0 }}"));
    let why = fails(at("/dev/gpiochip98"), on);
    assert!(why.starts_with("switch GPIO line 0 of /dev/gpiochip98 on: there is no"), "{why}");
    assert!(fails(at("/dev/null"), get).contains("/dev/null is no GPIO chip"));
}

/// A root folder with HID devices: a keyboard, and a relay whose file is empty.
fn hid_root(dir: &Path) {
    for (name, id) in [("hidraw0", "0003:0000046D:0000C31C"), ("hidraw3", "0003:000016C0:000005DF")]
    {
        let device = dir.join("sys/class/hidraw").join(name).join("device");
        fs::create_dir_all(&device).unwrap();
        let told = format!("DRIVER=hid-generic\nHID_ID={id}\nHID_NAME=some device\nHID_UNIQ=\n");
        fs::write(device.join("uevent"), told).unwrap();
        fs::create_dir_all(dir.join("dev")).unwrap();
        fs::write(dir.join("dev").join(name), "").unwrap();
    }
}

fn relay(device: &str, channel: u8, root: &Path) -> Box<dyn Switch> {
    Box::new(Relay::at(HidRelay { device: device.into(), channel }, root))
}

#[test]
fn a_hid_relay_is_found_by_its_serial_and_switched() {
    let dir = tempfile::tempdir().unwrap();
    hid_root(dir.path());
    let Some(log) = within("hid_inside", dir.path()) else { return };
    assert_eq!(log, "feature 00 ff 01\nfeature 00 fd 02\nfeature 00 ff 02\nfeature 00 ff 03\n");
}

#[test]
#[ignore = "runs within the shim, by a_hid_relay_is_found_by_its_serial_and_switched"]
fn hid_inside() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let mut first = relay("HURTM", 1, &root);
    assert_eq!(first.get().unwrap(), Some(false));
    first.set(true).unwrap();
    assert_eq!(first.get().unwrap(), Some(true));
    let path = root.join("dev/hidraw3");
    let mut second = relay(path.to_str().unwrap(), 2, &root);
    assert_eq!(second.get().unwrap(), Some(true));
    second.set(false).unwrap();
    assert_eq!(second.get().unwrap(), Some(false));
    second.set(true).unwrap();
    let why = fails(relay("HURTM", 3, &root), on);
    assert!(why.contains("it took the command and stayed off: has it a channel 3?"), "{why}");
    let why = fails(relay("AAAAA", 1, &root), on);
    assert!(why.contains("no relay has the serial `AAAAA`; there is `HURTM` at"), "{why}");
}

#[test]
fn hid_relays_that_are_none_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let why = fails(relay("HURTM", 1, dir.path()), on);
    assert!(why.contains("no USB HID relay (16c0:05df) is plugged in"), "{why}");
    hid_root(dir.path());
    // A file that is there, but no hidraw device.
    let why = fails(relay("HURTM", 1, dir.path()), get);
    assert!(why.contains("it is no hidraw device"), "{why}");
    let why = fails(relay("/dev/hidraw97", 1, dir.path()), on);
    assert!(why.contains("there is no /dev/hidraw97"), "{why}");
    assert!(fails(relay("HURTM", 9, dir.path()), on).contains("channels count 1 to 8"));
}
