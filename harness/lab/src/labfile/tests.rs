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

/// The README says of what it shows that it is so when left out.
#[test]
fn the_readmes_lab_file_is_right_and_states_the_defaults() {
    let (_, block) = include_str!("../../README.md").split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let lab = parse(block).unwrap();
    let shown = &lab.instance["bbb-1"];
    let bare = parse(GOOD).unwrap().instance["bbb-1"].clone();
    assert_eq!((shown.safe, shown.timing, shown.slowness), (bare.safe, bare.timing, bare.slowness));
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
    let mux = "[instance.bbb-1.storage.mux.usbsdmux]\ncontrol = \"dev/mux\"\n";
    let (line, text) = wrong(mux, "renew = true\n");
    assert!(line == 13 && text.contains("needs a `mux`"), "{line} {text}");
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

/// A loader, typed lines, and a socket and a PDU with passwords.
const LOADER: &str = r#"
[instance.imx-1]
type = "beaglebone"
[instance.imx-1.power.tasmota]
url = "http://socket.lab"
login = { password = "hunter2000" }
[instance.imx-1.console.tty]
port = "/dev/ttyUSB0"
[instance.imx-1.storage.enter.contact.command]
on = ["./strap", "1"]
off = ["./strap", "0"]
[instance.imx-1.uboot]
send = [{ file = "extra.dtb", at = 0x45000000 }]
"#;

#[test]
fn what_a_loader_and_u_boot_need_starts_in_the_labs_folder_too() {
    let lab = parse(LOADER).unwrap();
    let instance = &lab.instance["imx-1"];
    let contact = instance.storage.as_ref().unwrap().contact();
    let Some(PowerSpec::Command(strap)) = contact else { panic!("{contact:?}") };
    assert_eq!(strap.on, ["/lab/./strap", "1"]);
    let sent = &instance.uboot.as_ref().unwrap().send[0];
    assert_eq!((sent.file.as_path(), sent.at), (Path::new("/lab/extra.dtb"), 0x4500_0000));
    let empty =
        LOADER.replace("send = [{ file = \"extra.dtb\", at = 0x45000000 }]", "lines = [\"\"]");
    assert!(parse(&empty).unwrap_err().to_string().contains("an empty line"));
}

#[test]
fn passwords_of_the_wiring_are_known_and_manuals_communities_are_none() {
    assert_eq!(parse(LOADER).unwrap().instance["imx-1"].secrets(), ["hunter2000"]);
    let with = |access: &str| {
        let pdu = format!(
            "[instance.imx-1.power.snmp]\naddress = \"pdu\"\noutlet = {{ apc = 1 }}\n{access}\n"
        );
        let socket = "[instance.imx-1.power.tasmota]\nurl = \"http://socket.lab\"\n\
                      login = { password = \"hunter2000\" }\n";
        parse(&LOADER.replace(socket, &pdu)).unwrap().instance["imx-1"].secrets().join(",")
    };
    assert_eq!(with(""), "");
    assert_eq!(with("access = { v2c = \"rack-7\" }"), "rack-7");
    let v3 = "access = { v3 = { user = \"hil\", auth = \"sha256\", password = \"one1\", privacy = { \
              cipher = \"aes128\", password = \"two2\" } } }";
    assert_eq!(with(v3), "one1,two2");
}
