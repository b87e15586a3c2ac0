//! Consoles behind a real terminal server, ser2net: every byte both ways, the port's settings, and
//! what becomes of a connection that is lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod serial;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hil_lab::serial::rfc2217::Rfc2217;
use hil_lab::serial::tcp::Tcp;
use hil_lab::serial::telnet::Telnet;
use hil_lab::serial::{ConsoleSpec, Flow, Line};
use rustix::termios::ControlModes;
use serial::{Board, PATIENCE, board, content, expect, send, until};
use tokio::time::{Instant, sleep};

/// A ser2net in front of one port; it ends with the test.
struct Server {
    child: Child,
    board: Board,
    config: tempfile::NamedTempFile,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether ser2net is there; its absence is a failure where tests must not be skipped.
fn present() -> bool {
    let there = Command::new("ser2net").arg("-v").output().is_ok();
    let required = ["HIL_TEST_REQUIRE", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(there || !required, "ser2net is missing: ci/setup installs it");
    if !there {
        eprintln!("SKIPPED: ser2net is missing; ci/setup installs it");
    }
    there
}

fn spawn(config: &std::path::Path) -> Child {
    let mut command = Command::new("ser2net");
    // In the foreground, without UUCP locks, which need root, and without a control port.
    command.args(["-n", "-u", "-c"]).arg(config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

fn server(accepter: &str) -> Server {
    let board = board();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = board.port.display();
    let mut config = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let text = format!(
        "%YAML 1.1\n---\nconnection: &console\n  accepter: {accepter}tcp,127.0.0.1,{}\n  \
         connector: serialdev,{port},9600n81,local\n",
        free.port()
    );
    config.write_all(text.as_bytes()).unwrap();
    let child = spawn(config.path());
    Server { child, board, config, address: free.to_string() }
}

impl Server {
    fn again(&mut self) {
        self.child = spawn(self.config.path());
    }

    fn may_come(&self, error: &str) -> bool {
        ["refused (os", "already in use", "reset by peer", "Broken pipe"]
            .iter()
            .any(|sign| error.contains(sign))
    }

    /// Opens the console once the server listens.
    async fn open(&self, spec: &ConsoleSpec, baud: u32) -> Line {
        let begun = Instant::now();
        loop {
            match spec.open(baud).await {
                Ok(line) => return line,
                // Not yet up, or not yet done with the connection before.
                Err(error) if self.may_come(&error.to_string()) => {
                    assert!(begun.elapsed() < PATIENCE, "{error}");
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// 1 MiB of all sorts goes both ways, at the same time.
async fn is_transparent(server: &Server, mut line: Line) {
    let bytes = content(1 << 20);
    let (from_board, to_board) = (bytes.clone(), bytes.clone());
    let (mut reader, mut writer) =
        (server.board.master.try_clone().unwrap(), server.board.master.try_clone().unwrap());
    let writing = std::thread::spawn(move || writer.write_all(&from_board).unwrap());
    expect(&mut line, &bytes).await;
    writing.join().unwrap();
    let reading = std::thread::spawn(move || {
        let mut got = vec![0; to_board.len()];
        reader.read_exact(&mut got).unwrap();
        let differs = got.iter().zip(&to_board).position(|(got, want)| got != want);
        assert_eq!(differs, None, "the board got other bytes from there on");
    });
    send(&mut line, &bytes).await;
    reading.join().unwrap();
    assert_eq!(*line.health.borrow(), hil_lab::serial::Health::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_tcp_is_transparent() {
    if !present() {
        return;
    }
    let server = server("");
    let spec = ConsoleSpec::Tcp(Tcp { address: server.address.clone() });
    let line = server.open(&spec, 115_200).await;
    is_transparent(&server, line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telnet_is_transparent() {
    if !present() {
        return;
    }
    let server = server("telnet,");
    let spec = ConsoleSpec::Telnet(Telnet { address: server.address.clone() });
    let line = server.open(&spec, 115_200).await;
    is_transparent(&server, line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc2217_sets_the_port_and_is_transparent() {
    if !present() {
        return;
    }
    let server = server("telnet(rfc2217),");
    let spec = ConsoleSpec::Rfc2217(Rfc2217::new(&server.address));
    // 65280 is 0xff00: the byte that telnet doubles, in the middle of a number.
    for baud in [115_200, 65_280, 3_000_000] {
        let line = server.open(&spec, baud).await;
        assert_eq!(server.board.settings().output_speed(), baud);
        let mode = server.board.settings().control_modes;
        assert_eq!(mode & ControlModes::CSIZE, ControlModes::CS8);
        assert!(!mode.intersects(ControlModes::PARENB | ControlModes::CSTOPB));
        drop(line);
    }
    let flow = Rfc2217 { flow: Flow::Hardware, ..Rfc2217::new(&server.address) };
    let line = server.open(&ConsoleSpec::Rfc2217(flow), 115_200).await;
    assert!(server.board.settings().control_modes.contains(ControlModes::CRTSCTS));
    is_transparent(&server, line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_is_told_and_its_return_is_found() {
    if !present() {
        return;
    }
    for kind in ["", "telnet,", "telnet(rfc2217),"] {
        let mut server = server(kind);
        let address = server.address.clone();
        let spec = match kind {
            "" => ConsoleSpec::Tcp(Tcp { address }),
            "telnet," => ConsoleSpec::Telnet(Telnet { address }),
            _ => ConsoleSpec::Rfc2217(Rfc2217::new(address)),
        };
        let mut line = server.open(&spec, 115_200).await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let health = until(&mut line, |health| health.gone.is_some()).await;
        let gone = health.gone.unwrap();
        assert!(gone.contains(&server.address), "{gone}");
        until(&mut line, |health| health.gone.as_ref().is_some_and(|why| why.contains("refused")))
            .await;
        server.again();
        until(&mut line, |health| health.gone.is_none() && health.replugs >= 1).await;
        (&server.board.master).write_all(b"back").unwrap();
        expect(&mut line, b"back").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_has_is_told_in_the_servers_words() {
    if !present() {
        return;
    }
    let server = server("");
    let spec = ConsoleSpec::Tcp(Tcp { address: server.address.clone() });
    let _first = server.open(&spec, 9600).await;
    let mut second = spec.open(9600).await.unwrap();
    expect(&mut second, b"Port already in use\r\n").await;
    let busy = until(&mut second, |health| health.gone.is_some()).await.gone.unwrap();
    assert!(busy.contains("saying only `Port already in use`"), "{busy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_control_is_told() {
    if !present() {
        return;
    }
    let server = server("telnet,");
    let plain = ConsoleSpec::Telnet(Telnet { address: server.address.clone() });
    drop(server.open(&plain, 9600).await);
    let wanted = ConsoleSpec::Rfc2217(Rfc2217::new(&server.address));
    let begun = Instant::now();
    loop {
        let error = wanted.open(115_200).await.err().unwrap().to_string();
        if error.contains("refuses RFC 2217") && error.contains("[console.telnet]") {
            return;
        }
        // It may still be busy with the connection before.
        assert!(begun.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_telnet_is_told() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let error = Telnet { address }.open().await.err().unwrap().to_string();
    assert!(error.contains("does it speak telnet?"), "{error}");
}
