//! The PDUDaemon driver against the real daemon, whose own driver writes into a file, and against
//! what goes wrong.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use super::peers::{Peer, device, fails, nobody, on, silent, simulators, switch};

struct Daemon {
    _peer: Peer,
    files: tempfile::TempDir,
    address: String,
}

fn daemon(listener: &str) -> Option<Daemon> {
    let python = simulators()?;
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("switched");
    fs::write(&log, "").unwrap();
    // pdudaemon names no port that it chose itself.
    let address = nobody();
    let port = address.rsplit_once(':').unwrap().1;
    let line = |word: &str| format!("echo %s {word} >> '{}'", log.display());
    let config = serde_json::json!({
        "daemon": { "hostname": "127.0.0.1", "port": port.parse::<u16>().unwrap(),
                    "logging_level": "INFO", "listener": listener },
        "pdus": {
            "rack 1": { "driver": "localcmdline", "cmd_on": line("on"), "cmd_off": line("off") },
            "rack2": { "driver": "localcmdline", "cmd_on": line("on"), "cmd_off": line("off") },
            "broken": { "driver": "localcmdline", "cmd_on": "%d %d", "cmd_off": "%d %d",
                        "retries": 1, "retrydelay": 0 },
        },
    });
    let path = files.path().join("pdudaemon.conf");
    fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(python.with_file_name("pdudaemon"));
    let peer = Peer::start(command.arg("--conf").arg(&path).current_dir(files.path()));
    // `… - pdud.http - INFO Listening on …`: the time stands before it.
    peer.holding(&format!("istening on 127.0.0.1:{port}"));
    wait_for_port(&address);
    Some(Daemon { _peer: peer, files, address })
}

/// The TCP listener says that it listens just before it does.
fn wait_for_port(address: &str) {
    let begun = std::time::Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < super::peers::WAIT, "nothing listens at {address}");
        std::thread::yield_now();
    }
}

impl Daemon {
    fn switched(&self) -> String {
        let log: PathBuf = self.files.path().join("switched");
        fs::read_to_string(log).unwrap()
    }
}

#[test]
fn the_http_listener_switches() {
    let Some(daemon) = daemon("http") else { return };
    let address = &daemon.address;
    let mut port =
        switch(&format!("pdudaemon = {{ address = '{address}', pdu = 'rack 1', port = 4 }}"));
    port.set(true).unwrap();
    port.set(false).unwrap();
    assert_eq!(daemon.switched(), "4 on\n4 off\n");
    assert_eq!(port.get().unwrap(), None);

    let at = |pdu: &str| {
        switch(&format!("pdudaemon = {{ address = '{address}', pdu = '{pdu}', port = 1 }}"))
    };
    let why = fails(at("rack9"), on);
    assert!(why.contains("does its configuration have a PDU `rack9`?"), "{why}");
    assert!(fails(at("broken"), on).contains("failed to do it"));
    assert_eq!(daemon.switched(), "4 on\n4 off\n");
}

#[test]
fn the_tcp_listener_switches() {
    let Some(daemon) = daemon("tcp") else { return };
    let address = &daemon.address;
    let at = |pdu: &str, listener: &str| {
        switch(&format!(
            "pdudaemon = {{ address = '{address}', pdu = '{pdu}', port = 11, {listener} }}"
        ))
    };
    let tcp = "listener = 'tcp'";
    let mut port = at("rack2", tcp);
    port.set(true).unwrap();
    port.set(false).unwrap();
    assert_eq!(daemon.switched(), "11 on\n11 off\n");
    assert!(fails(at("rack9", tcp), on).contains("have a PDU `rack9`?"));
    assert!(fails(at("rack 1", tcp), on).contains("`pdu` has a space"));
    // The other listener's word, spoken to this one.
    let why = fails(at("rack2", "listener = 'http'"), on);
    assert!(why.contains("does not speak HTTP"), "{why}");
    assert_eq!(daemon.switched(), "11 on\n11 off\n");
}

#[test]
fn faults_are_told() {
    for listener in ["http", "tcp"] {
        let at = |address: String| {
            switch(&format!(
                "pdudaemon = {{ address = '{address}', pdu = 'p', port = 1, \
                 listener = '{listener}' }}"
            ))
        };
        assert!(fails(at(nobody()), on).contains("connection refused"), "{listener}");
        assert!(fails(at(silent()), on).contains("no answer in time"), "{listener}");
        let web = device(|mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        });
        let why = fails(at(web), on);
        let wanted = if listener == "http" { "expected `OK`, got `hello`" } else { "speaks HTTP" };
        assert!(why.contains(wanted), "{listener}: {why}");
    }
}
