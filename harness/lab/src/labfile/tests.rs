//! Lab files as people write them, and as they get them wrong.

use super::*;

const GOOD: &str = r#"
title = "rack 3"
[instance.bbb-1]
type = "beaglebone"
images = ["images/bbb.toml"]
[instance.bbb-1.power.lcus]
port = "dev/relay"
channel = 1
[instance.bbb-1.console.tty]
port = "/dev/ttyUSB0"
[instance.bbb-1.storage]
device = "dev/card"
[instance.bbb-1.storage.mux.usbsdmux]
control = "dev/mux"
"#;

fn parse(text: &str) -> Result<Lab, ConfigError> {
    let known = ["beaglebone", "qemu-arm"];
    Lab::parse(text, Path::new("/lab/lab.toml"), &|name| known.contains(&name), &known)
}

#[test]
fn relative_paths_start_in_the_labs_folder() {
    let lab = parse(GOOD).unwrap();
    let instance = &lab.instance["bbb-1"];
    assert_eq!((instance.name.as_str(), instance.safe), ("bbb-1", Safe::Off));
    let storage = instance.storage.as_ref().unwrap();
    assert_eq!(storage.device.as_deref(), Some(Path::new("/lab/dev/card")));
    assert_eq!(instance.images, [PathBuf::from("/lab/images/bbb.toml")]);
    let ConsoleSpec::Tty(tty) = &instance.console else { panic!("{:?}", instance.console) };
    assert_eq!(tty.port, Path::new("/dev/ttyUSB0"));
}

fn wrong(from: &str, to: &str) -> (usize, String) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replace(from, to)).unwrap_err();
    (error.line, error.to_string())
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    let (line, text) = wrong("\"beaglebone\"", "\"beaglebon\"");
    assert!(line == 4 && text.contains("did you mean `beaglebone`?"), "{text}");
    let (line, text) = wrong("channel = 1", "chanel = 1");
    assert!(line == 8 && text.contains("did you mean `channel`?"), "{text}");
    let (_, text) = wrong("power.lcus", "power.lkus");
    assert!(text.contains("lkus") && text.contains("did you mean `lcus`?"), "{text}");
    let (line, text) = wrong("device = \"dev/card\"", "");
    assert!(line == 13 && text.contains("needs `device`"), "{line} {text}");
    let (_, text) = wrong(
        "[instance.bbb-1.console.tty]",
        "[instance.bbb-1.timing]\nmin_off_s=-1\n[instance.bbb-1.console.tty]",
    );
    assert!(text.contains("seconds from 0 to 600"), "{text}");
}

#[test]
fn an_instance_does_not_take_a_types_name() {
    let text = GOOD.replace("bbb-1", "beaglebone");
    assert!(parse(&text).unwrap_err().to_string().contains("its own name"));
}
