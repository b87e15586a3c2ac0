//! The demo image's builder: the same inputs give the same bytes, wherever they are built.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn two_builds_of_one_image_are_identical() {
    let first = common::demo("aarch64", "mini");
    let dir = tempfile::tempdir().unwrap();
    let second = dir.path().join("elsewhere");
    let built = Command::new(common::root().join("fixtures/demo-os/build"))
        .args(["--arch", "aarch64", "--variant", "mini", "--out"])
        .arg(&second)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for file in ["image.toml", "disk.img", "u-boot.bin", "packages.list"] {
        let (one, other) =
            (fs::read(first.join(file)).unwrap(), fs::read(second.join(file)).unwrap());
        assert!(one == other, "{file} differs between two builds");
    }
    // A bundle's salt and signature are new each time; what it installs is not.
    for bundle in ["good", "hangs"] {
        let payload = |image: &Path| {
            let file = image.join(format!("updates/{bundle}.raucb"));
            let mut unpack = Command::new("unsquashfs");
            let content = unpack.arg("-cat").arg(file).arg("manifest.raucm").output().unwrap();
            let manifest = String::from_utf8(content.stdout).unwrap();
            manifest.lines().find(|line| line.starts_with("sha256=")).unwrap().to_string()
        };
        assert_eq!(payload(&first), payload(&second), "{bundle} differs between two builds");
    }
}

#[test]
fn an_unknown_architecture_is_told() {
    let built = Command::new(common::root().join("fixtures/demo-os/build"))
        .args(["--arch", "mips", "--variant", "mini"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(!built.status.success() && said.contains("x86_64, aarch64"), "{said}");
}
