//! The other sides of the tests: simulators that others wrote, ptys, and devices that misbehave.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use hil_lab::DriverError;
use hil_lab::power::{PowerSpec, Switch, open};

/// No wait of these tests is longer.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// A driver, from the TOML that a lab file holds for it.
pub(crate) fn switch(toml: &str) -> Box<dyn Switch> {
    let spec: PowerSpec = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}\n{error}"));
    open(&spec)
}

/// Calls a driver that faces a fault: it must come back, with an error.
pub(crate) fn fails(
    mut switch: Box<dyn Switch>,
    call: impl FnOnce(&mut dyn Switch) -> Result<(), DriverError> + Send + 'static,
) -> String {
    let (tell, told) = channel();
    thread::spawn(move || {
        let _ = tell.send(call(&mut *switch));
    });
    told.recv_timeout(WAIT).expect("the driver hangs").unwrap_err().to_string()
}

pub(crate) fn on(switch: &mut dyn Switch) -> Result<(), DriverError> {
    switch.set(true)
}

pub(crate) fn get(switch: &mut dyn Switch) -> Result<(), DriverError> {
    switch.get().map(drop)
}

/// Whether a tool is there; where tests must not be skipped, its absence is a failure.
pub(crate) fn present(there: bool, what: &str, how: &str) -> bool {
    let required = ["HIL_TEST_REQUIRE", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(there || !required, "{what} is missing: {how} installs it");
    if !there {
        eprintln!("SKIPPED: {what} is missing; {how} installs it");
    }
    there
}

/// The Python of the simulators' environment, which `ci/simulators` makes.
pub(crate) fn simulators() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let env = cache.join("hil/test-venv");
    let there = env.join("stamp").exists();
    present(there, "the simulators' environment", "ci/simulators").then(|| env.join("bin/python"))
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_it").join(name)
}

/// A process that ends with the test, and the lines it prints.
pub(crate) struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Peer {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env("PYTHONUNBUFFERED", "1");
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Peer { child, lines }
    }

    /// The rest of the next line that begins with `word`.
    pub(crate) fn line(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(WAIT);
            let line = line.unwrap_or_else(|_| panic!("the peer never said `{word}`"));
            if let Some(rest) = line.trim_start().strip_prefix(word) {
                return rest.trim().to_string();
            }
        }
    }

    /// Waits for a line that holds `text`.
    pub(crate) fn holding(&self, text: &str) {
        let said = || self.lines.recv_timeout(WAIT);
        while !said().unwrap_or_else(|_| panic!("the peer never said `{text}`")).contains(text) {}
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

/// A device on TCP that does with every connection what it is told. Its address.
pub(crate) fn device(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    address
}

/// A device that takes everything and says nothing.
pub(crate) fn silent() -> String {
    device(|mut stream| {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink);
    })
}

/// An address where nothing listens.
pub(crate) fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A serial port and the device's end of it.
pub(crate) struct Pty {
    pub(crate) device: File,
    pub(crate) port: PathBuf,
}

pub(crate) fn pty() -> Pty {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let device: OwnedFd = openpt(flags).unwrap();
    grantpt(&device).unwrap();
    unlockpt(&device).unwrap();
    let port = ptsname(&device, Vec::new()).unwrap().into_string().unwrap();
    // A UART echoes nothing, whoever has it open or not.
    let mut mode = rustix::termios::tcgetattr(&device).unwrap();
    mode.make_raw();
    rustix::termios::tcsetattr(&device, rustix::termios::OptionalActions::Now, &mode).unwrap();
    Pty { device: File::from(device), port: port.into() }
}

/// Keeps the line up while no driver has the port open, as a cable does: without it the device's
/// end reads an error.
pub(crate) fn plugged(port: &Path) -> File {
    use rustix::fs::{Mode, OFlags, open};
    File::from(open(port, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap())
}
