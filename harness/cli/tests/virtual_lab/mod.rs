//! A virtual rack for tests of `hil lab`: two shell boards, each on a relay of its own, one with a
//! card behind a mux; and what a terminal sees.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::common::{Ended, PATIENCE, run};
use crate::rack::Rack;

/// `quick` hangs on a serial relay, `other` on one on the network: neither knows of the other.
const RACK: &str = r#"
[relay.relay-a]
latency_ms = 5
[relay.relay-a.lcus]
channels = 1
[relay.relay-b]
latency_ms = 5
[relay.relay-b.modbus-tcp]
coils = 1
[mux.mux-1]
size_mib = 4
switch_ms = 1
[board.quick]
mux = "mux-1"
[board.quick.power]
relay = "relay-a"
channel = 1
[board.quick.sh]
boot_ms = 100
autoboot_ms = 100
login = true
[board.other.power]
relay = "relay-b"
channel = 0
[board.other.sh]
boot_ms = 100
autoboot_ms = 100
login = true
"#;

const LAB: &str = r#"
[instance.bbb-1]
type = "beaglebone"
images = ["image.toml"]
[instance.bbb-1.power.lcus]
port = "rack/dev/relay-a"
channel = 1
[instance.bbb-1.console.tty]
port = "rack/dev/quick.console"
[instance.bbb-1.storage]
device = "rack/dev/quick.card"
size = 4194304
[instance.bbb-1.storage.mux.usbsdmux]
control = "rack/dev/mux-1"
tool = "rack/bin/usbsdmux"
[instance.bbb-1.timing]
min_off_s = 0.1
discharge_s = 0.3
[instance.opi-1]
type = "orangepi-pc"
# Its first byte is awaited for 10 s times this.
slowness = 0.5
[instance.opi-1.power.modbus-tcp]
address = "ADDRESS"
coil = 0
unit = 1
[instance.opi-1.console.tty]
port = "rack/dev/other.console"
[instance.opi-1.timing]
min_off_s = 0.1
discharge_s = 0.3
"#;

pub(crate) struct VirtualLab(Rack);

impl VirtualLab {
    pub(crate) fn start() -> VirtualLab {
        let rack = Rack::start(RACK);
        let lab = VirtualLab(rack);
        let ports = fs::read_to_string(lab.path("rack/ports.toml")).unwrap();
        let after = ports.split("[relay.relay-b]\naddress = \"").nth(1);
        let address = after.unwrap_or_else(|| panic!("{ports}")).split('"').next().unwrap();
        fs::write(lab.path("lab.toml"), LAB.replace("ADDRESS", address)).unwrap();
        let image = "name = \"sh\"\nversion = \"1\"\narch = \"arm\"\n[disk]\nfile = \"disk.img\"\n\
                     [login]\nuser = \"root\"\npassword = \"demo\"\n";
        fs::write(lab.path("image.toml"), image).unwrap();
        let disk: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 512 + at) as u8 | 1).collect();
        fs::write(lab.path("disk.img"), disk).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.home.path().join(name)
    }

    /// hil in this lab, with its own locks and findings.
    pub(crate) fn hil(&self, words: &[&str]) -> Command {
        let mut command = self.0.hil();
        command.args(words).current_dir(self.0.home.path());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// `hil lab WORDS` to its end.
    pub(crate) fn lab(&self, words: &[&str]) -> Ended {
        run(&mut self.hil(&[&["lab"], words].concat()))
    }

    /// What `hil lab status --json` says of a board.
    pub(crate) fn status(&self, instance: &str) -> Value {
        let ended = self.lab(&["status", "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        let all: Vec<Value> = serde_json::from_str(&ended.out).unwrap();
        all.into_iter().find(|one| one["name"] == instance).unwrap()
    }

    pub(crate) fn fault(&self, words: &str) {
        self.0.ctl(&format!("fault {words}"));
    }

    /// What the rack knows of a board; the truth.
    pub(crate) fn truth(&self, board: &str) -> Value {
        self.0.state("board", board)
    }

    /// Whether the board's contact is closed.
    pub(crate) fn contact(&self, board: &str) -> bool {
        self.truth(board)["contact"].as_bool().unwrap()
    }
}

/// A terminal with a program in it.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    keys: File,
    screen: mpsc::Receiver<Vec<u8>>,
    /// All that was shown so far.
    pub(crate) shown: String,
    /// Where the modes can be asked when the program has gone.
    pub(crate) slave: File,
}

impl Terminal {
    pub(crate) fn start(command: &mut Command) -> Terminal {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let mut output = keys.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keys, screen, shown: String::new(), slave }
    }

    pub(crate) fn type_keys(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits until the screen shows `text` after what was awaited before.
    pub(crate) fn expect(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        let mut fresh = String::new();
        while !fresh.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => {
                    let piece = String::from_utf8_lossy(&bytes);
                    fresh += &piece;
                    self.shown += &piece;
                }
                Err(why) => panic!("never showed {text:?} ({why}):\n{}", self.shown),
            }
        }
    }

    /// Whether keys are echoed and lines edited: how a shell finds its terminal usable.
    pub(crate) fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        let modes = rustix::termios::tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
