//! U-Boot over a console: a real one under QEMU, with and without a noisy line, and one of air for
//! what a real one does not do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hil_console::uboot::{Said, UBootConsole};
use hil_console::{Capture, CaptureOptions};
use hil_core::board::UBoot;
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::stage::StageMarks;
use hil_core::trouble::Trouble;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{UnixListener, UnixStream};

const FIRMWARE: &str = "/usr/lib/u-boot/qemu_arm/u-boot.bin";

/// Where this machine has memory that U-Boot does not use.
const MEMORY: u64 = 0x4020_0000;

/// A U-Boot in an emulator; it ends with the test.
struct Machine {
    emulator: Child,
    capture: Arc<Capture>,
    uboot: UBootConsole,
    dir: tempfile::TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

fn soon() -> Deadline {
    Deadline::within(secs(60))
}

fn capture(dir: &Path) -> Arc<Capture> {
    let (marks, options) = (StageMarks::default(), CaptureOptions::default());
    Capture::open(dir, Clock::new(), &marks, Masker::default(), options).unwrap()
}

/// The machine at its power-on, or none where it cannot be made. Every `noise` bytes of output
/// somebody else writes to the console; 0 for never.
async fn machine(noise: usize) -> Option<Machine> {
    let emulated = Command::new("qemu-system-arm").arg("--version").output().is_ok();
    if !emulated || !Path::new(FIRMWARE).exists() {
        let required = ["HIL_TEST_REQUIRE", "CI"].iter().any(|key| std::env::var_os(key).is_some());
        let why = "qemu-system-arm or u-boot-qemu is not installed: run ci/setup";
        assert!(!required, "not skipped here: {why}");
        eprintln!("SKIPPED: {why}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("serial");
    let listener = UnixListener::bind(&socket).unwrap();
    let emulator = Command::new("qemu-system-arm")
        .args(["-M", "virt", "-m", "128", "-display", "none", "-monitor", "none"])
        .args(["-bios", FIRMWARE, "-serial", "chardev:serial", "-chardev"])
        .arg(format!("socket,id=serial,path={}", socket.display()))
        .args(["-device", "virtio-net-pci,netdev=net,romfile=", "-netdev"])
        .arg(format!("user,id=net,restrict=on,tftp={}", dir.path().display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (stream, _) = tokio::time::timeout(secs(30), listener.accept()).await.unwrap().unwrap();
    let capture = capture(&dir.path().join("log"));
    capture.attach(noisy(stream, noise)).await;
    let uboot = UBootConsole::new(capture.clone(), &UBoot::default()).unwrap();
    Some(Machine { emulator, capture, uboot, dir })
}

/// Passes a line on; every `every` bytes of output a message of another program stands in it.
fn noisy(line: UnixStream, every: usize) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (mut from_board, mut to_board) = line.into_split();
    let (mut from_test, mut to_test) = tokio::io::split(theirs);
    tokio::spawn(async move { tokio::io::copy(&mut from_test, &mut to_board).await });
    tokio::spawn(async move {
        let (mut buffer, mut count) = ([0; 256], 0);
        while let Ok(n @ 1..) = from_board.read(&mut buffer).await {
            for byte in &buffer[..n] {
                count += 1;
                let noise = every > 0 && count % every == 0;
                let text = if noise { "\r\nNOTICE:  BL31: noise\r\n" } else { "" };
                let mut bytes = vec![*byte];
                bytes.extend_from_slice(text.as_bytes());
                if to_test.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    });
    ours
}

fn said(status: i32, text: &str) -> Said {
    Said { status, text: text.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_back_with_their_output_and_status() {
    let Some(mut machine) = machine(0).await else { return };
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, soon()).await.unwrap();
    assert_eq!(uboot.command("echo one; echo two", soon()).await, Ok(said(0, "one\ntwo")));
    assert_eq!(uboot.command("false", soon()).await, Ok(said(1, "")));
    assert_eq!(uboot.command("echo '=> '; true;", soon()).await, Ok(said(0, "=> ")));
    assert_eq!(uboot.command("if true; then echo x; fi", soon()).await, Ok(said(0, "x")));
    let unknown = uboot.run("nosuch thing", soon()).await.unwrap_err().to_string();
    assert!(unknown.contains("status 1") && unknown.contains("Unknown command"), "{unknown}");
    let version = uboot.run("version", soon()).await.unwrap();
    assert!(version.contains("U-Boot 20") && version.contains("GNU ld"), "{version}");
    // Much output, and a line of nearly the length this U-Boot takes.
    let all = uboot.run("printenv", soon()).await.unwrap();
    assert!(all.contains("bootcmd=") && all.contains("Environment size: "), "{all}");
    let long = "x".repeat(400);
    assert_eq!(uboot.run(&format!("echo {long}"), soon()).await.unwrap(), long);
    let longer = uboot.run(&format!("echo {}", "x".repeat(600)), soon()).await.unwrap_err();
    assert!(longer.to_string().contains("CONFIG_SYS_CBSIZE"), "{longer}");
    assert_eq!(uboot.run("echo still here", soon()).await.unwrap(), "still here");
    let two = uboot.command("echo a\necho b", soon()).await.unwrap_err();
    assert!(two.to_string().contains("not one line"), "{two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_set_exactly_and_go_with_a_reset() {
    let Some(mut machine) = machine(0).await else { return };
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, soon()).await.unwrap();
    for value in ["B A", "it's $x; \"q\" \\n \\\\ #", "run a; if b; then c; fi"] {
        uboot.setenv("BOOT_ORDER", value, soon()).await.unwrap();
        assert_eq!(uboot.getenv("BOOT_ORDER", soon()).await.unwrap().as_deref(), Some(value));
    }
    uboot.reset(soon()).await.unwrap();
    assert_eq!(uboot.getenv("BOOT_ORDER", soon()).await, Ok(None));
    uboot.setenv("BOOT_ORDER", "A", soon()).await.unwrap();
    uboot.setenv("BOOT_ORDER", "", soon()).await.unwrap();
    assert_eq!(uboot.getenv("BOOT_ORDER", soon()).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_is_told_from_a_prompt_that_comes_back() {
    let Some(mut machine) = machine(0).await else { return };
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, soon()).await.unwrap();
    // No kernel stands here; what would start one says so.
    let start = "echo Starting ker${slot}nel ...";
    let started = hil_console::uboot::STARTED;
    let failed = uboot.boot(&[("slot", "x")], start, started, soon()).await.unwrap_err();
    assert!(failed.to_string().contains("came back to the prompt"), "{failed}");
    let found = uboot.boot(&[("slot", "")], start, started, soon()).await.unwrap();
    assert_eq!(found.groups[1], "Starting kernel");
    // And afterwards it is found wherever it is.
    assert_eq!(uboot.run("echo back", soon()).await.unwrap(), "back");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_by_tftp_and_are_proved() {
    let Some(mut machine) = machine(0).await else { return };
    let payload: Vec<u8> =
        (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(machine.dir.path().join("uImage"), &payload).unwrap();
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, soon()).await.unwrap();
    uboot.dhcp(soon()).await.unwrap();
    assert_eq!(uboot.tftp(None, MEMORY, "uImage", soon()).await, Ok(300_000));
    uboot.holds(MEMORY, &payload, soon()).await.unwrap();
    let wrong = uboot.holds(MEMORY, &payload[1..], soon()).await.unwrap_err().to_string();
    assert!(wrong.contains("does not hold"), "{wrong}");
    let none = uboot.tftp(Some("10.0.2.2"), MEMORY, "nosuch", soon()).await.unwrap_err();
    assert!(matches!(&none, Trouble::Rack(why) if why.contains("File not found")), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_over_the_console_itself() {
    let Some(mut machine) = machine(0).await else { return };
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, soon()).await.unwrap();
    // Every byte, ESC, CR and the protocol's own among them; more packets than a number counts.
    let payload: Vec<u8> = (0..270_001_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let last = std::sync::Mutex::new((0, 0));
    let progress = |done, of| *last.lock().unwrap() = (done, of);
    uboot.ymodem(MEMORY, &payload, &progress, soon()).await.unwrap();
    assert_eq!(*last.lock().unwrap(), (270_001, 270_001));
    assert_eq!(uboot.run("echo $filesize", soon()).await.unwrap(), "41eb1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_line_costs_time_and_no_answer() {
    let Some(mut machine) = machine(211).await else { return };
    let uboot = &mut machine.uboot;
    uboot.interrupt(0, Deadline::within(secs(120))).await.unwrap();
    for n in 0..6 {
        let (value, deadline) = (format!("value {n}"), Deadline::within(secs(120)));
        let said = uboot.command(&format!("test {n} -lt 3"), deadline).await.unwrap();
        assert_eq!(said.status, i32::from(n >= 3));
        let line = format!("setenv slot '{value}'; test \"$slot\" = '{value}'");
        assert_eq!(uboot.command(&line, deadline).await.unwrap().status, 0);
    }
    let lines = machine.capture.read(0, 1 << 20).unwrap();
    assert!(String::from_utf8_lossy(&lines).matches("NOTICE:  BL31").count() > 5);
}

/// A board of air: what it says, and what it was sent.
async fn board_of_air(says: &'static str) -> (UBootConsole, DuplexStream, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let capture = capture(dir.path());
    let (ours, mut theirs) = tokio::io::duplex(64 << 10);
    capture.attach(ours).await;
    theirs.write_all(says.as_bytes()).await.unwrap();
    (UBootConsole::new(capture, &UBoot::default()).unwrap(), theirs, dir)
}

#[tokio::test]
async fn a_missed_countdown_is_told_at_once_with_the_last_lines() {
    let says = "U-Boot 2023.01\r\nHit any key to stop autoboot:  0 \r\n## Booting zImage\r\n\
                Starting kernel ...\r\n\r\n[    0.000000] Linux version 6.1\r\n";
    let (mut uboot, _line, _dir) = board_of_air(says).await;
    let missed = uboot.interrupt(0, Deadline::within(secs(600))).await.unwrap_err();
    let text = missed.to_string();
    assert!(matches!(missed, Trouble::Unmet(_)), "{text}");
    assert!(
        text.contains("a system starts already") && text.contains("countdown was seen"),
        "{text}"
    );
    assert!(text.contains("Starting kernel ... / [    0.000000] Linux version 6.1"), "{text}");
}

#[tokio::test]
async fn a_board_that_says_nothing_is_sent_nothing() {
    let (mut uboot, mut line, _dir) = board_of_air("").await;
    let silent = uboot.interrupt(0, Deadline::within(secs(1))).await.unwrap_err().to_string();
    assert!(silent.contains("interrupt U-Boot") && silent.contains("silent"), "{silent}");
    drop(uboot);
    let mut sent = Vec::new();
    let _ = tokio::time::timeout(secs(30), line.read_to_end(&mut sent)).await.unwrap();
    assert_eq!(sent, b"");
}

#[tokio::test]
async fn a_prompt_that_does_not_answer_is_no_prompt() {
    let (mut uboot, _line, _dir) = board_of_air("U-Boot 2023.01\r\n=> ").await;
    let dead = uboot.interrupt(0, Deadline::within(secs(3))).await.unwrap_err();
    assert!(matches!(&dead, Trouble::Unmet(_)), "{dead}");
}
