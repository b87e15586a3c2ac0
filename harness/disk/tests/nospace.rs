//! No space left for a layer: the guest gets an error, and the owner is told that it is the host's
//! fault. The process runs into a file size limit here, which needs no root; it is set on a child,
//! which is this test binary again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::client::Client;
use common::{Bench, DEADLINE};
use hil_disk::{DiskOptions, FaultKind, Server, ServerOptions};

const MIB: usize = 1 << 20;

/// Runs the ignored test below in a shell that first runs `prepare`.
fn run_child(shell: &mut Command, prepare: &str) {
    let script = format!(
        "{prepare}\nexec \"$0\" --exact child_runs_out_of_space --ignored --nocapture 2>&1"
    );
    let out = shell.args(["-c", &script]).arg(std::env::current_exe().unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}{out:?}");
}

/// Says aloud that this host cannot run a test; a failure where `HIL_TEST_REQUIRE` or `CI` is set.
fn skipped(why: &str) {
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let required = ["HIL_TEST_REQUIRE", "CI"].into_iter().find(set);
    assert!(required.is_none(), "{} is set, so it may not be skipped: {why}", required.unwrap());
    // Not `eprintln!`, which cargo's runner swallows; `.config/nextest.toml` has nextest show it.
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

#[test]
fn a_file_size_limit_is_told_to_guest_and_owner() {
    // 512-byte or 1024-byte units, as the shell has it: 2 or 4 MiB. An ignored SIGXFSZ makes the
    // write fail instead of ending the process.
    run_child(&mut Command::new("sh"), "trap '' XFSZ; ulimit -f 4096");
}

#[test]
fn a_full_file_system_is_told_to_guest_and_owner() {
    let mut probe = Command::new("unshare");
    let allowed = probe.args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return skipped("this host lets nobody mount a tmpfs in a namespace: ENOSPC not tried");
    }
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh"]);
    run_child(&mut shell, "mount -t tmpfs -o size=4m none /mnt && export TMPDIR=/mnt");
}

#[test]
#[ignore = "run by the other tests, with little space"]
fn child_runs_out_of_space() {
    let bench = Bench::new(MIB);
    let told = Arc::new(Mutex::new(None));
    let teller = told.clone();
    let options = DiskOptions {
        on_fault: Some(Box::new(move |fault| *teller.lock().unwrap() = Some(fault.clone()))),
        ..DiskOptions::default()
    };
    let disk = bench.disk(MIB, options);
    let path = bench.path().join("nbd.sock");
    let server = Server::start(path, disk.clone(), ServerOptions::default()).unwrap();
    let mut client = Client::connect(server.path());
    assert_eq!(disk.wait_fault(std::time::Duration::ZERO), None);
    let (mut errno, mut written) = (0, 0);
    while errno == 0 && written < 16 {
        errno = client.write(0, &vec![written as u8 + 1; MIB]);
        written += 1;
    }
    assert_eq!(errno, 28, "after {written} MiB");
    let fault = disk.wait_fault(DEADLINE).expect("the owner was not told");
    assert_eq!(Some(&fault), told.lock().unwrap().as_ref());
    assert_eq!(fault.kind, FaultKind::NoSpace);
    assert_eq!(fault.place, bench.path());
    let text = fault.to_string();
    assert!(text.contains("no space") && text.contains(&*bench.path().to_string_lossy()), "{text}");
    // The guest's disk still shows what was accepted, and the connection lives.
    assert_eq!(client.read(0, 512), [written as u8 - 1; 512]);
}
