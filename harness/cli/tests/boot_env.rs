//! One of the two copies of the boot environment is torn or stale: the board boots the slot that
//! the other copy names, whichever of the two it is, on every architecture and on a board whose boot
//! chain is its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{demo, demo_for, hil, run};

/// One copy of the A/B state, read out of the demo image's boot partition.
fn copy_of(image: &Path, name: &str, to: &Path) -> Vec<u8> {
    let listed = Command::new("sfdisk").arg("-J").arg(image.join("disk.img")).output().unwrap();
    let table: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let boot = partitions.iter().find(|p| p["name"] == "boot").unwrap();
    let offset = boot["start"].as_u64().unwrap() * 512;
    let target = to.join(name);
    let status = Command::new("mcopy")
        .args(["-n", "-i", &format!("{}@@{offset}", image.join("disk.img").display())])
        .arg(format!("::{name}"))
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success(), "no {name} in the boot partition");
    fs::read(target).unwrap()
}

/// CRC-32 as in ISO 3309, which U-Boot's environment uses.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// A valid copy, newer than what is there, that prefers slot B; or an older one.
fn preferring_b(copy: &[u8], board: &str, newer: bool) -> Vec<u8> {
    let mut copy = copy.to_vec();
    let order = copy.windows(14).position(|w| w == b"BOOT_ORDER=A B").unwrap();
    copy[order..order + 14].copy_from_slice(b"BOOT_ORDER=B A");
    if board == "qemu-x86_64" {
        let text = String::from_utf8(copy).unwrap();
        let old = text.lines().find_map(|l| l.strip_prefix("seq=")).unwrap().to_string();
        let number: u32 = old.parse().unwrap();
        let new = if newer { number + 5 } else { number - 5 }.to_string();
        let text = text.replace(&format!("seq={old}"), &format!("seq={new}"));
        let text = text.replace(&format!("end={old}"), &format!("end={new}"));
        assert!(text.contains(&format!("seq={new}")) && text.contains(&format!("end={new}")));
        return text.into_bytes();
    }
    copy[4] = if newer { copy[4].wrapping_add(5) } else { copy[4].wrapping_sub(5) };
    let crc = crc32(&copy[5..]);
    copy[..4].copy_from_slice(&crc.to_le_bytes());
    copy
}

/// The first half of a copy's write reached the disk, the rest is what was there before: noise.
fn torn(copy: &[u8]) -> Vec<u8> {
    let mut copy = copy.to_vec();
    for (at, byte) in copy.iter_mut().enumerate().skip(40) {
        *byte = (at as u8).wrapping_mul(37);
    }
    copy
}

/// Boots with these two copies in place; whether `slot` came up.
fn boots(board: &str, image: &Path, copies: [(&str, &[u8]); 2], slot: &str, console_says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(image.join("image.toml")).unwrap();
    let mut manifest = manifest.replace("first   = \"A\"", &format!("first   = \"{slot}\""));
    for (name, bytes) in copies {
        fs::write(dir.path().join(name), bytes).unwrap();
        manifest +=
            &format!("\n[[inject]]\npartition = \"boot\"\npath = \"{name}\"\nfile = \"{name}\"\n");
    }
    for entry in fs::read_dir(image).unwrap().flatten() {
        if entry.file_name() != "image.toml" {
            std::os::unix::fs::symlink(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    fs::write(dir.path().join("image.toml"), manifest).unwrap();
    let out: PathBuf = dir.path().join("o");
    let ended = run(hil()
        .args(["run", "--board", board, "--case", "boot/slot-as-built"])
        .args(["--require", "boot/*", "--image"])
        .arg(dir.path())
        .arg("--out")
        .arg(&out));
    let console = fs::read_to_string(out.join(board).join("console.log")).unwrap_or_default();
    let told: Vec<&str> = console.lines().filter(|line| line.contains("hil: ")).collect();
    assert_eq!(ended.code, Some(0), "{board}: {told:#?}\n{}", ended.said);
    assert!(told.iter().any(|line| line.contains(console_says)), "{console_says}: {told:#?}");
}

fn survives(board: &str, image: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let a = copy_of(image, "a.env", dir.path());
    let b = copy_of(image, "b.env", dir.path());
    // Torn: the other copy decides, though it prefers another slot than the image as built.
    let b_says_b = preferring_b(&b, board, true);
    boots(board, image, [("a.env", &torn(&a)), ("b.env", &b_says_b)], "B", "env a bad");
    let a_says_b = preferring_b(&a, board, true);
    boots(board, image, [("a.env", &a_says_b), ("b.env", &torn(&b))], "B", "env b bad");
    // Stale: a copy that is valid and prefers B, but older, is outvoted by the newer one.
    let old = preferring_b(&a, board, false);
    boots(board, image, [("a.env", &old), ("b.env", &b)], "A", "booting slot A");
    let old = preferring_b(&b, board, false);
    boots(board, image, [("a.env", &a), ("b.env", &old)], "A", "booting slot A");
}

#[test]
fn x86_64_survives_a_bad_copy() {
    survives("qemu-x86_64", &demo("x86_64", "mini"));
}

#[test]
fn aarch64_survives_a_bad_copy() {
    survives("qemu-aarch64", &demo("aarch64", "mini"));
}

#[test]
fn arm_survives_a_bad_copy() {
    survives("qemu-arm", &demo("arm", "mini"));
}

/// The same script under another U-Boot, from an SD card whose partition table was moved.
#[test]
fn cubieboard_survives_a_bad_copy() {
    survives("qemu-cubieboard", &demo_for("arm", "mini", Some("cubieboard")));
}
