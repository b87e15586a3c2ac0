//! Tests of reading `qemuboot.conf`, on the files Yocto writes for its own machines.

use super::*;

const QEMUARM64: &str = "[config_bsp]
deploy_dir_image = .
image_link_name = core-image-minimal-qemuarm64.rootfs
image_name = core-image-minimal-qemuarm64.rootfs-20260101000000
kernel_imagetype = Image
machine = qemuarm64
qb_cmdline_ip_slirp = ip=dhcp
qb_cpu = -cpu cortex-a57
qb_cpu_kvm = -cpu host -machine gic-version=3
qb_default_fstype = ext4
qb_default_kernel = Image--6.6+git-qemuarm64-20260101000000.bin
qb_graphics = -device virtio-gpu-pci
qb_kernel_cmdline_append =  swiotlb=0 loglevel=7%%
qb_machine = -machine virt
qb_mem = -m 256
qb_network_device = -device virtio-net-pci,netdev=net0,mac=@MAC@
qb_opt_append = -device qemu-xhci -device usb-tablet -device usb-kbd -serial mon:stdio
qb_rootfs_opt = -drive id=disk0,file=@ROOTFS@,if=none,format=raw -device virtio-blk-pci,drive=disk0
qb_smp = -smp 4
qb_system_name = qemu-system-aarch64
serial_consoles = 115200;ttyAMA0 115200;hvc0
staging_bindir_native = ../../../../work/x86_64-linux/qemu-helper-native/1.0/usr/bin/
";

const QEMUX86_64: &str = "[config_bsp]
qb_cpu = -cpu IvyBridge -machine q35,i8042=off
qb_cpu_kvm = -cpu IvyBridge -machine q35,i8042=off
qb_default_kernel = bzImage
qb_fsinfo = wic:kernel-in-fs
qb_kernel_root = /dev/sda ro
qb_mem = 2G
qb_system_name = qemu-system-x86_64
serial_consoles = 115200;ttyS0 115200;ttyS1
";

fn parse(text: &str) -> Result<QemuBoot, ConfigError> {
    QemuBoot::parse(text, Path::new("/deploy/x.qemuboot.conf"))
}

fn virt() -> Machine {
    let text = include_str!("../../../qemu-configs/virt-aarch64.toml");
    Machine::parse(text, Path::new("virt-aarch64.toml")).unwrap()
}

#[test]
fn the_arm64_machine_of_yocto_boots_its_kernel() {
    let conf = parse(QEMUARM64).unwrap();
    let BootWith::Kernel { kernel, cmdline, .. } = conf.boot(false) else { panic!("no kernel") };
    assert_eq!(kernel, Path::new("/deploy/Image--6.6+git-qemuarm64-20260101000000.bin"));
    let expected = "root=/dev/vda rw ip=dhcp mem=256M console=ttyAMA0 swiotlb=0 loglevel=7%";
    assert_eq!(cmdline, expected);
    assert_eq!(conf.console.as_deref(), Some("ttyAMA0"));
    assert_eq!(conf.extra, ["-device", "qemu-xhci"]);
    let ignored = ["-device usb-tablet", "-device usb-kbd", "-serial mon:stdio"];
    assert_eq!(conf.ignored, ignored);
}

#[test]
fn a_build_changes_the_boards_machine() {
    let machine = parse(QEMUARM64).unwrap().apply(&virt());
    assert_eq!((machine.memory_mib, machine.smp), (256, 4));
    assert_eq!(machine.tcg.cpu, "cortex-a57");
    assert_eq!(machine.kvm.unwrap().cpu, "host");
    assert_eq!(machine.machine, "virt");
    assert_eq!(machine.extra, ["-device", "qemu-xhci"]);
}

#[test]
fn options_may_stand_in_each_others_keys() {
    let conf = parse(QEMUX86_64).unwrap();
    assert_eq!(conf.machine.as_deref(), Some("q35,i8042=off"));
    assert_eq!(conf.cpu.as_deref(), Some("IvyBridge"));
    assert_eq!(conf.memory_mib, Some(2048));
    let BootWith::Kernel { cmdline, .. } = conf.boot(false) else { panic!() };
    assert_eq!(cmdline, "root=/dev/vda ro ip=dhcp console=ttyS0 console=ttyS1");
}

#[test]
fn a_wic_image_boots_by_itself() {
    let conf = parse(QEMUX86_64).unwrap();
    assert_eq!(conf.boot(true), BootWith::Builtin);
    let without = QEMUX86_64.replace("wic:kernel-in-fs", "wic:no-kernel-in-fs");
    let boot = parse(&without).unwrap().boot(true);
    assert!(matches!(boot, BootWith::Kernel { .. }));
    let firmware = QEMUX86_64.replace("bzImage", "none\nqb_default_bios = u-boot.bin");
    let boot = parse(&firmware).unwrap().boot(false);
    assert_eq!(boot, BootWith::Firmware("/deploy/u-boot.bin".into()));
}

#[test]
fn a_build_adds_what_it_names_to_the_machine_and_no_firmware_of_its_own() {
    let kinds = |text: &str| parse(text).unwrap().apply(&virt()).boot;
    let without_kernel = QEMUARM64.replace("Image--", "none\nqb_rootfs = Image--");
    assert_eq!(kinds(&without_kernel), virt().boot);
    let bare = Machine { boot: Vec::new(), ..virt() };
    let conf = parse(&format!("{QEMUARM64}qb_default_bios = u-boot.bin\n")).unwrap();
    assert_eq!(conf.apply(&bare).boot, [BootKind::Kernel, BootKind::Firmware]);
}

#[test]
fn a_file_that_is_not_there_is_shown_where_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.qemuboot.conf");
    let text = format!("{QEMUX86_64}qb_dtb = q35.dtb\n");
    let conf = QemuBoot::parse(&text, &file).unwrap();
    let error = conf.files(false).unwrap_err();
    assert_eq!((error.line, error.column), (4, 21), "{error}");
    let kernel = dir.path().join("bzImage");
    std::fs::write(&kernel, "").unwrap();
    let error = conf.files(false).unwrap_err();
    assert_eq!((error.line, error.text.as_str()), (10, "qb_dtb = q35.dtb"), "{error}");
    let dtb = dir.path().join("q35.dtb");
    std::fs::write(&dtb, "").unwrap();
    assert_eq!(conf.files(false).unwrap(), [kernel, dtb]);
    assert_eq!(conf.files(true).unwrap(), [] as [PathBuf; 0], "a .wic brings its own");
}

#[test]
fn mistakes_are_located() {
    let error = parse(&QEMUX86_64.replace("2G", "2 potatoes")).unwrap_err();
    assert_eq!((error.line, error.column), (7, 10), "{error}");
    let error = parse(&QEMUX86_64.replace("-x86_64", "-riscv64")).unwrap_err();
    assert_eq!(error.line, 8, "{error}");
    let error = parse("[config_bsp]\nqb_mem = -m 1\n  rubbish\nqb_smp\n").unwrap_err();
    assert_eq!((error.line, error.text.as_str()), (4, "qb_smp"), "{error}");
    let error = parse("title = \"x\"\n").unwrap_err();
    assert!(error.to_string().contains("outside of [config_bsp]"), "{error}");
    assert!(parse("").unwrap_err().to_string().contains("not a qemuboot.conf"));
    assert!(parse("[config_bsp]\nqb_mem = -m 1\n").unwrap_err().message.contains("qb_system_name"));
}

#[test]
fn quotes_hold_words_together() {
    assert_eq!(split("-a 'b c'  \"d\"e ''"), ["-a", "b c", "de", ""]);
}
