//! Muxes: what their tools are asked, and that a mux which does not switch is told.

use std::path::PathBuf;

use hil_lab::storage::mux::{self, Command, MuxSpec, Sdwire, Side, Usbsdmux};

use crate::rig::{Rig, has, read, run};

/// Writes down its arguments and keeps the side in a file.
const KEEPS: &str = r#"echo "$*" >>"$dir/said"
case "$*" in
  *get*) cat "$dir/side" ;;
  *--status*) echo "SD connected to: $(cat "$dir/side")" ;;
  *--ts*) echo TS >"$dir/side" ;;
  *--dut*) echo DUT >"$dir/side" ;;
  *) echo "$2" >"$dir/side" ;;
esac"#;

fn usbsdmux(rig: &Rig, script: &str) -> MuxSpec {
    let tool = Some(PathBuf::from(rig.tool("usbsdmux", script)));
    MuxSpec::Usbsdmux(Usbsdmux { control: "/dev/usb-sd-mux/id-1".into(), tool })
}

fn said(rig: &Rig) -> String {
    String::from_utf8(read(&rig.path("said"))).unwrap()
}

#[test]
fn usbsdmux_is_asked_back() {
    let rig = Rig::new();
    let mut mux = mux::open(&usbsdmux(&rig, KEEPS), &rig.env);
    assert!(mux.has_off() && mux.label().contains("id-1"));
    for side in [Side::Host, Side::Off, Side::Dut] {
        assert_eq!(mux::turn(&mut *mux, side), Ok(true));
        assert_eq!(mux.get(), Ok(Some(side)));
    }
    assert!(said(&rig).starts_with("/dev/usb-sd-mux/id-1 host\n/dev/usb-sd-mux/id-1 get\n"));
}

#[test]
fn sdwire_is_asked_by_its_serial_number() {
    let mut rig = Rig::new();
    rig.tool("sd-mux-ctrl", KEEPS);
    rig.env = vec![("PATH".into(), format!("{}:/usr/bin:/bin", rig.dir.path().display()))];
    let spec = MuxSpec::Sdwire(Sdwire { serial: "sd-wire_11".into() });
    let mut mux = mux::open(&spec, &rig.env);
    assert_eq!(mux::turn(&mut *mux, Side::Host), Ok(true));
    assert_eq!(mux::turn(&mut *mux, Side::Dut), Ok(true));
    assert!(!mux.has_off());
    assert!(mux.switch(Side::Off).unwrap_err().to_string().contains("cannot do that"));
    let want = "--device-serial=sd-wire_11 --ts\n--device-serial=sd-wire_11 --status\n";
    assert!(said(&rig).starts_with(want), "{}", said(&rig));
}

#[test]
fn a_command_that_cannot_be_asked_says_so() {
    let rig = Rig::new();
    let tool = rig.tool("mux", KEEPS);
    let argv = |side: &str| vec![tool.clone(), "7".into(), side.into()];
    let (host, dut) = (argv("host"), argv("dut"));
    let mut mux = mux::open(&MuxSpec::Command(Command { host, dut, get: None }), &rig.env);
    assert_eq!(mux::turn(&mut *mux, Side::Host), Ok(false));
    assert_eq!((mux.get(), said(&rig).as_str()), (Ok(None), "7 host\n"));
}

#[test]
fn a_mux_that_does_not_switch_is_told() {
    let rig = Rig::new();
    let mut mux = mux::open(&usbsdmux(&rig, "[ \"$2\" = get ] && echo dut; exit 0"), &rig.env);
    let error = mux::turn(&mut *mux, Side::Host).unwrap_err().to_string();
    assert!(error.contains("to the host: it took the command, yet says"), "{error}");
    assert!(error.contains("the board"), "{error}");
}

#[test]
fn a_tool_that_fails_is_quoted_and_a_missing_one_named() {
    let rig = Rig::new();
    let mut mux = mux::open(&usbsdmux(&rig, "echo 'no such device' >&2; exit 3"), &rig.env);
    let error = mux.switch(Side::Host).unwrap_err().to_string();
    assert!(error.contains("status 3") && error.contains("no such device"), "{error}");
    let mut mux = mux::open(&usbsdmux(&rig, "echo upside-down"), &rig.env);
    let error = mux.get().unwrap_err().to_string();
    assert!(error.contains("printed `upside-down`"), "{error}");
    let env = [("PATH".to_string(), rig.text("nowhere"))];
    let mut mux = mux::open(&MuxSpec::Sdwire(Sdwire { serial: "x".into() }), &env);
    let error = mux.switch(Side::Host).unwrap_err().to_string();
    assert!(error.contains("`sd-mux-ctrl` is not installed") && error.contains("Tizen"), "{error}");
}

#[test]
fn the_real_usbsdmux_takes_what_it_is_told() {
    if !has("usbsdmux") {
        return;
    }
    let rig = Rig::new();
    // No mux stands here: the tool understands its arguments and finds no device.
    let control = rig.path("sg9");
    let spec = MuxSpec::Usbsdmux(Usbsdmux { control, tool: None });
    let mut mux = mux::open(&spec, &rig.env);
    for side in [Side::Host, Side::Dut, Side::Off] {
        let error = mux.switch(side).unwrap_err().to_string();
        assert!(error.contains("No such file") && !error.contains("usage"), "{error}");
    }
    assert!(mux.get().unwrap_err().to_string().contains("No such file"));
    assert!(run("usbsdmux", &["--help"]).contains("{get,dut,client,host,off}"));
}
