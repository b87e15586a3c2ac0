//! `hil envelope`: the least RAM with which a suite passes, found on real boards of as many sizes.

mod common;

use std::fs;

use common::{demo, hil, run};

/// Passes where the kernel has 130 MB for itself and all others, which a board of 128 MiB has not.
const SUITE: &str = "[[case]]\nname = \"enough\"\n\
    run = \"test $(sed -n 's/^MemTotal: *\\\\([0-9]*\\\\) kB/\\\\1/p' /proc/meminfo) -ge 130000\"\n";

#[test]
fn the_least_ram_is_searched_by_whole_runs() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("suites/ram");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("suite.toml"), SUITE).unwrap();
    let ended = run(hil()
        .args(["envelope", "--find", "ram", "--from", "128M", "--to", "256M", "--step", "64M"])
        .args(["--board", "qemu-aarch64", "--suite", "ram", "--require", "*", "--image"])
        .arg(demo("aarch64", "mini"))
        .arg("--out")
        .arg(dir.path().join("out"))
        .current_dir(dir.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let told = "it passes with 192 MiB and fails with 128 MiB (3 runs in steps of 64 MiB";
    assert!(ended.out.contains(told), "{}", ended.said);
    for line in ["ram=256M passes", "ram=192M passes", "ram=128M fails"] {
        assert!(ended.out.contains(line), "no `{line}`: {}", ended.said);
    }
}
