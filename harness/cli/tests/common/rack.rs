//! A virtual rack for one test, with hil's lab file for it. hil sees ttys, sockets and files.
#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// The rack program; dropping it ends the rack.
pub(crate) struct Rack {
    child: Child,
    pub(crate) home: TempDir,
    network: Network,
}

/// Where rack and hil run: this host's network, or one of their own with addresses as they please.
pub(crate) enum Network {
    Host,
    Own(Child),
}

impl Network {
    /// A network of its own, in which this host has `address`. None where that is not allowed.
    pub(crate) fn own(address: &str) -> Option<Network> {
        let up = format!(
            "ip link set lo up && ip addr add {address}/32 dev lo && echo up && exec sleep inf"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &up]).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let network = Network::Own(holder);
        crate::common::present(line == "up\n", "a network of its own", "nothing but root")
            .then_some(network)
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Network::Own(holder) = self else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", holder.id())).arg("--").arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Network::Own(holder) = self {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// Beside hil in the target folder: `ci/test` builds the whole workspace before the tests.
fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_hil")).with_file_name("hil-virtual-lab");
    assert!(path.exists(), "no virtual lab; run: cargo build -p hil-virtual-lab");
    path
}

/// A relay with two channels, and boards `one` and `two` that are shells, each with a card.
pub(crate) fn shells() -> String {
    let board = |name: &str, channel: u8| {
        format!(
            "[mux.mux-{name}]\nsize_mib = 64\n[board.{name}]\nmux = \"mux-{name}\"\n\
             [board.{name}.power]\nrelay = \"relay-a\"\nchannel = {channel}\nhold_up_ms = 60\n\
             [board.{name}.console]\nbaud = 115200\n\
             [board.{name}.sh]\nboot_ms = 200\nautoboot_ms = 100\nlogin = true\n"
        )
    };
    let relay = "seed = 1\n[relay.relay-a]\nlatency_ms = 8\n[relay.relay-a.lcus]\nchannels = 2\n";
    relay.to_string() + &board("one", 1) + &board("two", 2)
}

impl Rack {
    pub(crate) fn start(rack: &str) -> Rack {
        Rack::start_at(tempfile::tempdir().unwrap(), rack, Network::Host)
    }

    /// In a folder where something is already, such as a card.
    pub(crate) fn start_at(home: TempDir, rack: &str, network: Network) -> Rack {
        let file = home.path().join("rack.toml");
        fs::write(&file, rack).unwrap();
        let mut child = network
            .command(program())
            .arg("run")
            .args([&file, Path::new("--dir"), &home.path().join("rack")])
            .arg("--die-with-parent")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}");
        Rack { child, home, network }
    }

    /// Two shell boards as `bbb-1` and `bbb-2`, and a lab file and an image for them.
    pub(crate) fn shells() -> Rack {
        Rack::shells_of(&shells())
    }

    /// The same with a rack that differs from [`shells`] in its figures.
    pub(crate) fn shells_of(rack: &str) -> Rack {
        let rack = Rack::start(rack);
        rack.write_sh_image();
        let lab = instance("bbb-1", "one", 1) + &instance("bbb-2", "two", 2);
        fs::write(rack.lab(), lab).unwrap();
        rack
    }

    /// `image/image.toml`, which shell boards are given.
    pub(crate) fn write_sh_image(&self) {
        let image = self.home.path().join("image");
        fs::create_dir(&image).unwrap();
        let text =
            fs::read_to_string(crate::common::root().join("fixtures/virtual-lab/sh-image.toml"));
        fs::write(image.join("image.toml"), text.unwrap()).unwrap();
        let content: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
        fs::write(image.join("disk.img"), content).unwrap();
    }

    pub(crate) fn lab(&self) -> PathBuf {
        self.home.path().join("lab.toml")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("rack").join(name)
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.home.path().join("out")
    }

    /// hil with this rack's lab file and locks.
    pub(crate) fn hil(&self) -> Command {
        let mut command = self.network.command(env!("CARGO_BIN_EXE_hil"));
        crate::common::unasked(&mut command);
        command.env("HIL_LAB", self.lab()).env("HIL_LAB_STATE", self.home.path().join("state"));
        command
    }

    /// `hil run` of one board into `out`.
    pub(crate) fn run(&self, board: &str, words: &str) -> Command {
        let mut command = self.hil();
        command.args(["run", "--board", board, "--out"]).arg(self.out());
        command.args(words.split(' ').filter(|word| !word.is_empty()));
        command
    }

    pub(crate) fn ctl(&self, words: &str) -> String {
        let mut command = Command::new(program());
        let output = command.arg("ctl").arg(self.path("")).args(words.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `tools/ctl WORDS`, for scripts of a test's own.
    pub(crate) fn write_ctl(&self) {
        let (program, dir) = (program(), self.path(""));
        let text =
            format!("#!/bin/sh\nexec '{}' ctl '{}' \"$@\"\n", program.display(), dir.display());
        crate::common::script(&self.home.path().join("tools/ctl"), &text);
    }

    /// What a part of the rack says of itself: `board`, `relay` or `mux`.
    pub(crate) fn state(&self, kind: &str, name: &str) -> Value {
        let parts = self.ctl("state");
        let mut parts = parts.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parts.find(|part| part[kind] == name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub(crate) fn powered(&self, board: &str) -> bool {
        self.state("board", board)["power"] != "off"
    }

    /// Whether the board's lock is free for the next one.
    pub(crate) fn is_free(&self, instance: &str) -> bool {
        let path = self.home.path().join(format!("state/locks/{instance}.lock"));
        let Ok(file) = fs::File::open(path) else { return true };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A BeagleBone of the lab file, played by a board of the rack.
fn instance(name: &str, board: &str, channel: u8) -> String {
    format!(
        "[instance.{name}]\ntype = \"beaglebone\"\nslowness = 0.4\nimages = [\"image/image.toml\"]\n\
         [instance.{name}.power.lcus]\nport = \"rack/dev/relay-a\"\nchannel = {channel}\n\
         [instance.{name}.console.tty]\nport = \"rack/dev/{board}.console\"\n\
         [instance.{name}.storage]\ndevice = \"rack/dev/{board}.card\"\n\
         [instance.{name}.storage.mux.usbsdmux]\ncontrol = \"rack/dev/mux-{board}\"\n\
         tool = \"rack/bin/usbsdmux\"\n\
         [instance.{name}.timing]\nmin_off_s = 0.2\ndischarge_s = 0.3\n"
    )
}

/// A relay with two channels, and the board `rpi`, QEMU's virt with U-Boot in it.
pub(crate) fn virt(ssh: &str) -> String {
    let image = crate::common::demo("aarch64", "mini");
    let image = image.display();
    format!(
        "seed = 1\n[relay.relay-a]\nlatency_ms = 8\n[relay.relay-a.lcus]\nchannels = 2\n\
         [mux.mux-rpi]\nsize_mib = 1024\n[board.rpi]\nmux = \"mux-rpi\"\nssh = \"{ssh}\"\n\
         [board.rpi.power]\nrelay = \"relay-a\"\nchannel = 1\nhold_up_ms = 60\n\
         [board.rpi.qemu]\nmachine = \"virt-aarch64\"\nmemory_mib = 512\n\
         firmware = \"{image}/u-boot.bin\"\n"
    )
}

static THREADS: AtomicU32 = AtomicU32::new(0);
thread_local! {
    static NEXT: u32 = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// A Raspberry Pi 4 of the lab, played by QEMU with demo-os on its card.
impl Rack {
    /// An address of this test's own: others run beside it.
    pub(crate) fn address() -> String {
        let pid = std::process::id();
        let thread = NEXT.with(|own| *own);
        format!("127.{}.{}.{}", 100 + thread % 100, pid >> 8 & 0xff, pid & 0xff | 1)
    }

    pub(crate) fn demo() -> Rack {
        let address = Rack::address();
        let rack = Rack::start(&virt(&format!("{address}:2222")));
        let image = crate::common::demo("aarch64", "mini");
        let image = image.display();
        let lab = format!(
            "[instance.rpi-1]\ntype = \"raspberrypi4-64\"\nslowness = 2\nimages = [\"{image}\"]\n\
             [instance.rpi-1.power.lcus]\nport = \"rack/dev/relay-a\"\nchannel = 1\n\
             [instance.rpi-1.console.tty]\nport = \"rack/dev/rpi.console\"\n\
             [instance.rpi-1.storage]\ndevice = \"rack/dev/rpi.card\"\n\
             [instance.rpi-1.storage.mux.usbsdmux]\ncontrol = \"rack/dev/mux-rpi\"\n\
             tool = \"rack/bin/usbsdmux\"\n\
             [instance.rpi-1.ssh]\nhost = \"{address}\"\nport = 2222\n\
             [instance.rpi-1.timing]\nmin_off_s = 0.2\ndischarge_s = 0.3\n"
        );
        fs::write(rack.lab(), lab).unwrap();
        rack
    }
}
