//! What the guard refuses, told by a kernel made of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hil_lab::storage::StorageSpec;
use hil_lab::storage::guard::Kernel;

const CARD: (u32, u32) = (8, 16);

/// A host with an internal disk `sda` that holds its root, and a card `sdb` with two partitions.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host { dir: tempfile::tempdir().unwrap() };
        let sda = "sys/devices/pci0/ata1/block/sda";
        let sdb = "sys/devices/pci0/usb2/2-1/block/sdb";
        host.disk(sda, "8:0", "500118192", "0");
        host.disk(&format!("{sda}/sda1"), "8:1", "500000000", "");
        host.disk(sdb, "8:16", "62333952", "1");
        host.disk(&format!("{sdb}/sdb1"), "8:17", "1000", "");
        host.disk(&format!("{sdb}/sdb2"), "8:18", "1000", "");
        host.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        host.write("proc/self/mountinfo", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        host
    }

    fn disk(&self, path: &str, number: &str, sectors: &str, removable: &str) {
        let dir = self.dir.path().join(path);
        fs::create_dir_all(dir.join("holders")).unwrap();
        self.write(&format!("{path}/dev"), &format!("{number}\n"));
        self.write(&format!("{path}/size"), &format!("{sectors}\n"));
        self.write(&format!("{path}/ro"), "0\n");
        match removable {
            "" => self.write(&format!("{path}/partition"), "1\n"),
            removable => self.write(&format!("{path}/removable"), removable),
        }
        let links = self.dir.path().join("sys/dev/block");
        fs::create_dir_all(&links).unwrap();
        symlink(Path::new("../../..").join(path), links.join(number)).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn check(&self, number: (u32, u32), spec: &StorageSpec) -> Result<u64, String> {
        let dir = self.dir.path();
        Kernel::rooted(dir.join("proc"), dir.join("sys")).check(number, spec)
    }

    fn card(&self) -> Result<u64, String> {
        self.check(CARD, &StorageSpec::default())
    }

    fn mount(&self, line: &str) {
        self.write(
            "proc/self/mountinfo",
            &format!("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line}\n"),
        );
    }
}

#[test]
fn a_card_passes_with_its_size() {
    assert_eq!(Host::new().card(), Ok(62_333_952 * 512));
}

#[test]
fn a_disk_of_this_host_is_refused_whatever_the_lab_file_says() {
    let host = Host::new();
    let fixed = StorageSpec { fixed: true, ..StorageSpec::default() };
    let error = host.check((8, 0), &fixed).unwrap_err();
    assert!(error.contains("root file system") && error.contains("sda1"), "{error}");
    // Without a mount, too: it is no card.
    host.write("proc/self/mountinfo", "");
    let error = host.check((8, 0), &StorageSpec::default()).unwrap_err();
    assert!(error.contains("a fixed disk") && error.contains("fixed = true"), "{error}");
    assert_eq!(host.check((8, 0), &fixed), Ok(500_118_192 * 512));
}

#[test]
fn what_is_mounted_is_refused_by_number_and_by_name() {
    let host = Host::new();
    host.mount("90 25 8:18 / /media/my\\040card rw,nosuid shared:1 - vfat /dev/sdb2 rw");
    let error = host.card().unwrap_err();
    assert!(error.contains("sdb2 is mounted at /media/my card"), "{error}");
    // btrfs shows a number of its own.
    host.mount("90 25 0:44 /@home /home rw - btrfs /dev/sdb1 rw");
    assert!(host.card().unwrap_err().contains("sdb1 is mounted at /home"));
    // Others' mounts are no reason, however similar their names.
    host.mount("90 25 8:33 / /x rw - ext4 /dev/sdb11 rw\n91 25 0:5 / /y rw - tmpfs sdb rw");
    assert!(host.card().is_ok());
}

#[test]
fn swap_holders_and_locks_are_refused() {
    let host = Host::new();
    let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb1  partition\t1\t0\t-2\n";
    host.write("proc/swaps", swaps);
    assert!(host.card().unwrap_err().contains("swaps to sdb1"));
    let host = Host::new();
    host.write("sys/devices/pci0/usb2/2-1/block/sdb/sdb2/holders/dm-0/dev", "");
    assert!(host.card().unwrap_err().contains("sdb2 is part of dm-0"));
    let host = Host::new();
    host.write("sys/devices/pci0/usb2/2-1/block/sdb/ro", "1\n");
    assert!(host.card().unwrap_err().contains("read-only"));
}

#[test]
fn a_partition_an_empty_slot_and_a_disk_that_went_are_refused() {
    let host = Host::new();
    let spec = StorageSpec::default();
    let error = host.check((8, 17), &spec).unwrap_err();
    assert!(error.contains("partition sdb1") && error.contains("whole disk, sdb"), "{error}");
    assert!(host.check((8, 99), &spec).unwrap_err().contains("has gone"));
    host.write("sys/devices/pci0/usb2/2-1/block/sdb/size", "0\n");
    assert!(host.card().unwrap_err().contains("no medium"));
}

#[test]
fn a_kernel_that_does_not_tell_its_mounts_is_not_trusted() {
    let host = Host::new();
    fs::remove_file(host.dir.path().join("proc/self/mountinfo")).unwrap();
    assert!(host.card().unwrap_err().contains("mountinfo"));
}

#[test]
fn what_hangs_on_usb_and_an_sd_slot_count_as_cards() {
    let host = Host::new();
    host.write("sys/devices/pci0/usb2/2-1/block/sdb/removable", "0\n");
    assert!(host.card().is_ok(), "a USB disk that calls itself fixed");
    host.disk("sys/devices/soc/mmc0/block/mmcblk0", "179:0", "1000", "0");
    host.write("sys/devices/soc/mmc0/block/mmcblk0/device/type", "MMC\n");
    let spec = StorageSpec::default();
    assert!(host.check((179, 0), &spec).unwrap_err().contains("fixed disk"), "eMMC of the host");
    host.write("sys/devices/soc/mmc0/block/mmcblk0/device/type", "SD\n");
    assert!(host.check((179, 0), &spec).is_ok());
}
