//! Modbus drivers against pymodbus, over TCP and a serial line, and against what goes wrong.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;

use super::peers::{
    Peer, Pty, device, fails, get, nobody, on, plugged, pty, script, silent, simulators, switch,
};

fn pymodbus(arguments: &[&str]) -> Option<(Peer, String)> {
    let mut command = Command::new(simulators()?);
    let peer = Peer::start(command.arg(script("pymodbus_server.py")).args(arguments));
    let port = peer.line("ready");
    Some((peer, port))
}

fn coils(peer: &mut Peer, unit: u8) -> String {
    peer.tell(&unit.to_string());
    peer.line("coils")
}

#[test]
fn tcp_switches_the_coil_that_pymodbus_sees() {
    let Some((mut peer, port)) = pymodbus(&["tcp"]) else { return };
    let mut relay = switch(&format!("modbus-tcp = {{ address = '127.0.0.1:{port}', coil = 3 }}"));
    assert_eq!(relay.get().unwrap(), Some(false));
    relay.set(true).unwrap();
    assert_eq!(coils(&mut peer, 1), "00010000");
    assert_eq!(relay.get().unwrap(), Some(true));
    relay.set(false).unwrap();
    assert_eq!((coils(&mut peer, 1).as_str(), relay.get().unwrap()), ("00000000", Some(false)));

    let mut other =
        switch(&format!("modbus-tcp = {{ address = '127.0.0.1:{port}', coil = 7, unit = 7 }}"));
    other.set(true).unwrap();
    assert_eq!(coils(&mut peer, 1), "00000000");
    assert_eq!(coils(&mut peer, 7), "00000001");
}

#[test]
fn tcp_tells_what_pymodbus_refuses() {
    let Some((mut peer, port)) = pymodbus(&["tcp"]) else { return };
    let at =
        |rest: &str| switch(&format!("modbus-tcp = {{ address = '127.0.0.1:{port}', {rest} }}"));
    let why = fails(at("coil = 16"), on);
    assert!(why.starts_with("switch Modbus coil 16 of unit 1 at 127.0.0.1:"), "{why}");
    assert!(why.contains("it has no coil 16 (exception 2)"), "{why}");
    assert!(fails(at("coil = 99"), get).contains("no coil 99"));
    // What pymodbus says of a unit that is not there.
    let why = fails(at("coil = 1, unit = 9"), on);
    assert!(why.contains("the device itself is at fault"), "{why}");
    assert_eq!(coils(&mut peer, 1), "00000000");
}

#[test]
fn tcp_faults_are_told() {
    let to =
        |address: String| switch(&format!("modbus-tcp = {{ address = '{address}', coil = 0 }}"));
    assert!(fails(to(nobody()), on).contains("connection refused"));
    assert!(fails(to(silent()), on).contains("no answer in time"));
    let closes = device(drop);
    assert!(fails(to(closes), on).contains("closed the connection"));
    let web = device(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    assert!(fails(to(web), on).contains("does that port speak Modbus TCP?"));
    // A byte now and then does not stretch the patience.
    let drips = device(|mut stream| {
        while stream.write_all(&[0]).is_ok() {
            thread::sleep(std::time::Duration::from_millis(1500));
        }
    });
    assert!(fails(to(drips), on).contains("no answer in time"));
    let echoes = device(|mut stream| {
        let mut request = [0; 12];
        stream.read_exact(&mut request).unwrap();
        request[9] ^= 1;
        stream.write_all(&request).unwrap();
    });
    assert!(fails(to(echoes), on).contains("does not answer"));
}

/// Carries bytes between the driver's port and pymodbus's, as a cable does. What the driver sends
/// passes `change`.
fn cable(driver: Pty, server: Pty, change: impl Fn(&mut Vec<u8>) + Send + 'static) {
    let (mut from, mut to) =
        (driver.device.try_clone().unwrap(), server.device.try_clone().unwrap());
    let (mut back_from, mut back_to) = (server.device, driver.device);
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = from.read(&mut buffer) {
            let mut bytes = buffer[..count].to_vec();
            change(&mut bytes);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
    });
}

#[test]
fn rtu_switches_the_coil_that_pymodbus_sees() {
    let (driver, server) = (pty(), pty());
    let (port, server_port) = (driver.port.clone(), server.port.clone());
    let _held = plugged(&port);
    let Some((mut peer, _)) = pymodbus(&["rtu", server_port.to_str().unwrap()]) else { return };
    // The first frame is damaged on its way: the driver must ask again.
    let damaged = std::sync::atomic::AtomicBool::new(false);
    cable(driver, server, move |bytes| {
        if !damaged.swap(true, std::sync::atomic::Ordering::Relaxed) {
            bytes[2] ^= 0x40;
        }
    });
    let port = port.display();
    let mut relay = switch(&format!("modbus-rtu = {{ port = '{port}', coil = 5, unit = 7 }}"));
    relay.set(true).unwrap();
    assert_eq!(coils(&mut peer, 7), "00000100");
    assert_eq!(coils(&mut peer, 1), "00000000");
    assert_eq!(relay.get().unwrap(), Some(true));
    relay.set(false).unwrap();
    assert_eq!((coils(&mut peer, 7).as_str(), relay.get().unwrap()), ("00000000", Some(false)));

    let absent = switch(&format!("modbus-rtu = {{ port = '{port}', coil = 16 }}"));
    assert!(fails(absent, on).contains("no coil 16 (exception 2)"));
}

/// A device on a serial line that answers each frame of 8 bytes with what it is told.
fn unit(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> (std::fs::File, String) {
    let Pty { mut device, port } = pty();
    let held = plugged(&port);
    thread::spawn(move || {
        let mut frame = [0; 8];
        while device.read_exact(&mut frame).is_ok() {
            let _ = device.write_all(&answer(&frame));
        }
    });
    (held, port.display().to_string())
}

#[test]
fn rtu_faults_are_told() {
    let to = |port: &str| switch(&format!("modbus-rtu = {{ port = '{port}', coil = 0 }}"));
    let (_mute, port) = unit(|_| Vec::new());
    assert!(fails(to(&port), on).contains("nothing came back: are unit, baud rate"));
    let (_short, port) = unit(|frame| frame[..5].to_vec());
    let why = fails(to(&port), on);
    assert!(why.contains("only 01 05 00 00 FF came back"), "{why}");
    let (_noisy, port) = unit(|frame| {
        let mut answer = frame.to_vec();
        answer[6] ^= 0x10;
        answer
    });
    assert!(fails(to(&port), on).contains("whose CRC is wrong"));
    let (_torrent, port) = unit(|_| vec![0x55; 4000]);
    assert!(fails(to(&port), get).contains("CRC is wrong"));
    assert!(fails(to("/dev/serial/by-path/absent"), on).contains("there is no /dev/serial"));
}
