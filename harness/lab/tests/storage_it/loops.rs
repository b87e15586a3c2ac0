//! Real block devices: loop devices, where this host lets a test make some.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hil_lab::storage::guard::{Kernel, Target};
use hil_lab::storage::mux::{self, MuxSpec};
use hil_lab::storage::{Device, StorageSpec};

use crate::rig::{MIB, Rig, noise, on, read, run, skip};

/// A loop device over a card's file; let go of at the end.
struct Loop(PathBuf);

impl Loop {
    fn of(rig: &Rig, size: u64) -> Option<Loop> {
        let card = rig.card("card", size);
        let made = Command::new("losetup").args(["--show", "-f"]).arg(card).output();
        match made {
            Ok(output) if output.status.success() => {
                Some(Loop(String::from_utf8(output.stdout).unwrap().trim().into()))
            }
            // Root and a kernel with loop devices are more than set-up can install.
            _ => {
                eprintln!("SKIPPED: this host lets the test make no loop device");
                None
            }
        }
    }

    fn spec(&self) -> StorageSpec {
        StorageSpec { fixed: true, ..on(&self.0) }
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_written_zeroed_and_read_back() {
    let rig = Rig::new();
    let Some(device) = Loop::of(&rig, 32 * MIB) else { return };
    let data = noise(5 * MIB + 1000);
    rig.image(24 * MIB, &[(0, &data), (20 * MIB, &data[..4096])]);
    let inject = &mut |device: &Device| {
        let mut before = [0; 3];
        device.read_at(12 * MIB + 1, &mut before).unwrap();
        assert_eq!(before, [0; 3]);
        device.write_at(12 * MIB + 1, b"key").unwrap();
        let past = device.write_at(32 * MIB - 1, b"key").unwrap_err().to_string();
        assert!(past.contains("past the end"), "{past}");
        Ok(())
    };
    let done = rig.run_with(&device.spec(), None, &|_, _| (), inject).unwrap();
    let written = done.medium.unwrap().1;
    assert!(written.zeroed > 10 * MIB, "{written:?}");
    run("losetup", &["-d", device.name()]);
    let mut want = read(&rig.path("disk.img"));
    want[(12 * MIB + 1) as usize..][..3].copy_from_slice(b"key");
    let card = read(&rig.path("card"));
    assert!(card[..want.len()] == want, "the card differs from the image");
    assert!(card[want.len()..].iter().all(|byte| *byte == 0xee), "written past the image");
}

#[test]
fn a_loop_device_is_no_card_unless_the_lab_file_says_so() {
    let rig = Rig::new();
    let Some(device) = Loop::of(&rig, 8 * MIB) else { return };
    rig.image(MIB, &[(0, b"x")]);
    let error = rig.refused(&on(&device.0));
    assert!(error.contains("fixed disk") && error.contains(device.name()), "{error}");
}

#[test]
fn what_is_mounted_is_refused_by_the_guard_and_by_the_kernel() {
    let rig = Rig::new();
    let Some(device) = Loop::of(&rig, 16 * MIB) else { return };
    rig.image(MIB, &[(0, b"x")]);
    run("mke2fs", &["-q", "-F", device.name()]);
    let at = rig.path("mnt");
    fs::create_dir(&at).unwrap();
    let mounted = Command::new("mount").arg(&device.0).arg(&at).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this host lets the test mount nothing");
        return;
    }
    let error = rig.refused(&device.spec());
    // A mount that the guard does not see, as another container's, is refused by the kernel.
    let rdev = std::os::unix::fs::MetadataExt::rdev(&device.0.metadata().unwrap());
    let number = Some((rustix::fs::major(rdev), rustix::fs::minor(rdev)));
    let target = Target { path: device.0.clone(), number, size: 16 * MIB };
    let busy = Device::open(&target).map(drop).unwrap_err().to_string();
    run("umount", &[at.to_str().unwrap()]);
    assert!(error.contains("mounted at") && error.contains("mnt"), "{error}");
    assert!(busy.contains("in use"), "{busy}");
    assert!(Kernel::default().guard(&device.spec()).is_ok());
}

#[test]
fn a_disk_that_is_there_while_the_mux_has_the_card_elsewhere_is_another_disk() {
    let rig = Rig::new();
    let Some(device) = Loop::of(&rig, 8 * MIB) else { return };
    rig.image(MIB, &[(0, b"x")]);
    let tool = rig.tool("mux", "[ \"$1\" = get ] && echo dut; exit 0");
    let argv = |verb: &str| vec![tool.clone(), verb.to_string()];
    let (host, dut, get) = (argv("host"), argv("dut"), Some(argv("get")));
    let mux = MuxSpec::Command(mux::Command { host, dut, get });
    let error = rig.refused(&StorageSpec { mux: Some(mux), ..device.spec() });
    assert!(error.contains("another disk"), "{error}");
    drop(device);
    assert!(read(&rig.path("card")).iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_missing_tool_is_not_passed_over_in_silence() {
    // What `skip` promises where everything must be there.
    if ["HIL_TEST_REQUIRE", "CI"].iter().all(|key| std::env::var_os(key).is_none()) {
        assert!(!skip("this is how a skip looks"));
    }
}
