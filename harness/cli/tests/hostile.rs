//! Guests that flood, say nothing, print garbage or lie: a clear verdict, a whole report, nothing
//! left running, and bounded memory.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Ended, example_doing, hil, junit, run};

const BOARD: &str = "qemu-aarch64";

/// Runs the case that needs no shell on the example doing `what`.
fn boot(dir: &Path, what: &str, manifest: &str) -> Ended {
    let image = example_doing(dir, "aarch64", what, manifest);
    let mut command = hil();
    command.args(["run", "--board", BOARD, "--case", "boot/stages-in-order", "--image"]);
    run(command.arg(image).arg("--out").arg(dir.join("o")).current_dir(dir))
}

/// A board that gives up on a boot sooner than the shipped one, so that tests need not wait.
fn hasty_boards(dir: &Path, seconds: u32) {
    let boards = dir.join("boards");
    fs::create_dir(&boards).unwrap();
    let shipped = common::root().join(format!("boards/{BOARD}.toml"));
    let text = fs::read_to_string(shipped).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("boot_deadline_s")).collect();
    // Before the first table, where the board's own keys stand; TCG multiplies by ten.
    let tables = lines.iter().position(|line| line.starts_with('[')).unwrap();
    let (own, rest) = lines.split_at(tables);
    let text = format!("{}\nboot_deadline_s = {seconds}\n{}\n", own.join("\n"), rest.join("\n"));
    fs::write(boards.join(format!("{BOARD}.toml")), text).unwrap();
}

/// The same file through two parsers that know nothing of each other.
fn parsed_by_two(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    assert!(document.descendants().any(|node| node.has_tag_name("testcase")));
    let xmllint = Command::new("xmllint").arg("--noout").arg(file).output();
    let output = xmllint.expect("xmllint (package libxml2-utils) must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_console_full_of_hostile_bytes_yields_a_junit_that_parses() {
    let dir = tempfile::tempdir().unwrap();
    hasty_boards(dir.path(), 2);
    // The mark never comes, so the report quotes the console with all that is in it.
    let ended = boot(dir.path(), "noise", "[stages]\nready = \"never printed\"\n");
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let out = dir.path().join("o");
    let junit = junit(&out);
    assert!(junit.contains("noise done"), "the console is not quoted:\n{junit}");
    parsed_by_two(&out.join("junit.xml"));
    parsed_by_two(&out.join(BOARD).join("junit.xml"));
    let raw = fs::read(out.join(BOARD).join("console.raw")).unwrap();
    for bytes in [b"\x1b[31m".as_slice(), b"\0", b"\x07", b"]]>", b"\xff\xfe", b"\xef\xbf\xbe"] {
        assert!(
            raw.windows(bytes.len()).any(|w| w == bytes),
            "{bytes:?} was lost from the raw log"
        );
    }
}

#[test]
fn a_silent_guest_fails_at_its_deadline_and_says_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    hasty_boards(dir.path(), 2);
    let marks = "[stages]\nuserspace = \"example: userspace\"\nready = \"never printed\"\n";
    let ended = boot(dir.path(), "silent", marks);
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let junit = junit(&dir.path().join("o"));
    assert!(junit.contains("ready was not reached"), "{junit}");
    assert!(junit.contains("the last stage seen: userspace"), "{junit}");
    let events = common::events(&dir.path().join("o"), BOARD);
    let power =
        events.iter().find_map(|event| event["what"]["session-started"]["power"].as_str()).unwrap();
    let version = power.strip_prefix("QEMU ").unwrap_or_else(|| panic!("no version in {power}"));
    assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{power}");
}

/// Runs hil to its good end; the most memory that it ever had, in kB.
fn peak_of(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: 0 kB");
        peak = peak.max(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(peak > 0, "the run was too short to be measured");
    peak
}

fn flooding(dir: &Path, what: &str) -> Command {
    let image = example_doing(dir, "aarch64", what, "[stages]\nready = \"flood done\"\n");
    let mut command = hil();
    command.args(["run", "--board", BOARD, "--accel", "tcg", "--case", "boot/stages-in-order"]);
    command.arg("--image").arg(image).arg("--out").arg(dir.join("o"));
    command
}

/// A real guest's flood. Its UART costs the emulator an exit a byte, a few hundred kB a second:
/// 8 MiB take half a minute where nothing else runs. A gigabyte is the next test's.
#[test]
fn a_flood_is_drained_and_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let peak = peak_of(&mut flooding(dir.path(), "flood=8192"));
    let raw = fs::metadata(dir.path().join("o").join(BOARD).join("console.raw")).unwrap().len();
    assert!(raw > 8 << 20, "only {raw} bytes of an 8 MiB flood were captured");
    assert!(peak < 64 * 1024, "hil grew to {peak} kB");
}

#[test]
fn a_gigabyte_is_drained_keeps_head_and_tail_and_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    // An emulator that floods at the speed of hil; hil itself is all that is real here.
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let script = common::root().join("harness/cli/tests/common/flood.py");
    std::os::unix::fs::symlink(script, bin.join("qemu-system-aarch64")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = flooding(dir.path(), "");
    let peak = peak_of(command.env("PATH", path).env("FLOOD_MIB", "1024"));
    assert!(peak < 64 * 1024, "hil grew to {peak} kB");
    let out = dir.path().join("o").join(BOARD);
    let mut kept: Vec<(u64, std::path::PathBuf)> = fs::read_dir(&out)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter_map(|path| {
            let rest = path.file_name()?.to_str()?.strip_prefix("console.raw")?;
            let from = if rest.is_empty() { 0 } else { rest.strip_prefix('.')?.parse().ok()? };
            Some((from, path))
        })
        .collect();
    kept.sort();
    let sum: u64 = kept.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert!((128 << 20..257 << 20).contains(&sum), "{sum} bytes of a gigabyte were kept");
    assert!(fs::read(&kept[0].1).unwrap().starts_with(b"the head\r\n"));
    let (from, last) = kept.last().unwrap();
    let last = fs::read(last).unwrap();
    assert!(last.ends_with(b"flood done\r\n"));
    let flood = (1 << 20) / 64 * 64 * 1024;
    assert_eq!(from + last.len() as u64, 10 + flood + 12, "bytes were lost on the way");
}

#[test]
fn a_forged_ready_mark_makes_nothing_ready() {
    let dir = tempfile::tempdir().unwrap();
    hasty_boards(dir.path(), 3);
    // The kernel prints its command line, and so the mark, long before any user space; the login
    // that the manifest promises never comes.
    let manifest = "[stages]\nready = \"hil.do=silent\"\n[login]\nuser = \"root\"\n";
    let ended = boot(dir.path(), "silent", manifest);
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let junit = junit(&dir.path().join("o"));
    assert!(junit.contains("ready mark seen, but console login"), "{junit}");
}

#[test]
fn an_image_that_promises_ssh_and_has_none_is_at_fault_itself() {
    let dir = tempfile::tempdir().unwrap();
    hasty_boards(dir.path(), 3);
    let manifest = "[stages]\nready = \"example ready\"\n[login]\nshell = \"# $\"\n\
                    [ssh]\nuser = \"root\"\npassword = \"x\"\n";
    let ended = boot(dir.path(), "", manifest);
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let junit = junit(&dir.path().join("o"));
    assert!(junit.contains("no SSH server runs"), "{junit}");
}

#[test]
fn no_space_for_the_layer_is_the_racks_trouble() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("disk.img")).unwrap().set_len(8 << 20).unwrap();
    let manifest = "[disk]\nfile = \"disk.img\"\n[stages]\nready = \"written\"\n";
    let image = example_doing(dir.path(), "aarch64", "write", manifest);
    // Files of this process may not grow beyond 1 MiB: what a full disk is, without needing root.
    let words = format!(
        "ulimit -f 1024; trap '' XFSZ; exec '{}' run --board {BOARD} --case boot/stages-in-order \
         --image '{}' --out '{}'",
        env!("CARGO_BIN_EXE_hil"),
        image.display(),
        dir.path().join("o").display()
    );
    let ended = run(Command::new("bash").args(["-c", &words]));
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let junit = junit(&dir.path().join("o"));
    assert!(junit.contains("no space for it"), "{junit}");
    assert!(!junit.contains("<failure"), "{junit}");
}

#[test]
fn a_secret_appears_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    // The kernel prints its command line, so the guest says the secret on its console.
    let manifest =
        "[stages]\nready = \"example ready\"\n[secrets]\nmark = { env = \"HIL_TEST_MARK\" }\n";
    let image = example_doing(dir.path(), "aarch64", " top.secret=correct-horse-battery", manifest);
    let out = dir.path().join("o");
    let mut command = hil();
    command.args(["run", "--board", BOARD, "--case", "boot/stages-in-order", "--image"]);
    command.arg(image).arg("--out").arg(&out).env("HIL_TEST_MARK", "correct-horse-battery");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(!ended.said.contains("correct-horse"), "{}", ended.said);
    let mut looked_at = 0;
    for file in [out.clone(), out.join(BOARD)].iter().flat_map(|d| fs::read_dir(d).unwrap()) {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("correct-horse"), "the secret is in {}", path.display());
            looked_at += usize::from(text.contains("top.secret="));
        }
    }
    assert!(looked_at > 0, "the guest never printed it, so nothing was tested");
}
