//! Local serial ports, with ptys for UARTs: what goes through, who may have it, and what becomes
//! of a line that is unplugged. What no pty has (counters, modem lines) is in the units' tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod serial;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hil_lab::serial::tty::Tty;
use hil_lab::serial::{ConsoleSpec, Flow};
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex};
use serial::{Board, board, content, expect, send, until};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn every_byte_goes_both_ways() {
    let board = board();
    let mut line = Tty::new(&board.port).open(115_200).await.unwrap();
    let bytes = content(1 << 20);
    let (from_board, to_board) = (bytes.clone(), bytes.clone());
    let mut master = board.master.try_clone().unwrap();
    let writer = std::thread::spawn(move || master.write_all(&from_board).unwrap());
    expect(&mut line, &bytes).await;
    writer.join().unwrap();
    let mut master = board.master.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; to_board.len()];
        master.read_exact(&mut got).unwrap();
        got == to_board
    });
    send(&mut line, &bytes).await;
    assert!(reader.join().unwrap(), "the board got other bytes");
}

#[tokio::test]
async fn the_port_is_set_up_as_asked() {
    let board = board();
    for (baud, flow) in [(9600, Flow::None), (3_000_000, Flow::Hardware), (250_000, Flow::None)] {
        let tty = Tty { flow, ..Tty::new(&board.port) };
        let line = tty.open(baud).await.unwrap();
        let set = board.settings();
        assert_eq!((set.output_speed(), set.input_speed()), (baud, baud));
        let mode = set.control_modes;
        assert_eq!(mode & ControlModes::CSIZE, ControlModes::CS8);
        assert!(mode.contains(ControlModes::CREAD | ControlModes::CLOCAL));
        assert!(
            !mode.intersects(ControlModes::PARENB | ControlModes::CSTOPB | ControlModes::HUPCL)
        );
        assert_eq!(mode.contains(ControlModes::CRTSCTS), flow == Flow::Hardware);
        let line_editing = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        assert!(!set.local_modes.intersects(line_editing));
        assert!(!set.input_modes.intersects(InputModes::ICRNL | InputModes::IXON));
        assert!(!set.output_modes.contains(OutputModes::OPOST));
        assert_eq!(set.special_codes[SpecialCodeIndex::VMIN], 1);
        drop(line);
    }
}

#[tokio::test]
async fn a_board_of_the_lab_file_may_have_a_rate_of_its_own() {
    let board = board();
    let tty = Tty { baud: Some(1_500_000), ..Tty::new(&board.port) };
    let spec = ConsoleSpec::Tty(tty);
    assert!(spec.label(115_200).ends_with("at 1500000"), "{}", spec.label(115_200));
    let _line = spec.open(115_200).await.unwrap();
    assert_eq!(board.settings().output_speed(), 1_500_000);
}

#[tokio::test]
async fn a_port_belongs_to_one_and_the_other_is_told_who_has_it() {
    let board = board();
    let line = Tty::new(&board.port).open(115_200).await.unwrap();
    let error = Tty::new(&board.port).open(9600).await.err().unwrap().to_string();
    assert!(error.contains("somebody holds it"), "{error}");
    assert_eq!(board.settings().output_speed(), 115_200, "the second one changed the rate");
    drop(line);

    let script = "echo locked; exec sleep 600";
    let mut child = Command::new("flock")
        .arg("--no-fork")
        .arg(&board.port)
        .args(["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut locked = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut locked).unwrap();
    let error = Tty::new(&board.port).open(9600).await.err().unwrap().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    let holds = format!("process {} (`", child.id());
    assert!(error.contains(&holds) && error.contains("`) holds it"), "{error}");
    // And it is free again.
    Tty::new(&board.port).open(9600).await.unwrap();
}

/// Gives a port a name of its own, as udev does; it may be one that led elsewhere.
fn plug_in(board: &Board, name: &Path) {
    let new = name.with_extension("new");
    std::os::unix::fs::symlink(&board.port, &new).unwrap();
    std::fs::rename(&new, name).unwrap();
}

#[tokio::test]
async fn an_unplugged_port_is_told_and_goes_on_where_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("by-path-usb-0:1.2");
    let first = board();
    plug_in(&first, &name);
    let mut line = Tty::new(&name).open(115_200).await.unwrap();
    (&first.master).write_all(b"before").unwrap();
    expect(&mut line, b"before").await;

    std::fs::remove_file(&name).unwrap();
    let device = first.port.clone();
    drop(first);
    let health = until(&mut line, |health| health.gone.is_some()).await;
    let gone = health.gone.unwrap();
    assert!(gone.contains("was unplugged") && gone.contains("by-path-usb"), "{gone}");
    assert_eq!(health.replugs, 0);
    // The dead file is let go of: nothing is left that could be read in circles.
    let held = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = held.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let deleted = format!("{} (deleted)", device.display());
    assert!(!held.into_iter().any(|to| to == device || to.to_string_lossy() == deleted));

    let error = line.stream.write_all(b"to whom?").await.unwrap_err().to_string();
    assert!(error.contains("was unplugged"), "{error}");

    let second = board();
    plug_in(&second, &name);
    // What the board says before the port is open again is not thrown away.
    (&second.master).write_all(b"back").unwrap();
    expect(&mut line, b"back").await;
    let health = line.health.borrow().clone();
    assert_eq!((health.replugs, health.gone), (1, None));
    assert_eq!(second.settings().output_speed(), 115_200);
    send(&mut line, b"hello").await;
    let mut got = [0; 5];
    (&second.master).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn who_took_the_port_meanwhile_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("port");
    let first = board();
    plug_in(&first, &name);
    let mut line = Tty::new(&name).open(115_200).await.unwrap();
    let second = board();
    let thief = Tty::new(&second.port).open(115_200).await.unwrap();
    plug_in(&second, &name);
    drop(first);
    let is = |health: &hil_lab::serial::Health| {
        health.gone.as_ref().is_some_and(|why| why.contains("somebody holds it"))
    };
    until(&mut line, is).await;
    drop(thief);
    until(&mut line, |health| health.gone.is_none() && health.replugs == 1).await;
}

#[tokio::test]
async fn bytes_of_an_earlier_session_are_not_this_ones() {
    let board = board();
    // A pty keeps what nobody reads only while somebody has it open.
    let _open = std::fs::File::open(&board.port).unwrap();
    (&board.master).write_all(b"stale").unwrap();
    let mut line = Tty::new(&board.port).open(115_200).await.unwrap();
    (&board.master).write_all(b"fresh").unwrap();
    expect(&mut line, b"fresh").await;
}

#[tokio::test]
async fn what_is_no_port_is_told_so() {
    let missing = Tty::new("/dev/serial/by-path/not-there").open(9600).await.err().unwrap();
    assert!(missing.to_string().contains("there is no port /dev/serial"), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), Path::new("/dev/null")] {
        let other = Tty::new(path).open(9600).await.err().unwrap().to_string();
        assert!(other.contains("it is no serial port"), "{other}");
    }
}
