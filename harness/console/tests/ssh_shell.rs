//! The shell over SSH against a real sshd, behind a gate that can stall, close and count.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hil_console::{SshShell, SshTarget};
use hil_core::deadline::{Deadline, secs};
use hil_core::parts::Shell;
use hil_core::trouble::Trouble;

/// What the gate does with the next connection.
#[derive(Clone, Copy)]
enum Gate {
    /// Passes it on to an sshd of its own.
    Open,
    /// Accepts, and lets go at once.
    Close,
    /// Passes this many bytes from the server, then nothing, and stays.
    Stall(usize),
    /// Passes all on, but to the server as slowly as a radio.
    Slow,
}

/// An address behind which sshd answers, as the gate allows.
struct Server {
    address: SocketAddr,
    gate: Arc<Mutex<Gate>>,
    seen: Arc<AtomicUsize>,
    /// The last connection's client side.
    last: Arc<Mutex<Option<TcpStream>>>,
    dir: tempfile::TempDir,
}

fn user() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().into()
}

fn keygen(file: &Path) {
    let quiet = ["-q", "-N", "", "-t", "ed25519", "-f"];
    assert!(Command::new("ssh-keygen").args(quiet).arg(file).status().unwrap().success());
}

fn configure(dir: &Path) {
    if user() == "root" {
        // What sshd's service makes at boot; without it an sshd of root's does not run.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    keygen(&dir.join("host"));
    keygen(&dir.join("key"));
    keygen(&dir.join("stranger"));
    let at = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n",
        at("host"),
        at("key.pub")
    );
    std::fs::write(dir.join("config"), config).unwrap();
}

impl Server {
    fn start() -> Server {
        Server::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// On a line that takes little at once, unlike this host's own: what fits into the client's socket
    /// is far less than the window of an SSH channel.
    fn on_a_slow_line() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = socket2::SockRef::from(&listener);
        line.set_tcp_mss(536).unwrap();
        line.set_recv_buffer_size(4096).unwrap();
        let server = Server::on(listener);
        server.set(Gate::Slow);
        server
    }

    fn on(listener: TcpListener) -> Server {
        let dir = tempfile::tempdir().unwrap();
        configure(dir.path());
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Mutex::new(Gate::Open));
        let seen = Arc::new(AtomicUsize::new(0));
        let last = Arc::new(Mutex::new(None));
        let server = Server { address, gate, seen, last, dir };
        let (gate, seen, last) = (server.gate.clone(), server.seen.clone(), server.last.clone());
        let config = server.dir.path().join("config");
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                seen.fetch_add(1, Ordering::SeqCst);
                let gate = *gate.lock().unwrap();
                *last.lock().unwrap() = Some(client.try_clone().unwrap());
                let config = config.clone();
                std::thread::spawn(move || serve(client, gate, &config));
            }
        });
        server
    }

    fn set(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shell(&self, key: &str) -> SshShell {
        let key = Some(self.file(key));
        SshShell::new(SshTarget { address: self.address, user: user(), key, password: None })
    }
}

/// Runs an sshd for one connection, as inetd would.
fn serve(client: TcpStream, gate: Gate, config: &Path) {
    let budget = match gate {
        Gate::Close => return,
        Gate::Open | Gate::Slow => usize::MAX,
        Gate::Stall(bytes) => bytes,
    };
    let (mut to, theirs) = UnixStream::pair().unwrap();
    let mut sshd = Command::new("/usr/sbin/sshd")
        .args(["-i", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::from(OwnedFd::from(theirs.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut from = to.try_clone().unwrap();
    let (mut out, mut input) = (client.try_clone().unwrap(), client);
    let back = std::thread::spawn(move || {
        let (mut buffer, mut left) = ([0; 4096], budget);
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let pass = n.min(left);
            left -= pass;
            if out.write_all(&buffer[..pass]).is_err() {
                break;
            }
        }
        if left > 0 {
            let _ = out.shutdown(Shutdown::Both);
        }
    });
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = input.read(&mut buffer) {
        if matches!(gate, Gate::Slow) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = sshd.kill();
    let _ = sshd.wait();
    let _ = back.join();
}

fn soon() -> Deadline {
    Deadline::within(secs(60))
}

#[tokio::test]
async fn commands_come_back_with_status_and_both_outputs() {
    let server = Server::start();
    let mut shell = server.shell("key");
    let both = shell.exec("echo out; echo err >&2; exit 3", soon()).await.unwrap();
    assert_eq!(both.status, 3);
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(shell.exec("kill -TERM $$", soon()).await.unwrap().status, 143);
    // More than the window on either stream, in the order that blocks whoever reads one first.
    let floods = "head -c 900000 /dev/zero >&2; head -c 700000 /dev/zero; cat";
    let flood = shell.exec(floods, soon()).await.unwrap();
    assert_eq!((flood.stdout.len(), flood.stderr.len()), (700_000, 900_000));
    assert_eq!(server.seen.load(Ordering::SeqCst), 1, "one connection serves all");
}

#[tokio::test]
async fn files_go_both_ways_and_tell_how_far_they_are() {
    let server = Server::start();
    let mut shell = server.shell("key");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
    let (local, back) = (server.file("local"), server.file("back"));
    std::fs::write(&local, &bytes).unwrap();
    let remote = server.file("it's remote").display().to_string();
    let steps = Mutex::new(Vec::new());
    let progress = |done: u64, of: u64| steps.lock().unwrap().push((done, of));
    shell.upload(&local, &remote, &progress, soon()).await.unwrap();
    assert_eq!(std::fs::read(&remote).unwrap(), bytes);
    shell.download(&remote, &back, &progress, soon()).await.unwrap();
    assert_eq!(std::fs::read(&back).unwrap(), bytes);
    let steps = steps.into_inner().unwrap();
    assert_eq!(steps.last(), Some(&(3_000_000, 3_000_000)));

    let missing = shell.download("/no/such", &back, &|_, _| (), soon()).await.unwrap_err();
    assert!(matches!(&missing, Trouble::Product(why) if why.contains("/no/such")), "{missing}");
    let nowhere = shell.upload(&local, "/no/such/file", &|_, _| (), soon()).await.unwrap_err();
    assert!(matches!(&nowhere, Trouble::Product(_)), "{nowhere}");
    assert!(shell.exec("true", soon()).await.unwrap().ok());
}

#[tokio::test]
async fn an_upload_that_the_board_has_no_room_for_says_so() {
    let server = Server::on_a_slow_line();
    let mut shell = server.shell("key");
    let local = server.file("local");
    // Far more than is under way at once: the command ends with most of it, and a packet in part, unsent.
    std::fs::write(&local, vec![b'x'; 50 << 20]).unwrap();
    let full = shell.upload(&local, "/dev/full", &|_, _| (), soon()).await.unwrap_err();
    assert!(matches!(&full, Trouble::Product(why) if why.contains("No space left")), "{full}");
    assert!(shell.exec("true", soon()).await.unwrap().ok());
}

#[tokio::test]
async fn a_command_past_its_deadline_is_unmet_and_the_next_one_runs() {
    let server = Server::start();
    let mut shell = server.shell("key");
    shell.open(soon()).await.unwrap();
    let late = shell.exec("sleep 600", Deadline::within(Duration::from_millis(300))).await;
    assert!(matches!(&late, Err(Trouble::Unmet(why)) if why.contains("sleep 600")), "{late:?}");
    assert_eq!(shell.exec("echo next", soon()).await.unwrap().text(), "next");
}

/// An address that leads to the server for one connection, and for no other after it.
fn once(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, server) = (listener.local_addr().unwrap(), server.address);
    std::thread::spawn(move || {
        let ends = (listener.accept().unwrap().0, TcpStream::connect(server).unwrap());
        drop(listener);
        let mut there = (ends.0.try_clone().unwrap(), ends.1.try_clone().unwrap());
        let mut back = (ends.1, ends.0);
        std::thread::spawn(move || std::io::copy(&mut there.0, &mut there.1));
        let _ = std::io::copy(&mut back.0, &mut back.1);
    });
    address
}

#[tokio::test]
async fn a_board_that_cannot_be_reached_any_more_is_a_transport_error() {
    let server = Server::start();
    let (address, key) = (once(&server), Some(server.file("key")));
    let mut shell = SshShell::new(SshTarget { address, user: user(), key, password: None });
    shell.open(soon()).await.unwrap();
    let late = shell.exec("sleep 600", Deadline::within(Duration::from_millis(300))).await;
    let Err(Trouble::Transport(why)) = &late else { panic!("{late:?}") };
    assert!(why.contains("`sleep 600` over SSH did not end") && why.contains("connect: "), "{why}");
}

#[tokio::test]
async fn a_dropped_command_cuts_its_connection_and_the_next_one_runs() {
    let server = Server::start();
    let mut shell = server.shell("key");
    shell.open(soon()).await.unwrap();
    let mark = server.file("begun");
    let command = format!("touch {}; sleep 600", mark.display());
    tokio::select! {
        _ = shell.exec(&command, soon()) => panic!("it cannot end"),
        () = async { while !mark.exists() { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(shell.exec("echo next", soon()).await.unwrap().text(), "next");
}

#[tokio::test]
async fn a_stall_at_any_point_is_a_transport_error_that_says_where() {
    let server = Server::start();
    let stalled = async |bytes: usize| {
        server.set(Gate::Stall(bytes));
        match server.shell("key").open(Deadline::within(secs(1))).await {
            Ok(()) => None,
            Err(Trouble::Transport(why)) => Some(why),
            Err(other) => panic!("after {bytes} bytes: {other:?}"),
        }
    };
    let mut steps = Vec::new();
    let mut bytes = 0;
    // Further and further, until nothing is left to stall before the login is done.
    while let Some(why) = stalled(bytes).await {
        steps.push(why);
        assert!(bytes < 50_000, "it never got in: {steps:#?}");
        bytes = 2 * bytes + 10;
    }
    // And the last point at which it stalls, one byte short of the login.
    let mut early = 0;
    while bytes - early > 1 {
        let middle = (early + bytes) / 2;
        match stalled(middle).await {
            Some(why) => {
                early = middle;
                steps.push(why);
            }
            None => bytes = middle,
        }
    }
    assert!(steps[0].contains("no banner"), "{steps:#?}");
    assert!(steps[1].contains("key exchange"), "{steps:#?}");
    assert!(steps.last().unwrap().contains("authentication"), "{steps:#?}");
}

#[tokio::test]
async fn a_stall_in_mid_command_ends_at_the_deadline() {
    let server = Server::start();
    server.set(Gate::Stall(60_000));
    let mut shell = server.shell("key");
    let flood = shell.exec("cat /dev/zero", Deadline::within(secs(3))).await;
    assert!(matches!(&flood, Err(Trouble::Unmet(_))), "{flood:?}");
}

#[tokio::test]
async fn an_endless_flood_is_an_error_that_says_so() {
    let server = Server::start();
    let flood = server.shell("key").exec("cat /dev/zero", soon()).await;
    assert!(matches!(&flood, Err(Trouble::Rack(why)) if why.contains("16 MiB")), "{flood:?}");
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for() {
    let server = Server::start();
    server.set(Gate::Close);
    let mut shell = server.shell("key");
    let opened = async {
        shell.open(soon()).await.unwrap();
        shell.exec("echo up", soon()).await.unwrap().text()
    };
    let comes = async {
        while server.seen.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        server.set(Gate::Open);
    };
    assert_eq!(tokio::join!(opened, comes).0, "up");
}

#[tokio::test]
async fn a_refused_key_is_the_products_and_a_missing_one_the_hosts() {
    let server = Server::start();
    let refused = server.shell("stranger").open(soon()).await.unwrap_err();
    let Trouble::Product(why) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("refused") && why.contains("stranger"), "{why}");
    let missing = server.shell("no-such-key").open(soon()).await.unwrap_err();
    assert!(matches!(&missing, Trouble::Rack(why) if why.contains("no-such-key")), "{missing:?}");
    let bad = server.shell("config").open(soon()).await.unwrap_err();
    assert!(matches!(&bad, Trouble::Rack(why) if why.contains("config")), "{bad:?}");
}

#[tokio::test]
async fn nobody_there_is_a_transport_error() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = SshTarget { address, user: "root".into(), key: None, password: None };
    let refused = SshShell::new(target).open(Deadline::within(secs(1))).await.unwrap_err();
    let Trouble::Transport(why) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("connect") && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let server = Server::start();
    let mut shell = server.shell("key");
    shell.open(soon()).await.unwrap();
    server.last.lock().unwrap().take().unwrap().shutdown(Shutdown::Both).unwrap();
    assert_eq!(shell.exec("echo back", soon()).await.unwrap().text(), "back");
}

#[tokio::test]
async fn a_port_of_the_board_is_reached_through_the_connection() {
    let server = Server::start();
    let mut shell = server.shell("key");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap();
    // More than a window comes back, and only when the whole question is there.
    let serving = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut question = [0; 5];
        client.read_exact(&mut question).unwrap();
        client.write_all(&[question[4]; 600_000]).unwrap();
    });
    let answer = shell.dial(port, b"12345", soon()).await.unwrap();
    serving.join().unwrap();
    assert_eq!((answer.len(), answer[599_999]), (600_000, b'5'));
    // Nobody listens any more: the product's, and the connection is as good as before.
    let refused = shell.dial(port, b"12345", soon()).await.unwrap_err();
    assert!(
        matches!(&refused, Trouble::Product(why) if why.contains("no connection")),
        "{refused:?}"
    );
    assert_eq!(shell.exec("echo still", soon()).await.unwrap().text(), "still");
}
