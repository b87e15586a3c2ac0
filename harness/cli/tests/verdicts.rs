//! Whose fault it is: a product that panics fails; an emulator that is killed breaks; and whatever
//! happens to hil, nothing is left running and the report is whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Background, alive, demo, ended, events, example_doing, hil, junit, run, wait_until};

fn boot(image: &Path, board: &str, out: &Path) -> Command {
    let mut command = hil();
    command.args(["run", "--board", board, "--suite", "boot", "--image"]).arg(image);
    command.arg("--out").arg(out);
    command
}

#[test]
fn a_kernel_that_panics_is_the_products_failure() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[stages]\nkernel = \"Linux version \"\nready = \"example ready\"\n";
    let image = example_doing(dir.path(), "x86_64", "panic", more);
    let out = dir.path().join("o");
    let ended = run(&mut boot(&image, "qemu-x86_64", &out));
    assert_eq!(ended.code, Some(100), "{}", ended.said);
    let junit = junit(&out);
    assert!(junit.contains("<failure"), "{junit}");
    assert!(junit.contains("Kernel panic - not syncing: sysrq triggered crash"), "{junit}");
    // One failure; the cases after it are skipped with the cause.
    assert_eq!(junit.matches("<failure").count(), 1, "{junit}");
    assert!(junit.contains("not run: "), "{junit}");
}

/// Starts the boot suite on demo-os and waits until its long last case is at work.
fn in_mid_case(out: &Path) -> Background {
    let mut command = boot(&demo("aarch64", "mini"), "qemu-aarch64", out);
    command.args(["--case", "boot/reboot-comes-back"]);
    let run = Background::start(&mut command);
    wait_until("a case has started", || {
        events(out, "qemu-aarch64").iter().any(|event| !event["what"]["case-started"].is_null())
    });
    run
}

#[test]
fn an_emulator_killed_from_outside_is_the_racks_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let run = in_mid_case(dir.path());
    let emulators = run.emulators();
    assert_eq!(emulators.len(), 1);
    common::signal(emulators[0], "KILL");
    let ended = run.ends();
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    let junit = junit(dir.path());
    assert!(junit.contains("<error") && junit.contains("SIGKILL"), "{junit}");
    assert!(!junit.contains("<failure"), "{junit}");
}

#[test]
fn killed_hil_leaves_nothing_and_its_report_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = in_mid_case(dir.path());
    let emulators = run.emulators();
    assert_eq!(emulators.len(), 1);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    let took = wait_until("the emulator is gone", || !alive(emulators[0]));
    assert!(took < Duration::from_secs(2), "the emulator lived on for {took:?}");

    let report = common::run(hil().arg("report").arg(dir.path()));
    assert_eq!(report.code, Some(69), "{}", report.said);
    let first = junit(dir.path());
    assert!(first.contains("name=\"reboot-comes-back\""), "{first}");
    assert!(first.contains("<error"), "{first}");
    let again = common::run(hil().arg("report").arg(dir.path()));
    assert_eq!((again.code, junit(dir.path())), (Some(69), first), "a second report differs");
}

#[test]
fn ctrl_c_once_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let run = in_mid_case(dir.path());
    let emulators = run.emulators();
    common::signal(run.child.id() as i32, "INT");
    let ended = run.ends();
    assert_eq!(ended.code, Some(130), "{}", ended.said);
    assert!(emulators.iter().all(|pid| !alive(*pid)), "an emulator is left");
    let junit = junit(dir.path());
    assert!(junit.contains("interrupted by the user"), "{junit}");
}

#[test]
fn a_failed_board_is_kept_until_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(demo("aarch64", "mini").join("image.toml")).unwrap();
    // A manifest that promises another version makes exactly one case fail.
    let (head, os) = manifest.split_once("[os]\n").unwrap();
    let other = format!("{head}[os]\n{}", os.replacen("\"1.0.0\"", "\"9.9.9\"", 1));
    let image = beside(dir.path(), &demo("aarch64", "mini"), &other);
    let out = dir.path().join("o");
    let mut command = boot(&image, "qemu-aarch64", &out);
    command.args(["--case", "boot/version-as-built", "--keep"]);
    let mut run = Background::start(&mut command);
    run.says("is kept alive");
    run.says("ssh ");
    assert!(run.emulators().iter().all(|pid| alive(*pid)) && !run.emulators().is_empty());
    let words = run.said.lines().find(|line| line.trim_start().starts_with("ssh ")).unwrap();
    let mut ssh: Vec<&str> = words.split_whitespace().collect();
    ssh.push("cat /etc/os-release");
    let output = ended(Command::new(ssh[0]).args(&ssh[1..]).output().unwrap());
    assert!(output.said.contains("VERSION_ID"), "{words}: {}", output.said);
    common::signal(run.child.id() as i32, "INT");
    let ended = run.ends();
    assert!(ended.code == Some(130) || ended.code == Some(100), "{:?}", ended.code);
    assert!(common::junit(&out).contains("9.9.9"));
}

/// A manifest in `dir` whose artefacts are those of the image in `from`.
fn beside(dir: &Path, from: &Path, manifest: &str) -> std::path::PathBuf {
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.file_name() != "image.toml" {
            std::os::unix::fs::symlink(entry.path(), dir.join(entry.file_name())).unwrap();
        }
    }
    fs::write(dir.join("image.toml"), manifest).unwrap();
    dir.join("image.toml")
}

#[test]
fn an_expected_failure_is_shown_and_does_not_fail_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(demo("aarch64", "mini").join("image.toml")).unwrap();
    let other = manifest.replace("[os]\nversion = \"1.0.0\"", "[os]\nversion = \"9.9.9\"");
    let image = beside(dir.path(), &demo("aarch64", "mini"), &other);
    let expected = dir.path().join("expected.toml");
    let text = "[[case]]\nmatch = \"qemu-aarch64/boot/version*\"\nreason = \"not bumped yet\"\n\
                link = \"issue 7\"\n";
    fs::write(&expected, text).unwrap();
    let out = dir.path().join("o");
    let mut command = boot(&image, "qemu-aarch64", &out);
    command.args(["--case", "boot/version-as-built", "--case", "boot/slot-as-built"]);
    let ended = run(command.arg("--expected").arg(&expected));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(junit(&out).contains("not bumped yet (issue 7)"));
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let runs: Vec<Background> = dirs
        .iter()
        .map(|dir| Background::start(&mut boot(&demo("x86_64", "mini"), "qemu-x86_64", dir.path())))
        .collect();
    for run in runs {
        let ended = run.ends();
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    }
    let first = common::run(
        boot(&demo("x86_64", "mini"), "qemu-x86_64", dirs[0].path())
            .arg("--case")
            .arg("boot/stages*"),
    );
    assert_eq!(first.code, Some(0), "the folder of a finished run cannot be used again");
}
