//! The demo OS on every architecture: all suites pass, and the image is as it was before.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{demo, hil, junit, run};

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_string()
}

fn promised(dir: &Path) -> String {
    let manifest = fs::read_to_string(dir.join("image.toml")).unwrap();
    let disk = manifest.split("[disk]").nth(1).unwrap();
    disk.split("sha256 = \"").nth(1).unwrap()[..64].to_string()
}

/// Enough of containers and limits to know that a real engine runs; the suites whole take longer
/// than all other tests.
const SMOKE: &[&str] = &[
    "containers/engine-ready",
    "containers/engine-as-built",
    "containers/offline-image-runs",
    "containers/exit-codes",
    "containers/logs-kept",
    "containers/published-port",
    "limits/memory",
];

/// Runs on both variants; every case that could be planned must have passed.
fn passes_everything(arch: &str) {
    let out = tempfile::tempdir().unwrap();
    let board = format!("qemu-{arch}");
    let (mini, full) = (demo(arch, "mini"), demo(arch, "full"));
    let ended = run(hil()
        .args(["run", "--board", &board, "--require", "*", "--case", "boot/*"])
        .args(SMOKE.iter().flat_map(|case| ["--case", case]))
        .args(["--write-log", "--image"])
        .arg(&mini)
        .arg("--image")
        .arg(&full)
        .arg("--out")
        .arg(out.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);

    let dir = out.path().join(&board);
    let console = fs::read_to_string(dir.join("console.log")).unwrap();
    assert!(console.contains("hil: booting slot A"), "no slot was chosen on the console");
    let loader = if arch == "x86_64" { "GRUB" } else { "U-Boot 20" };
    let engine = "demo-os: dockerd ";
    for mark in [loader, "systemd", engine, "variant=mini", "variant=full"] {
        assert!(console.contains(mark), "no `{mark}` on the console");
    }
    assert!(dir.join("events.jsonl").exists() && dir.join("junit.xml").exists());
    for log in ["writes-1.log", "writes-2.log"] {
        assert!(fs::metadata(dir.join(log)).unwrap().len() > 1000, "{log} is empty");
    }
    let merged = junit(out.path());
    for case in ["offline-image-runs", "no-failed-units", "reboot-comes-back"] {
        assert!(merged.contains(&format!("name=\"{case}\"")), "no {case} in the merged JUnit");
    }
    assert!(!merged.contains("<skipped"), "something was skipped:\n{merged}");
    for image in [mini, full] {
        assert_eq!(sha256(&image.join("disk.img")), promised(&image), "the image was written to");
    }
}

#[test]
fn x86_64_passes_everything() {
    passes_everything("x86_64");
}

#[test]
fn aarch64_passes_everything() {
    passes_everything("aarch64");
}

#[test]
fn arm_passes_everything() {
    passes_everything("arm");
}
