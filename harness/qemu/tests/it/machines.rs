//! Real machines in emulation: started, heard, measured, lost and ended.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use crate::guests::{A10_UART, Bench, LONG, VIRT_UART, hello_aarch64, hello_arm, raw_kernel, read};
use hil_core::trouble::Trouble;
use hil_core::verdict::Verdict;
use hil_qemu::{BootWith, Emulator, Loss, Qemu, QmpError};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

async fn lost(qemu: &Qemu) -> Loss {
    timeout(LONG, qemu.wait_gone()).await.expect("its loss was not noticed")
}

fn pid(qemu: &Qemu) -> Pid {
    Pid::from_raw(qemu.pid().try_into().unwrap()).unwrap()
}

#[tokio::test]
async fn the_console_has_the_first_byte_and_goes_both_ways() {
    let bench = Bench::echo();
    let mut started = bench.start().await.unwrap();
    assert_eq!(read(&mut started.console, 6).await, "hello\n");
    started.console.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut started.console, 4).await, "ping");
    assert!(started.qemu.label().ends_with("(tcg)"), "{}", started.qemu.label());
}

#[tokio::test]
async fn a_killed_machine_is_gone_is_no_loss_and_starts_again() {
    let bench = Bench::echo();
    for _ in 0..2 {
        let mut started = bench.start().await.unwrap();
        assert_eq!(read(&mut started.console, 6).await, "hello\n");
        let pid = pid(&started.qemu);
        assert!(test_kill_process(pid).is_ok());
        started.qemu.kill().await.unwrap();
        assert!(test_kill_process(pid).is_err(), "killed, but not reaped");
        // The watcher has all it needs; give it the chance to be wrong.
        let noticed = timeout(Duration::from_millis(50), started.qemu.wait_gone()).await;
        assert!(noticed.is_err(), "{noticed:?}");
    }
}

#[tokio::test]
async fn quit_ends_qemu_in_order() {
    let started = Bench::echo();
    let started = started.start().await.unwrap();
    let pid = pid(&started.qemu);
    started.qemu.quit(LONG).await.unwrap();
    assert!(test_kill_process(pid).is_err());
    assert!(started.qemu.loss().borrow().is_none());
}

#[tokio::test]
async fn a_kill_from_outside_is_a_broken_rack_and_names_the_signal() {
    let bench = Bench::echo();
    let started = bench.start().await.unwrap();
    kill_process(pid(&started.qemu), Signal::KILL).unwrap();
    let loss = lost(&started.qemu).await;
    assert_eq!(loss.to_string(), "qemu-system-x86_64 was killed by SIGKILL");
    assert!(!loss.by_guest());
    assert_eq!(Trouble::from(loss).verdict(), Verdict::Broken);
}

#[tokio::test]
async fn a_polite_signal_from_outside_is_told_in_qemus_words() {
    let bench = Bench::echo();
    let started = bench.start().await.unwrap();
    kill_process(pid(&started.qemu), Signal::TERM).unwrap();
    let said = lost(&started.qemu).await.to_string();
    assert!(said.contains("(host-signal)") && said.contains("terminating on signal 15"), "{said}");
}

#[tokio::test]
async fn a_guest_that_switches_itself_off_is_told_from_a_crash() {
    let bench = Bench::new("virt-aarch64", |folder| raw_kernel(folder, &hello_aarch64()));
    let mut started = bench.start().await.unwrap();
    assert_eq!(read(&mut started.console, 6).await, "hello\n");
    let loss = lost(&started.qemu).await;
    assert!(loss.by_guest(), "{loss}");
}

#[tokio::test]
async fn a_32_bit_arm_machine_runs() {
    let bench = Bench::new("virt-arm", |folder| raw_kernel(folder, &hello_arm(VIRT_UART)));
    let mut started = bench.start().await.unwrap();
    assert_eq!(read(&mut started.console, 6).await, "hello\n");
}

#[tokio::test]
async fn the_monitor_answers_refuses_and_tells() {
    let bench = Bench::echo();
    let started = bench.start().await.unwrap();
    let qmp = started.qemu.qmp();
    let status = qmp.execute("query-status", json!({}), LONG).await.unwrap();
    assert_eq!(status["status"], "running");
    let refused = qmp.execute("query-nonsense", json!({}), LONG).await;
    assert!(matches!(refused, Err(QmpError::Refused { .. })), "{refused:?}");
    let mut events = qmp.events();
    qmp.execute("stop", json!({}), LONG).await.unwrap();
    let event = timeout(LONG, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.name, "STOP");
}

#[tokio::test]
async fn forwarded_ports_differ_between_machines_and_are_open() {
    let (mut one, mut two) = (Bench::echo(), Bench::echo());
    one.spec.forwards = vec![22, 80];
    two.spec.forwards = vec![22];
    let (one, two) = tokio::join!(one.start(), two.start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let guests: Vec<u16> = one.qemu.forwards().iter().map(|forward| forward.guest).collect();
    assert_eq!(guests, [22, 80]);
    let mut hosts: Vec<u16> =
        one.qemu.forwards().iter().chain(two.qemu.forwards()).map(|forward| forward.host).collect();
    for port in &hosts {
        std::net::TcpStream::connect(("127.0.0.1", *port)).unwrap();
    }
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), 3, "{hosts:?}");
}

#[tokio::test]
async fn what_qemu_says_of_a_bad_property_is_quoted() {
    let mut bench = Bench::echo();
    bench.machine.machine = "q35,nonsense=on".into();
    let error = bench.start().await.unwrap_err().to_string();
    let told = error.contains("ended with status 1") && error.contains("nonsense' not found");
    assert!(told, "{error}");
}

#[tokio::test]
async fn a_disk_without_a_server_is_told() {
    let mut bench = Bench::echo();
    bench.spec.disks = vec![bench.run.file("nobody")];
    let error = bench.start().await.unwrap_err().to_string();
    assert!(error.contains("nobody") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn an_emulator_that_is_none_is_told() {
    let mut bench = Bench::echo();
    bench.emulator = Emulator { path: "/nonexistent/qemu-system-x86_64".into(), ..bench.emulator };
    let error = bench.start().await.unwrap_err().to_string();
    assert!(error.starts_with("start qemu-system-x86_64: No such file"), "{error}");
    bench.emulator = Emulator { path: "/bin/false".into(), ..bench.emulator };
    let error = bench.start().await.unwrap_err().to_string();
    assert!(error.ends_with("false ended with status 1: it said nothing"), "{error}");
}

#[tokio::test]
async fn an_emulator_that_hangs_is_given_up_and_killed() {
    let mut bench = Bench::echo();
    let note = bench.run.file("pid");
    let script = format!("#!/bin/sh\necho $$ > '{}'\nexec sleep 1000\n", note.display());
    let path = bench.file("qemu-system-x86_64", script.as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.emulator = Emulator { path, ..bench.emulator };
    bench.spec.patience = Duration::from_secs(2);
    let error = bench.start().await.unwrap_err().to_string();
    assert!(error.contains("opened no console within 2.0 s"), "{error}");
    let pid = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    let gone = async {
        while test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, gone).await.expect("it was left running");
}

/// `qemu-nbd` in the place of hil's own disk server.
struct NbdServer(Child);

impl NbdServer {
    fn serve(image: &PathBuf, socket: &PathBuf) -> NbdServer {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--format=raw", "--socket"]).arg(socket).arg(image);
        let server = NbdServer(command.spawn().expect("qemu-nbd is in Debian's qemu-utils"));
        let until = std::time::Instant::now() + LONG;
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(std::time::Instant::now() < until, "qemu-nbd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_card_served_over_nbd_boots_a_board_by_its_boot_rom() {
    let mut bench = Bench::new("cubieboard", |_| BootWith::Builtin);
    let mut card = vec![0; 1 << 20];
    let program = hello_arm(A10_UART);
    card[8192..8192 + program.len()].copy_from_slice(&program);
    let socket = bench.run.socket("disk0").unwrap();
    let _server = NbdServer::serve(&bench.file("card", &card), &socket);
    bench.spec.disks = vec![socket];
    let mut started = bench.start().await.unwrap();
    assert_eq!(read(&mut started.console, 6).await, "hello\n");
}

/// Boots from the disk, prints `!`, waits for a byte on the serial port, reads the next sector.
const DISK_READER: [u8; 34] = [
    0x52, //             push dx
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'!', //       mov al, '!'
    0xee, //             out dx, al
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, //       wait: in al, dx
    0xa8, 0x01, //       test al, 1
    0x74, 0xfb, //       jz wait
    0x31, 0xc0, //       xor ax, ax
    0x8e, 0xc0, //       mov es, ax
    0x5a, //             pop dx
    0xb6, 0x00, //       mov dh, 0
    0xb9, 0x02, 0x00, // mov cx, 2
    0xbb, 0x00, 0x7e, // mov bx, 0x7e00
    0xb8, 0x01, 0x02, // mov ax, 0x0201
    0xcd, 0x13, //       int 0x13
    0xf4, //             hlt
];

#[tokio::test]
async fn a_virtio_disk_served_over_nbd_boots_a_pc_and_its_loss_is_told() {
    let mut bench = Bench::new("q35-x86_64", |_| BootWith::Builtin);
    let mut disk = DISK_READER.to_vec();
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1 << 20, 0);
    let socket = bench.run.socket("disk0").unwrap();
    let server = NbdServer::serve(&bench.file("disk", &disk), &socket);
    bench.spec.disks = vec![socket];
    let mut started = bench.start().await.unwrap();
    assert_eq!(read(&mut started.console, 1).await, "!");
    // A disk server that goes is the rack's fault, and the guest must not be blamed for it.
    drop(server);
    started.console.write_all(b"x").await.unwrap();
    let loss = lost(&started.qemu).await;
    let Loss::Disk { device, operation, .. } = &loss else { panic!("{loss}") };
    assert_eq!((device.as_str(), operation.as_str()), ("disk0", "read"));
    assert_eq!(Trouble::from(loss).verdict(), Verdict::Broken);
}
