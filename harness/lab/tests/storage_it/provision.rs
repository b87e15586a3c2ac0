//! From an image to a board that can boot it, by a mux made of a script and a link.

use std::fs;

use hil_core::board::{Flash, Removable};
use hil_core::deadline::{Deadline, secs};
use hil_lab::DriverError;
use hil_lab::storage::mux::{Command, MuxSpec, Usbsdmux};
use hil_lab::storage::{Files, Options, StorageSpec, Way, provision};

use crate::rig::{MIB, Rig, noise, on, read};

/// A USB-SD-Mux: its card is a link that is there on the host's side only.
const MUX: &str = r#"echo "$2" >>"$dir/said"
case "$2" in
  get) cat "$dir/side" ;;
  host) echo host >"$dir/side"; [ -e "$dir/no-card" ] || ln -sf "$dir/card" "$dir/sdx" ;;
  *) echo "$2" >"$dir/side"; [ -e "$dir/jammed" ] || rm -f "$dir/sdx" ;;
esac"#;

fn rack() -> (Rig, StorageSpec) {
    let rig = Rig::new();
    rig.image(6 * MIB, &[(0, &noise(2 * MIB)), (5 * MIB, b"end")]);
    rig.card("card", 8 * MIB);
    fs::write(rig.path("side"), "dut\n").unwrap();
    let tool = Some(rig.tool("usbsdmux", MUX).into());
    let mux = MuxSpec::Usbsdmux(Usbsdmux { control: "/dev/sg3".into(), tool });
    let spec = StorageSpec { mux: Some(mux), ..on(rig.path("sdx")) };
    (rig, spec)
}

fn side(rig: &Rig) -> String {
    String::from_utf8(read(&rig.path("side"))).unwrap().trim().to_string()
}

#[test]
fn a_card_is_written_behind_its_mux_and_given_back_to_the_board() {
    let (rig, spec) = rack();
    let inject = &mut |device: &hil_lab::storage::Device| {
        device.write_at(3 * MIB, b"injected").map_err(DriverError::new)
    };
    let done = rig.run_with(&spec, None, &|_, _| (), inject).unwrap();
    let mut want = read(&rig.path("disk.img"));
    want[3 * MIB as usize..][..8].copy_from_slice(b"injected");
    assert!(read(&rig.path("card"))[..want.len()] == want);
    assert_eq!((side(&rig).as_str(), rig.path("sdx").exists()), ("dut", false));
    assert_eq!(done.mux, Some(("USB-SD-Mux /dev/sg3".into(), true)));
    let text = done.to_string();
    assert!(text.contains("written") && text.contains("read back in"), "{text}");
}

#[test]
fn a_card_left_on_the_hosts_side_by_a_killed_run_is_taken_up_again() {
    let (rig, spec) = rack();
    fs::write(rig.path("side"), "host\n").unwrap();
    std::os::unix::fs::symlink(rig.path("card"), rig.path("sdx")).unwrap();
    let done = rig.run(&spec).unwrap();
    assert_eq!((side(&rig).as_str(), done.mux.map(|mux| mux.1)), ("dut", Some(true)));
    let said = String::from_utf8(read(&rig.path("said"))).unwrap();
    let verbs: Vec<&str> = said.lines().filter(|verb| *verb != "get").collect();
    assert_eq!(verbs, ["off", "host", "dut"]);
}

#[test]
fn a_card_that_does_not_appear_is_told_with_what_the_mux_said() {
    let (mut rig, spec) = rack();
    fs::write(rig.path("no-card"), "").unwrap();
    rig.deadline = Deadline::within(secs(1));
    let error = rig.refused(&spec);
    assert!(error.contains("says it is switched to the host"), "{error}");
    assert!(error.contains("did not appear within") && error.contains("check its card"), "{error}");
    assert_eq!(side(&rig), "off", "half an image boots nobody");
}

#[test]
fn a_card_that_does_not_go_is_told() {
    let (mut rig, spec) = rack();
    fs::write(rig.path("jammed"), "").unwrap();
    rig.deadline = Deadline::within(secs(5));
    let error = rig.refused(&spec);
    assert!(error.contains("to the board") && error.contains("is still there"), "{error}");
}

#[test]
fn after_a_failure_the_host_does_not_keep_the_card() {
    let (rig, spec) = rack();
    rig.image(9 * MIB, &[(0, b"too large")]);
    let error = rig.refused(&spec);
    assert!(error.contains("only 8388608") && side(&rig) == "off", "{error}");

    // A mux without an off gives it to the board.
    let (rig, spec) = rack();
    let tool = rig.text("usbsdmux");
    let argv = |verb: &str| vec![tool.clone(), "x".into(), verb.into()];
    let (host, dut, get) = (argv("host"), argv("dut"), Some(argv("get")));
    let spec = StorageSpec { mux: Some(MuxSpec::Command(Command { host, dut, get })), ..spec };
    let inject = &mut |_: &hil_lab::storage::Device| Err(DriverError::new("inject a key: no"));
    let error = rig.run_with(&spec, None, &|_, _| (), inject).unwrap_err();
    assert_eq!((error.to_string().as_str(), side(&rig).as_str()), ("inject a key: no", "dut"));
}

#[test]
fn the_way_follows_from_the_wiring_and_the_type() {
    let sd = || Some(Removable { device_at: "mmcblk0".into(), enter: None });
    let flash: Flash =
        toml::from_str("[loader]\ntool = \"uuu\"\nsteps = [[\"uuu\", \"{image}\"]]").unwrap();
    let both = Flash { sd: sd(), ..flash.clone() };
    let (card, bare) = (on("/dev/x"), StorageSpec::default());
    let meant = StorageSpec { loader_serial: Some("1".into()), ..on("/dev/x") };
    let is_loader = |spec, flash| matches!(Way::of(Some(spec), Some(flash)), Ok(Way::Loader(_)));
    assert_eq!(Way::of(None, Some(&flash)), Ok(Way::Flashed));
    assert!(is_loader(&bare, &flash) && is_loader(&card, &flash) && is_loader(&meant, &both));
    assert!(matches!(Way::of(Some(&card), Some(&both)), Ok(Way::Medium(_, None))));
    assert!(matches!(Way::of(Some(&card), None), Ok(Way::Medium(_, None))));
    let error = Way::of(Some(&bare), None).unwrap_err().to_string();
    assert!(error.contains("neither `device` nor a mux"), "{error}");
}

#[test]
fn a_board_without_storage_counts_as_flashed() {
    let rig = Rig::new();
    let (cancel, nowhere) = (&rig.cancel, rig.path("nowhere"));
    let files = Files { image: &nowhere, bmap: None, bootloader: None, dir: &nowhere };
    let (progress, log) = (&|_, _| (), &|_: &str| ());
    let options = Options { progress, log, cancel, env: &[], deadline: rig.deadline };
    let done = provision(None, None, &files, &options, &mut |_| Ok(())).unwrap();
    assert_eq!(done.to_string(), "flashed already");
}
