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
    let (emulated, physical) = ended.said.split_once("\nphysical ").unwrap();
    assert!(emulated.contains("QEMU Raspberry Pi 2B") && !emulated.contains("\nbeaglebone "));
    assert!(physical.contains("\nbeaglebone ") && !physical.contains("\nqemu-"), "{physical}");
    let ended = run(hil().args(["boards", "--explain", "qemu-arm"]).current_dir(dir.path()));
    assert!(ended.said.contains("machine      virt-arm - "), "{}", ended.said);
}

#[test]
fn a_physical_board_is_explained_to_whoever_wires_it() {
    let ended = run(hil().args(["boards", "--explain", "artik530"]));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    for told in [
        "artik530 - Samsung ARTIK 530\n",
        "hil never ran on one",
        "\nbalena type  artik530\n",
        "\nconsole      ttyAMA3, 115200 baud\n",
        "\n  bootloader U-Boot 20\\d\\d\n",
        "\n  countdown  Hit any key to stop autoboot\n  stopped by \" \"\n",
        "\nSD card      first: set SW402 to 1:off 2:off 3:off 4:on",
        "\n             at U-Boot's prompt: ums 0 mmc 0\n",
        "\n             then write the block device that appears\n",
        "\nsources      https://",
        "\nfile         boards/artik530.toml\n",
    ] {
        assert!(ended.said.contains(told), "no `{told}` in:\n{}", ended.said);
    }
    let ended = run(hil().args(["boards", "--explain", "cubieboard"]));
    assert!(ended.said.contains("\nemulated by  qemu-cubieboard\n"), "{}", ended.said);
    let ended = run(hil().args(["boards", "--explain", "imx8mm-evk"]));
    let step = "\n             on the host: uuu -b emmc_all {bootloader} {image}\n";
    assert!(ended.said.contains(step), "{}", ended.said);
    let ended = run(hil().args(["boards", "--explain", "beaglbone"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.contains("did you mean `beaglebone`?"), "{}", ended.said);
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
    let args = ["run", "--board", "qemu-arm", "--suite", "boot"];
    let args = [&args[..], &["--case", "containers/*", "--image", &image]].concat();
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
fn an_image_in_place_of_its_manifest_is_told_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    std::fs::File::create(&disk).unwrap().set_len(3 << 30).unwrap();
    let ended = run(hil().args(["plan", "--board", "qemu-aarch64", "--image"]).arg(&disk));
    assert_eq!(ended.code, Some(2));
    assert!(ended.said.len() < 1000, "it quotes the disk");
    assert!(ended.said.contains("no image's manifest: it has 3221225472 bytes"), "{}", ended.said);
    assert!(ended.said.contains("give the path of an image.toml"), "{}", ended.said);
}

#[test]
fn an_image_for_no_board_is_a_slip_although_another_fits() {
    let (arm, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fits = manifest(arm.path(), "");
    let stray = manifest(other.path(), "");
    let text = fs::read_to_string(&stray).unwrap();
    fs::write(&stray, text.replace("\"arm\"", "\"x86_64\"")).unwrap();
    let plan = |boards: &[&str]| {
        let boards = boards.iter().flat_map(|board| ["--board", board]);
        run(hil().arg("plan").args(boards).args(["--image", &fits, "--image", &stray]))
    };
    let ended = plan(&["qemu-arm"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains(&format!("{stray} is for x86_64, and no board is")));
    assert!(ended.said.contains("`qemu-arm` is arm"), "{}", ended.said);
    assert_eq!(plan(&["qemu-arm", "qemu-x86_64"]).code, Some(0));
}

#[test]
fn no_boards_at_once_is_no_run() {
    for jobs in ["0", "-1", "many"] {
        let ended = run(hil().args(["run", "--board", "qemu-arm", &format!("--jobs={jobs}")]));
        assert_eq!(ended.code, Some(2), "{}", ended.said);
        assert!(ended.said.contains("give a number from 1 on"), "{}", ended.said);
    }
}

#[test]
fn a_plan_tells_which_cases_lack_an_image_to_load() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |more: &str| {
        let image = manifest(dir.path(), &format!("[login]\n[engine.docker]\n{more}"));
        let args = ["plan", "--board", "qemu-arm", "--suite", "containers", "--image", &image];
        run(hil().args(args)).out
    };
    let without = plan("");
    assert!(without.contains("    containers/engine-ready\n"), "{without}");
    for case in ["offline-image-runs", "exit-codes", "logs-kept"] {
        let skip = format!("skip containers/{case}: needs offline-image: no offline_image in");
        assert!(without.contains(&skip), "{without}");
    }
    let with = plan("offline_image = { path = \"/b.tar\", tag = \"b:1\" }\n");
    assert!(with.contains("    containers/logs-kept\n"), "{with}");
    let set_up = "skip containers/engine-as-built: needs engine-setup: no storage_driver";
    assert!(with.contains(set_up), "{with}");
}

/// A Yocto build for `virt` of which only the `qemuboot.conf` is there, with `more` lines in it.
fn yocto(dir: &std::path::Path, disk: &str, more: &str) -> String {
    let conf = format!(
        "[config_bsp]\nqb_system_name = qemu-system-aarch64\nqb_machine = -machine virt\n{more}"
    );
    fs::write(dir.join("x.qemuboot.conf"), conf).unwrap();
    fs::File::create(dir.join(disk)).unwrap().set_len(1 << 20).unwrap();
    let file = dir.join("image.toml");
    let text = format!(
        "name = \"x\"\narch = \"aarch64\"\n[disk]\nfile = \"{disk}\"\n[boot.qemuboot]\n\
         file = \"x.qemuboot.conf\"\n"
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_string()
}

#[test]
fn what_a_qemuboot_conf_promises_and_is_not_there_is_told_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = "qb_default_kernel = Image\n";
    let refused = |image: &str, wanted: &[&str]| {
        for words in [&["plan"][..], &["run", "--out", "o"]] {
            let mut command = hil();
            command.args(words).args(["--board", "qemu-aarch64", "--image", image]);
            let ended = run(command.current_dir(dir.path()));
            assert_eq!(ended.code, Some(2), "{}", ended.said);
            for word in wanted {
                assert!(ended.said.contains(word), "no `{word}` in:\n{}", ended.said);
            }
            assert!(!dir.path().join("o").exists());
        }
    };
    let image = yocto(dir.path(), "x.ext4", kernel);
    refused(&image, &["x.qemuboot.conf:4:21: there is no file", "/Image"]);
    fs::write(dir.path().join("Image"), "no header").unwrap();
    let image = yocto(dir.path(), "x.ext4", &format!("{kernel}qb_dtb = virt.dtb\n"));
    refused(&image, &["x.qemuboot.conf:5:10: there is no file", "/virt.dtb"]);
    let image = yocto(dir.path(), "x.wic", &format!("{kernel}qb_default_bios = u-boot.bin\n"));
    refused(&image, &["x.qemuboot.conf:5:19: there is no file", "/u-boot.bin"]);
    let image = yocto(dir.path(), "x.ext4", &format!("{kernel}qb_mem = -m lots\n"));
    refused(&image, &["x.qemuboot.conf:5:10: ", "is no amount of memory"]);
    let image = yocto(dir.path(), "x.ext4", kernel);
    let conf = dir.path().join("x.qemuboot.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("system-aarch64", "system-arm")).unwrap();
    refused(&image, &["x.qemuboot.conf:2:18: the build is for arm"]);
    fs::remove_file(&conf).unwrap();
    refused(&image, &["image.toml:6:8: cannot read", "x.qemuboot.conf"]);
}

#[test]
fn a_wic_that_nothing_on_the_machine_can_boot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Image"), "no header").unwrap();
    fs::write(dir.path().join("u-boot.bin"), "no header").unwrap();
    let kernel = "qb_default_kernel = Image\n";
    let plan = |disk: &str, more: &str| {
        let image = yocto(dir.path(), disk, &format!("{kernel}{more}"));
        run(hil().args(["plan", "--board", "qemu-aarch64", "--image", &image]))
    };
    let ended = plan("x.wic", "");
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    let why = "nothing on board `qemu-aarch64` can boot this build";
    assert!(ended.said.contains(why) && ended.said.contains("image.toml:5:"), "{}", ended.said);
    assert!(ended.said.contains("QB_DEFAULT_BIOS = \"u-boot.bin\""), "{}", ended.said);
    for (disk, more) in [
        ("x.ext4", ""),
        ("x.wic", "qb_default_bios = u-boot.bin\n"),
        ("x.wic", "qb_fsinfo = wic:no-kernel-in-fs\n"),
    ] {
        let ended = plan(disk, more);
        assert_eq!(ended.code, Some(0), "{disk} {more}: {}", ended.said);
    }
}

#[test]
fn what_a_qemuboot_conf_names_is_part_of_the_images_digest() {
    let dir = tempfile::tempdir().unwrap();
    let image = yocto(dir.path(), "x.ext4", "qb_default_kernel = Image\n");
    let plan = |kernel: &str| {
        fs::write(dir.path().join("Image"), kernel).unwrap();
        let ended = run(hil().args(["plan", "--board", "qemu-aarch64", "--image", &image]));
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        ended.out
    };
    let (one, other) = (plan("one kernel"), plan("another kernel"));
    assert_ne!(one, other);
    assert_eq!(one, plan("one kernel"));
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
fn an_image_that_is_larger_than_its_envelopes_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "[disk]\nfile = \"disk.img\"\n");
    fs::File::create(dir.path().join("disk.img")).unwrap().set_len(200 << 20).unwrap();
    let words = ["run", "--board", "qemu-arm", "--envelope", "disk=128M", "--image", &image];
    let ended = run(hil().args(words));
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("image.toml has 200 MiB"), "{}", ended.said);
    assert!(ended.said.contains("give at least disk=200M"), "{}", ended.said);
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

#[test]
fn a_glob_that_matches_no_case_at_all_is_a_slip() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "");
    let plan = |words: &[&str]| {
        run(hil().args(["plan", "--board", "qemu-arm", "--image", &image]).args(words))
    };
    let ended = plan(&["--require", "contianers/*"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("--require 'contianers/*' matches no case"), "{}", ended.said);
    assert!(ended.said.contains("did you mean `containers/*`?"), "{}", ended.said);
    let ended = plan(&["--case", "boot/*", "--case", "boot/stages-in-ordre"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("did you mean `boot/stages-in-order`?"), "{}", ended.said);
    // A suite that is not chosen is known all the same.
    let ended = plan(&["--suite", "boot", "--require", "containers/*"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn an_expected_failure_that_cannot_happen_or_says_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = manifest(dir.path(), "");
    let file = dir.path().join("expected.toml");
    let plan = |glob: &str, reason: &str, link: &str| {
        let text =
            format!("[[case]]\nmatch = \"{glob}\"\nreason = \"{reason}\"\nlink = \"{link}\"\n");
        fs::write(&file, text).unwrap();
        let args = ["plan", "--board", "qemu-arm", "--image", &image, "--expected"];
        run(hil().args(args).arg(&file))
    };
    // One file serves the runs of many boards.
    for glob in ["qemu-arm/boot/*", "qemu-aarch64/boot/*", "*/boot/stages-in-order"] {
        assert_eq!(plan(glob, "slow", "issue 7").code, Some(0), "{glob}");
    }
    let ended = plan("qemu-amr/boot/*", "slow", "issue 7");
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("expected.toml: match 'qemu-amr/boot/*'"), "{}", ended.said);
    assert!(ended.said.contains("did you mean `qemu-arm/boot/*`?"), "{}", ended.said);
    for (key, ended) in [("reason", plan("*", " ", "issue 7")), ("link", plan("*", "slow", ""))] {
        assert_eq!(ended.code, Some(2), "{}", ended.said);
        let why = format!("expected.toml: the case '*' has an empty `{key}`");
        assert!(ended.said.contains(&why), "{}", ended.said);
    }
}

#[test]
fn output_that_is_lost_is_told_and_a_reader_who_left_is_not() {
    for words in [&["schema", "board"][..], &["suites"], &["boards"], &["completions", "bash"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = common::ended(
            hil().args(words).stdout(full).stderr(std::process::Stdio::piped()).output().unwrap(),
        );
        assert_eq!(ended.code, Some(69), "{words:?}: {}", ended.said);
        assert!(ended.said.contains("failed to write to stdout: No space left"), "{}", ended.said);

        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let ended = common::ended(hil().args(words).stdout(writer).output().unwrap());
        assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn a_planted_builder_of_demo_images_is_not_executed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    // A copy, because the real builder is above the one that cargo built.
    let hil = dir.path().join("hil");
    fs::copy(env!("CARGO_BIN_EXE_hil"), &hil).unwrap();
    let tree = dir.path().join("tree");
    let below = tree.join("a/b");
    fs::create_dir_all(&below).unwrap();
    fs::create_dir_all(tree.join("fixtures/demo-os")).unwrap();
    let script = "#!/bin/sh\ntouch \"${0%/fixtures/*}/executed\"\nexit 1\n";
    fs::write(tree.join("fixtures/demo-os/build"), script).unwrap();
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let plan = || {
        let mut command = std::process::Command::new(&hil);
        command.args(["plan", "--board", "qemu-arm"]).current_dir(&below);
        run(command.env("XDG_CACHE_HOME", dir.path().join("cache")))
    };
    let executed = || tree.join("executed").exists();
    let all = ["", "fixtures", "fixtures/demo-os", "fixtures/demo-os/build"];
    for open in all {
        all.iter().for_each(|path| mode(path, 0o755));
        mode(open, 0o757);
        let ended = plan();
        assert_eq!((ended.code, executed()), (Some(2), false), "`{open}`: {}", ended.said);
        assert!(ended.said.contains("can be written by everybody"), "{}", ended.said);
    }
    all.iter().for_each(|path| mode(path, 0o755));
    let ended = plan();
    assert_eq!((ended.code, executed()), (Some(69), true), "{}", ended.said);
}

#[test]
fn doctor_warns_of_one_missing_emulator_and_objects_to_none_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let doctor = || run(hil().arg("doctor").env("PATH", dir.path()));
    let ended = doctor();
    assert_eq!(ended.code, Some(69), "{}", ended.said);
    assert!(ended.said.contains("PROBLEM  x86_64: failed to find"), "{}", ended.said);
    assert!(ended.said.contains("fix: apt install qemu-system-x86\n"), "{}", ended.said);
    assert!(ended.said.contains("fix: apt install qemu-system-arm\n"), "{}", ended.said);

    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|folder| folder.join("qemu-system-arm"));
    let real = real.into_iter().find(|file| file.exists()).unwrap();
    std::os::unix::fs::symlink(real, dir.path().join("qemu-system-arm")).unwrap();
    let ended = doctor();
    assert!(ended.said.contains("ok       arm: "), "{}", ended.said);
    assert!(ended.said.contains("warning  x86_64: no emulator"), "{}", ended.said);
    assert!(!ended.said.contains("PROBLEM  x86_64"), "{}", ended.said);
}
