//! The command line without a guest: what it answers to good and to wrong words and files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;

use common::{hil, run};

#[test]
fn help_teaches_and_names_the_exit_codes() {
    let ended = run(hil().arg("--help"));
    assert_eq!(ended.code, Some(0));
    for word in ["run", "plan", "boards", "doctor", "100", "130", "hil run --board qemu-aarch64"] {
        assert!(ended.said.contains(word), "no `{word}` in:\n{}", ended.said);
    }
}

#[test]
fn a_bare_type_is_the_physical_board() {
    let ended = run(hil().args(["run", "--board", "aarch64"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("its emulation is `qemu-aarch64`"), "{}", ended.said);
}

#[test]
fn a_misspelt_board_or_suite_is_suggested() {
    let ended = run(hil().args(["run", "--board", "qemu-aarch46"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("did you mean `qemu-aarch64`?"), "{}", ended.said);
    let ended = run(hil().args(["plan", "--board", "qemu-arm", "--suite", "bot"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("did you mean `boot`?"), "{}", ended.said);
}

#[test]
fn boards_are_listed_and_explained_outside_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(hil().arg("boards").current_dir(dir.path()));
    assert_eq!(ended.code, Some(0));
    for board in ["qemu-x86_64", "qemu-aarch64", "qemu-arm", "qemu-cubieboard"] {
        assert!(ended.said.contains(board), "no {board} in:\n{}", ended.said);
    }
    let ended = run(hil().args(["boards", "--explain", "qemu-arm"]).current_dir(dir.path()));
    assert!(ended.said.contains("machine:"), "{}", ended.said);
}

#[test]
fn a_board_of_the_users_is_one_toml() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("boards")).unwrap();
    let toml = "title = \"Mine\"\narch = \"arm\"\n[qemu]\nmachine = \"virt-arm\"\n";
    fs::write(dir.path().join("boards/qemu-mine.toml"), toml).unwrap();
    let ended = run(hil().arg("boards").current_dir(dir.path()));
    assert!(ended.said.contains("qemu-mine"), "{}", ended.said);

    let wrong = toml.replace("machine =", "machin =");
    fs::write(dir.path().join("boards/qemu-mine.toml"), wrong).unwrap();
    let ended = run(hil().arg("boards").current_dir(dir.path()));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("boards/qemu-mine.toml:4:1: unknown field"), "{}", ended.said);
    assert!(ended.said.contains("did you mean `machine`?"), "{}", ended.said);
}

/// A manifest that needs no file to be planned with, except the kernel it names.
fn manifest(dir: &std::path::Path, more: &str) -> String {
    fs::write(dir.join("kernel"), "no header").unwrap();
    let file = dir.join("image.toml");
    let text = format!("name = \"x\"\narch = \"arm\"\n[boot.kernel]\nfile = \"kernel\"\n{more}");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

#[test]
fn a_plan_shows_what_would_run_and_why_the_rest_would_not() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "[stages]\nready = \"up\"\n");
    let ended = run(hil().args(["plan", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("    boot/stages-in-order"), "{}", ended.said);
    assert!(ended.said.contains("skip boot/ssh-login: needs ssh: give [ssh]"), "{}", ended.said);
    let again = run(hil().args(["plan", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.out, again.out, "the same words gave another plan");
}

#[test]
fn an_empty_selection_has_an_exit_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "");
    let args = ["run", "--board", "qemu-arm", "--case", "nothing/*", "--image", &image];
    assert_eq!(run(hil().args(args).current_dir(dir.path())).code, Some(4));
}

#[test]
fn an_image_of_another_architecture_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "");
    let ended = run(hil().args(["run", "--board", "qemu-aarch64", "--image", &image]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("is for arm"), "{}", ended.said);
}

#[test]
fn a_kernel_of_another_architecture_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "");
    let mut kernel = vec![0; 4096];
    kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
    fs::write(dir.path().join("kernel"), kernel).unwrap();
    let ended = run(hil().args(["run", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("image.toml:4:8: "), "{}", ended.said);
    assert!(ended.said.contains("is a kernel for aarch64, not arm"), "{}", ended.said);
}

#[test]
fn a_truncated_disk_is_refused_before_anything_boots() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "[disk]\nfile = \"disk.img\"\n");
    let disk = dir.path().join("disk.img");
    fs::File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let mut sfdisk = std::process::Command::new("sfdisk")
        .arg("-q")
        .arg(&disk)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("sfdisk (package fdisk) must be installed");
    use std::io::Write;
    sfdisk.stdin.take().unwrap().write_all(b"label: gpt\nname=root\n").unwrap();
    assert!(sfdisk.wait().unwrap().success());
    fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(3 << 20).unwrap();
    let ended = run(hil().args(["run", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("the disk is cut short"), "{}", ended.said);
    assert!(ended.said.contains("image.toml:6:8: "), "{}", ended.said);
}

#[test]
fn a_disk_that_is_not_the_promised_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let zero = "0".repeat(64);
    let more = format!("[disk]\nfile = \"disk.img\"\nsha256 = \"{zero}\"\n");
    let image = manifest(dir.path(), &more);
    fs::write(dir.path().join("disk.img"), vec![7; 4096]).unwrap();
    let ended = run(hil().args(["run", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("image.toml:7:10: "), "{}", ended.said);
}

#[test]
fn a_missing_emulator_is_the_racks_trouble_and_names_the_package() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "[stages]\nready = \"up\"\n");
    let args = ["run", "--board", "qemu-arm", "--image", &image, "--out", "o"];
    let ended = run(hil().args(args).env("PATH", dir.path()).current_dir(dir.path()));
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.said.contains("qemu-system-arm"), "{}", ended.said);
    let junit = common::junit(&dir.path().join("o"));
    assert!(junit.contains("<error"), "{junit}");
    assert!(!junit.contains("<failure"), "{junit}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(hil().args(["completions", shell]));
        assert!(ended.code == Some(0) && ended.said.contains("doctor"), "{shell}");
    }
}

#[test]
fn an_unset_secret_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "[secrets]\nwifi = { env = \"HIL_NO_SUCH_VARIABLE\" }\n");
    let ended = run(hil().args(["plan", "--board", "qemu-arm", "--image", &image]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("the secret `wifi` needs the variable"), "{}", ended.said);
}

#[test]
fn a_report_of_nothing_says_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(hil().arg("report").arg(dir.path()));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("--out directory of a run"), "{}", ended.said);
}
