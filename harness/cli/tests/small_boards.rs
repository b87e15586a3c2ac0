//! Boards that are copies of real ones: a kernel with its device tree comes up on each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;

use common::{example, hil, run};

/// Boots the example kernel on a board whose console has this name.
fn comes_up(board: &str, console: &str) {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(example("arm")).unwrap().flatten() {
        std::os::unix::fs::symlink(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let manifest = fs::read_to_string(dir.path().join("image.toml")).unwrap();
    fs::remove_file(dir.path().join("image.toml")).unwrap();
    let manifest = manifest.replace("console=ttyAMA0", &format!("console={console}"));
    fs::write(dir.path().join("image.toml"), manifest).unwrap();
    let ended = run(hil()
        .args(["run", "--board", board, "--case", "boot/stages*", "--case", "boot/console*"])
        .args(["--require", "boot/*", "--image"])
        .arg(dir.path())
        .arg("--out")
        .arg(dir.path().join("o")));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn the_example_passes_every_suite_as_its_readme_runs_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hil();
    command.args(["run", "--board", "qemu-aarch64", "--image"]).arg(example("aarch64"));
    let ended = run(command.arg("--out").arg(dir.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let passed = |line: &str| line.contains("boot/reboot-comes-back ") && line.contains(" pass ");
    assert!(ended.out.lines().any(passed), "{}", ended.out);
}

#[test]
fn vexpress_a9_comes_up() {
    comes_up("qemu-vexpress-a9", "ttyAMA0");
}

#[test]
fn cubieboard_comes_up() {
    comes_up("qemu-cubieboard", "ttyS0");
}

#[test]
fn orangepi_pc_comes_up() {
    comes_up("qemu-orangepi-pc", "ttyS0");
}

#[test]
fn an_image_for_another_kind_of_boot_is_refused_before_anything_boots() {
    let image = common::demo("aarch64", "mini");
    let dir = tempfile::tempdir().unwrap();
    let mut command = hil();
    command.args(["run", "--board", "qemu-raspberrypi3", "--image"]).arg(image);
    let ended = run(command.arg("--out").arg(dir.path().join("o")));
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("cannot start from [boot.firmware]"), "{}", ended.said);
    assert!(!dir.path().join("o").exists());
}
