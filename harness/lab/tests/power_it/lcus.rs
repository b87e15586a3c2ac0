//! The LCUS driver on a pty: its frames, a board that answers and one that does not, two boards'
//! drivers on one port, and what goes wrong.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::peers::{Pty, WAIT, fails, get, on, plugged, pty, switch};

/// A relay board: tells each frame it gets, and answers queries with what it is given.
struct Board {
    port: String,
    frames: Receiver<Vec<u8>>,
    _held: std::fs::File,
}

fn board(answer: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Board {
    let Pty { mut device, port } = pty();
    let held = plugged(&port);
    let (tell, frames) = channel();
    thread::spawn(move || {
        let mut first = [0; 1];
        let mut asked = 0;
        while device.read_exact(&mut first).is_ok() {
            let mut frame = first.to_vec();
            if first[0] == 0xFF {
                let _ = device.write_all(&answer(asked));
                asked += 1;
            } else {
                frame.resize(4, 0);
                device.read_exact(&mut frame[1..]).unwrap();
            }
            if tell.send(frame).is_err() {
                break;
            }
        }
    });
    Board { port: port.display().to_string(), frames, _held: held }
}

impl Board {
    fn relay(&self, rest: &str) -> Box<dyn hil_lab::power::Switch> {
        switch(&format!("lcus = {{ port = '{}', {rest} }}", self.port))
    }

    fn frame(&self) -> Vec<u8> {
        self.frames.recv_timeout(WAIT).unwrap()
    }
}

#[test]
fn frames_reach_the_board() {
    let board = board(|_| Vec::new());
    let mut relay = board.relay("channel = 2");
    relay.set(true).unwrap();
    assert_eq!(board.frame(), [0xA0, 0x02, 0x01, 0xA3]);
    relay.set(false).unwrap();
    assert_eq!(board.frame(), [0xA0, 0x02, 0x00, 0xA2]);
    // It keeps silent when asked: such a model cannot tell. Unless it is known to.
    assert_eq!(relay.get().unwrap(), None);
    assert_eq!(board.frame(), [0xFF]);
    assert!(fails(board.relay("channel = 2, answers = true"), get).contains("nothing came back"));
    assert_eq!(board.frame(), [0xFF]);
    assert_eq!(board.relay("channel = 2, answers = false").get().unwrap(), None);
    relay.set(true).unwrap();
    assert_eq!(board.frame()[0], 0xA0, "a board that does not answer was asked");
}

#[test]
fn the_second_answer_counts() {
    // The first one is stale, as on boards that others saw.
    let board = board(|asked| {
        let first = if asked % 2 == 0 { "OFF" } else { "ON " };
        format!("CH1: {first}\r\nCH2: OFF\r\n").into_bytes()
    });
    assert_eq!(board.relay("channel = 1").get().unwrap(), Some(true));
    assert_eq!(board.relay("channel = 2").get().unwrap(), Some(false));
    let why = fails(board.relay("channel = 5"), get);
    assert!(why.contains("it has no channel 5, only 1, 2"), "{why}");
}

#[test]
fn garbage_is_told() {
    let garbage = board(|_| b"\x00\xfe\x12".to_vec());
    let why = fails(garbage.relay("channel = 1"), get);
    assert!(why.contains("expected lines like `CH1: ON`, got 00 FE 12"), "{why}");
    let torrent = board(|_| vec![b'U'; 3000]);
    assert!(fails(torrent.relay("channel = 1"), get).contains("is it a relay of the LCUS type?"));
    assert!(fails(torrent.relay("channel = 0"), on).contains("channels count from 1"));
}

#[test]
fn drivers_of_one_board_take_turns() {
    let board = board(|_| b"CH1: ON \r\nCH2: OFF\r\nCH3: ON \r\nCH4: OFF\r\n".to_vec());
    let drivers = (1..=4).map(|channel| {
        let mut relay = board.relay(&format!("channel = {channel}"));
        thread::spawn(move || {
            for turn in 0..10 {
                relay.set(turn % 2 == 0).unwrap();
                if turn == 5 {
                    assert_eq!(relay.get().unwrap(), Some(channel % 2 == 1));
                }
            }
        })
    });
    let drivers: Vec<_> = drivers.collect();
    for driver in drivers {
        driver.join().unwrap();
    }
    // No frame was torn by another's.
    let mut switched = 0;
    while switched < 40 {
        let frame = board.frame();
        if frame == [0xFF] {
            continue;
        }
        let sum = frame[..3].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!((frame[0], frame[3]), (0xA0, sum), "{frame:02X?}");
        switched += 1;
    }
}

#[test]
fn a_port_that_others_hold_is_told() {
    let board = board(|_| Vec::new());
    let held = plugged(std::path::Path::new(&board.port));
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let why = fails(board.relay("channel = 1"), on);
    assert!(why.contains("was held by") && why.contains("for all of 5.0 s: close it"), "{why}");
    drop(held);
    board.relay("channel = 1").set(true).unwrap();
    assert_eq!(board.frame(), [0xA0, 0x01, 0x01, 0xA2]);
}

#[test]
fn ports_that_are_none_are_told() {
    let at = |port: &str| switch(&format!("lcus = {{ port = '{port}', channel = 1 }}"));
    let why = fails(at("/dev/serial/by-path/absent"), on);
    assert!(
        why.starts_with("switch LCUS relay 1 on /dev/serial/by-path/absent on: there is no"),
        "{why}"
    );
    assert!(fails(at("/dev/null"), on).contains("/dev/null is not a serial port"));
    // Unplugged: the device's end has gone, in the middle of an answer.
    let Pty { mut device, port } = pty();
    let held = plugged(&port);
    thread::spawn(move || {
        let mut asked = [0; 1];
        let _ = device.read_exact(&mut asked);
        let _ = device.write_all(b"CH1");
    });
    let why = fails(at(&port.display().to_string()), get);
    assert!(why.contains("vanished") || why.contains("failed"), "{why}");
    drop(held);
}
