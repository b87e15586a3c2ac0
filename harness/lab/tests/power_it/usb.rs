//! USB hub ports, in a folder that is filled like sysfs. No hub was ever behind it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hil_lab::power::Switch;
use hil_lab::power::usb_hub::{HubPort, UsbHub};

use super::peers::{fails, get, on};

fn add(root: &Path, interface: &str, port: &str, disable: Option<&str>) -> PathBuf {
    let folder = root.join("sys/bus/usb/devices").join(interface).join(port);
    fs::create_dir_all(&folder).unwrap();
    if let Some(value) = disable {
        fs::write(folder.join("disable"), value).unwrap();
    }
    folder
}

fn port(hub: &str, port: u8, root: &Path) -> Box<dyn Switch> {
    Box::new(HubPort::at(UsbHub { hub: hub.into(), port }, root))
}

fn disabled(folder: &Path) -> String {
    fs::read_to_string(folder.join("disable")).unwrap()
}

#[test]
fn a_port_switches_both_halves_of_its_socket() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let usb2 = add(root, "1-1.4:1.0", "1-1.4-port2", Some("0\n"));
    let usb3 = add(root, "2-1.4:1.0", "2-1.4-port2", Some("0\n"));
    let other = add(root, "1-1.4:1.0", "1-1.4-port1", Some("0\n"));
    symlink(&usb3, usb2.join("peer")).unwrap();
    let mut switch = port("1-1.4", 2, root);
    assert_eq!(switch.get().unwrap(), Some(true));
    switch.set(false).unwrap();
    assert_eq!(
        (disabled(&usb2), disabled(&usb3), disabled(&other)),
        ("1".into(), "1".into(), "0\n".into())
    );
    assert_eq!(switch.get().unwrap(), Some(false));
    // One half with power is a socket with power.
    fs::write(usb3.join("disable"), "0\n").unwrap();
    assert_eq!(switch.get().unwrap(), Some(true));
    switch.set(true).unwrap();
    assert_eq!((disabled(&usb2), disabled(&usb3)), ("0".into(), "0".into()));
}

#[test]
fn a_controllers_own_ports_are_named_after_its_bus() {
    let root = tempfile::tempdir().unwrap();
    let folder = add(root.path(), "3-0:1.0", "usb3-port4", Some("0\n"));
    let mut switch = port("usb3", 4, root.path());
    switch.set(false).unwrap();
    assert_eq!(disabled(&folder), "1");
}

#[test]
fn what_is_not_there_is_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert!(fails(port("1-1", 1, root), on).contains("no hub `1-1` is plugged in; there is none"));
    add(root, "1-1:1.0", "1-1-port1", None);
    add(root, "1-1:1.0", "1-1-port10", Some("7\n"));
    add(root, "3-0:1.0", "usb3-port1", Some("0\n"));
    // A device that is no hub.
    fs::create_dir_all(root.join("sys/bus/usb/devices/1-2:1.0")).unwrap();
    let why = fails(port("1-2.4", 1, root), on);
    assert!(why.contains("no hub `1-2.4` is plugged in; there is 1-1, usb3"), "{why}");
    let why = fails(port("1-1", 2, root), on);
    assert_eq!(why, "switch port 2 of USB hub 1-1 on: hub `1-1` has no port 2; it has 1, 10");
    let why = fails(port("1-1", 1, root), on);
    assert!(why.contains("this needs Linux 6.0 or later"), "{why}");
    assert!(fails(port("1-1", 10, root), get).contains("says `7`"));
}
