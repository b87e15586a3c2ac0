//! The ways in which a physical board is written, booted and reached, each through a whole `hil
//! run` on a virtual rack: by a loader's tool, with lines typed at U-Boot, at the address that the
//! board tells, behind terminal servers and an SNMP outlet.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "common/rack.rs"]
mod rack;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ended, demo, demo_for, events, present, run, script, wait_until};
use rack::{Network, Rack, virt};

fn passes(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

/// An image of the cache under another manifest.
fn image(from: &Path, to: &Path, change: impl FnOnce(String) -> String) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        std::os::unix::fs::symlink(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let manifest = fs::read_to_string(to.join("image.toml")).unwrap();
    fs::remove_file(to.join("image.toml")).unwrap();
    fs::write(to.join("image.toml"), change(manifest)).unwrap();
}

/// What stands in for a loader's tool: it takes the tool's own words, wants the board to be in its
/// mode, and writes the card, which it gets at by the mux that the lab file does not know of.
fn tool(rack: &Rack, name: &str, words: &str, mode: &str, mux: &str, card: &str) {
    let text = format!(
        "#!/bin/bash\nset -eu\nhere={home}\n\
         [ \"$*\" = \"{words}\" ] || {{ echo \"usage: {name}: not $*\" >&2; exit 64; }}\n\
         echo '< waiting for any device >'\n\
         for n in {{1..100}}; do if {mode}; then break; fi; sleep 0.1; done\n{mode}\n\
         image=${{@: -1}}\n\"$here/rack/bin/usbsdmux\" \"$here/rack/dev/{mux}\" host\n\
         dd if=\"$image\" of=\"$here/rack/dev/{card}\" bs=1M conv=notrunc,sparse status=none\n\
         \"$here/rack/bin/usbsdmux\" \"$here/rack/dev/{mux}\" dut\necho 'Okay (50%) Done'\n",
        home = rack.home.path().display(),
    );
    script(&rack.home.path().join("tools").join(name), &text);
}

/// hil with the stand-in first on its PATH.
fn with_tools(rack: &Rack, mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", rack.home.path().join("tools").display()));
    command
}

/// What the cut's event tells of when the contact was opened.
fn has_timing(rack: &Rack, board: &str) {
    let events = events(&rack.out(), board);
    let cut = events.iter().find(|event| !event["what"]["power-cut"].is_null()).unwrap();
    let asked = &cut["what"]["power-cut"]["report"]["timing"]["asked_us"];
    assert!(asked.as_u64().is_some_and(|us| us > 0), "{cut}");
}

const IMX: &str = r#"
[instance.imx-1]
type = "imx8mm-evk"
slowness = 2
images = ["image"]
[instance.imx-1.power.lcus]
port = "rack/dev/relay-a"
channel = 1
[instance.imx-1.console.tty]
port = "rack/dev/rpi.console"
[instance.imx-1.storage]
ENTER
[instance.imx-1.timing]
min_off_s = 0.2
discharge_s = 0.3
"#;

/// The second contact is across the board's boot switch; nobody tells where its SSH server is.
#[test]
fn a_loader_writes_the_board_which_boots_and_tells_its_own_address() {
    // QEMU's own network gives its guest this address.
    let Some(network) = Network::own("10.0.2.15") else { return };
    let rack = Rack::start_at(tempfile::tempdir().unwrap(), &virt("10.0.2.15:22"), network);
    image(&demo("aarch64", "mini"), &rack.home.path().join("image"), |manifest| {
        manifest + "[bootloader]\nfile = \"u-boot.bin\"\n"
    });
    let bootloader = rack.home.path().join("image/u-boot.bin");
    // Power and the boot switch: the relay's two contacts.
    let mode = "\"$here/tools/ctl\" state | grep -q '\"contacts\":\\[true,true\\]'";
    let words = format!("-b emmc_all {} $4", bootloader.display());
    tool(&rack, "uuu", &words, mode, "mux-rpi", "rpi.card");
    rack.write_ctl();

    fs::write(rack.lab(), IMX.replace("ENTER", "")).unwrap();
    let refused = run(&mut with_tools(&rack, rack.run("imx-1", "--case boot/ssh-login")));
    assert_eq!(refused.code, Some(69), "{}", refused.said);
    assert!(refused.said.contains("a person must set the boot switch"), "{}", refused.said);
    assert!(!rack.ctl("log").contains("power-on"), "it was refused at once");
    fs::remove_dir_all(rack.out()).unwrap();

    let enter = "[instance.imx-1.storage.enter.contact.lcus]\nport = \"rack/dev/relay-a\"\n\
                 channel = 2";
    fs::write(rack.lab(), IMX.replace("ENTER", enter)).unwrap();
    let at_rest = || {
        let contacts = rack.state("relay", "relay-a")["contacts"].to_string();
        assert_eq!(contacts, "[false,false]", "power and boot switch are as they were");
    };
    let mut by_hand = with_tools(&rack, rack.hil());
    passes(&run(by_hand.args(["lab", "flash", "imx-1"])));
    at_rest();
    let cases = "--case boot/ssh-login --case power-cut/synced-data-survives";
    passes(&run(&mut with_tools(&rack, rack.run("imx-1", cases))));
    has_timing(&rack, "imx-1");
    at_rest();
}

const CUBIE: &str = r#"
title = "a Cubieboard whose U-Boot speaks fastboot"
arch = "arm"
sources = ["https://docs.u-boot.org/en/latest/android/fastboot.html"]
[uboot]
[flash.loader]
tool = "fastboot"
uboot = ["mmc dev 0", "fastboot usb 0"]
steps = [["fastboot", "-s", "{serial}", "flash", "mmc0", "{image}"]]
"#;

const CUBIE_LAB: &str = r#"
[instance.cubie-1]
type = "cubie"
slowness = 10
images = ["image"]
[instance.cubie-1.power.lcus]
port = "rack/dev/relay-a"
channel = 1
[instance.cubie-1.console.tty]
port = "rack/dev/cubie.console"
[instance.cubie-1.storage]
loader_serial = "0123abc"
[instance.cubie-1.uboot.set]
ethaddr = "52:54:00:aa:bb:cc"
[instance.cubie-1.timing]
min_off_s = 0.2
discharge_s = 0.3
"#;

/// Slot B, by hil's own words; the board's script would take A.
const TYPED: &str = r#"
[uboot]
lines = ["mmc dev 0"]
send = [{ file = "note.txt", at = 0x45000000 }]
boot = """\
    setenv bootargs root=PARTLABEL=rootB hil.slot=B rauc.slot=B console=ttyS0,115200 earlycon; \
    load mmc 0:3 ${kernel_addr_r} boot/vmlinuz; load mmc 0:3 ${fdt_addr_r} boot/${fdtfile}; \
    load mmc 0:3 ${ramdisk_addr_r} boot/initrd; \
    bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}"""
"#;

/// QEMU's cubieboard: its genuine U-Boot is stopped over a line of 115200 baud, for the loader, and
/// then at every boot.
#[test]
fn what_is_typed_at_u_boot_decides_how_a_board_is_written_and_what_it_boots() {
    let built = demo_for("arm", "mini", Some("cubieboard"));
    let home = tempfile::tempdir().unwrap();
    // An older system is on the card: its bootloader takes the new one.
    let cards = home.path().join("rack/cards");
    fs::create_dir_all(&cards).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").arg(built.join("disk.img")).arg(cards.join("mux-cubie.img"));
    assert!(copy.status().unwrap().success());
    let rack = Rack::start_at(
        home,
        "seed = 1\n[relay.relay-a]\nlatency_ms = 8\n[relay.relay-a.lcus]\nchannels = 1\n\
         [mux.mux-cubie]\nsize_mib = 512\n[board.cubie]\nmux = \"mux-cubie\"\n\
         [board.cubie.power]\nrelay = \"relay-a\"\nchannel = 1\nhold_up_ms = 60\n\
         [board.cubie.qemu]\nmachine = \"cubieboard\"\n",
        Network::Host,
    );
    fs::create_dir(rack.home.path().join("boards")).unwrap();
    fs::write(rack.home.path().join("boards/cubie.toml"), CUBIE).unwrap();
    fs::write(rack.lab(), CUBIE_LAB).unwrap();
    image(&built, &rack.home.path().join("image"), |manifest| {
        let manifest = manifest.replace("first   = \"A\"", "first   = \"B\"");
        // Over its console alone: SSH has its own test.
        let (before, after) = manifest.split_once("[ssh]").unwrap();
        let after = after.split_once("[os]").unwrap().1;
        format!("{before}[os]{after}{TYPED}")
    });
    fs::write(rack.home.path().join("image/note.txt"), "sent to U-Boot\n").unwrap();
    let typed = "grep -aq 'fastboot usb 0' \"$here/out/cubie-1/console.raw\"";
    tool(&rack, "fastboot", "-s 0123abc flash mmc0 $5", typed, "mux-cubie", "cubie.card");
    let cases = "--case boot/slot-as-built --case power-cut/synced-data-survives";
    let mut command = with_tools(&rack, rack.run("cubie-1", cases));
    command.arg("--boards").arg(rack.home.path().join("boards"));
    let ended = run(&mut command);
    passes(&ended);
    has_timing(&rack, "cubie-1");
    let done = "U-Boot: countdown stopped; set ethaddr; sent ";
    assert!(ended.said.contains(done), "{}", ended.said);
}

/// A ser2net in front of a board's port, until it is dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ser2net(rack: &Rack, accepter: &str, board: &str) -> (Server, String) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = rack.home.path().join(format!("{board}.yaml"));
    let port = rack.path(&format!("dev/{board}.console"));
    let text = format!(
        "%YAML 1.1\n---\nconnection: &console\n  accepter: {accepter}tcp,127.0.0.1,{}\n  \
         connector: serialdev,{},115200n81,local\n",
        address.port(),
        port.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("ser2net");
    command.args(["-n", "-u", "-c"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    let server = Server(command.spawn().unwrap());
    wait_until("ser2net listens", || std::net::TcpStream::connect(address).is_ok());
    (server, address.to_string())
}

/// A PDU of one APC outlet, in which a contact of the rack's relay moves.
fn snmpsim(rack: &Rack, community: &str) -> (Server, String) {
    let relay = rack.path("dev/relay-a");
    let outlet = rack.home.path().join("outlet");
    let text = format!(
        "#!/bin/bash\nset -eu\nstate={home}/outlet-state\n\
         case $1$2 in\n\
         11) printf '\\xa0\\x01\\x01\\xa2' >{relay}; echo -n 1 >\"$state\";;\n\
         12) printf '\\xa0\\x01\\x00\\xa1' >{relay}; echo -n 2 >\"$state\";;\n\
         esac\ncat \"$state\"\n",
        home = rack.home.path().display(),
        relay = relay.display(),
    );
    script(&outlet, &text);
    fs::write(rack.home.path().join("outlet-state"), "2").unwrap();
    let data = rack.home.path().join("data");
    fs::create_dir(&data).unwrap();
    let record = format!(
        "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.1|2:subprocess|{} @SETFLAG@ @ORIGVALUE@\n",
        outlet.display()
    );
    fs::write(data.join(format!("{community}.snmprec")), record).unwrap();
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = common::cache().join("test-venv/bin/snmpsim-command-responder");
    let mut command = Command::new(program);
    command.env("SNMPSIM_ALLOW_ROOT", "true");
    command.arg(format!("--data-dir={}", data.display()));
    command.arg(format!("--cache-dir={}", rack.home.path().join("snmp-cache").display()));
    command.arg(format!("--agent-udpv4-endpoint={address}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().unwrap());
    wait_until("snmpsim answers", || {
        let mut get = Command::new("snmpget");
        get.args(["-v2c", "-c", community, "-Oqv", "-t1", "-r0", &address.to_string()]);
        get.arg("1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.1");
        get.output().unwrap().status.success()
    });
    (server, address.to_string())
}

#[test]
fn boards_behind_terminal_servers_and_an_snmp_outlet_run_like_others() {
    let simulators = common::cache().join("test-venv/stamp").exists();
    let there = present(Command::new("ser2net").arg("-v").output().is_ok(), "ser2net", "ci/setup")
        && present(simulators, "the simulators' environment", "ci/simulators");
    if !there {
        return;
    }
    let rack = Rack::start(&rack::shells());
    rack.write_sh_image();
    let (rfc2217, raw) = ("telnet(rfc2217),", "");
    let (_one, first) = ser2net(&rack, rfc2217, "one");
    let (_two, second) = ser2net(&rack, raw, "two");
    // A community that the board itself prints, as if by accident: no output has it.
    let secret = "Starting kernel";
    let (_pdu, pdu) = snmpsim(&rack, secret);
    let common = "type = \"beaglebone\"\nslowness = 0.4\nimages = [\"image\"]\n";
    let timing = "timing = { min_off_s = 0.2, discharge_s = 0.3 }\n";
    let lab = format!(
        "[instance.bbb-1]\n{common}{timing}[instance.bbb-1.power.snmp]\naddress = \"{pdu}\"\n\
         outlet = {{ apc = 1 }}\naccess = {{ v2c = \"{secret}\" }}\n\
         [instance.bbb-1.console.rfc2217]\naddress = \"{first}\"\n\
         [instance.bbb-2]\n{common}{timing}[instance.bbb-2.power.lcus]\n\
         port = \"rack/dev/relay-a\"\nchannel = 2\n\
         [instance.bbb-2.console.tcp]\naddress = \"{second}\"\n"
    );
    fs::write(rack.lab(), lab).unwrap();
    let cases = "--case boot/clock-sane --case boot/console-login --case boot/reboot-comes-back";
    let mut command = rack.run("bbb-1", cases);
    command.args(["--board", "bbb-2"]);
    let ended = run(&mut command);
    passes(&ended);
    assert!(ended.said.contains("2 boards, 6 cases: 6 passed"), "{}", ended.said);
    assert!(!rack.powered("one") && !rack.powered("two"), "both are without power");
    let console = fs::read_to_string(rack.out().join("bbb-1/console.log")).unwrap();
    assert!(console.contains("********") && !console.contains(secret), "{console}");
}
