//! Tests of the command line: one whole line written out, and what differs from machine to machine.

use super::*;
use crate::catalogue::Catalogue;

fn machine(name: &str) -> Machine {
    Catalogue::shipped().unwrap().machine(name).unwrap().clone()
}

fn spec(boot: BootWith) -> LaunchSpec {
    LaunchSpec {
        name: "t".into(),
        accel: AccelKind::Tcg,
        memory_mib: None,
        boot,
        disks: vec!["/r/disk0".into()],
        console: "/r/console".into(),
        qmp: "/r/qmp".into(),
        forwards: vec![22],
        extra: Vec::new(),
        begin: Begin::PowerOn,
        paused: false,
        patience: PATIENCE,
    }
}

fn kernel() -> BootWith {
    BootWith::Kernel {
        kernel: "/i/Image".into(),
        initrd: Some("/i/initrd".into()),
        dtb: Some("/i/board.dtb".into()),
        cmdline: "console=ttyAMA0 quiet".into(),
    }
}

/// One option with its value a line.
fn shown(machine: &Machine, spec: &LaunchSpec) -> String {
    let line = command_line(machine, spec).unwrap();
    let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").replace(" -", "\n-")
}

#[test]
fn the_aarch64_machine_with_u_boot() {
    let expected = "\
-no-user-config
-nodefaults
-name t
-machine virt
-accel tcg
-cpu max,pauth=off,sve=off,sme=off
-smp 1
-m 768M
-display none
-chardev socket,id=console,server=off,path=/r/console
-serial chardev:console
-chardev socket,id=qmp,server=off,path=/r/qmp
-mon chardev=qmp,mode=control
-S
-bios /i/u-boot.bin
-blockdev driver=nbd,node-name=disk0,server.type=unix,server.path=/r/disk0,discard=unmap,detect-zeroes=off,cache.no-flush=off
-device virtio-blk-pci,drive=disk0,write-cache=on,request-merging=off,num-queues=1,werror=stop,rerror=stop,bootindex=0
-netdev user,id=net0,hostfwd=tcp:127.0.0.1:0-:22
-device virtio-net-pci,netdev=net0,romfile=
-object rng-random,id=rng0,filename=/dev/urandom
-device virtio-rng-pci,rng=rng0";
    let spec = spec(BootWith::Firmware("/i/u-boot.bin".into()));
    assert_eq!(shown(&machine("virt-aarch64"), &spec), expected);
}

#[test]
fn the_raspberry_pi_has_a_card_a_second_serial_and_usb() {
    let line = shown(&machine("raspi3b"), &spec(kernel()));
    for part in [
        "\n-serial null\n-serial chardev:console\n",
        "\n-drive if=sd,index=0,id=disk0,driver=nbd,server.type=unix,server.path=/r/disk0,",
        "\n-device usb-net,netdev=net0",
        "\n-kernel /i/Image\n-initrd /i/initrd\n-dtb /i/board.dtb\n-append console=ttyAMA0 quiet\n",
        "\n-m 1024M\n",
    ] {
        assert!(line.contains(part), "{part} is not in\n{line}");
    }
    assert!(!line.contains("virtio"), "{line}");
}

#[test]
fn kvm_has_its_own_processor_and_machine() {
    let arm = machine("virt-arm");
    let spec = LaunchSpec { accel: AccelKind::Kvm, ..spec(kernel()) };
    let line = shown(&arm, &spec);
    let part = "-machine virt,highmem=off,gic-version=host\n-accel kvm\n-cpu host,aarch64=off\n";
    assert!(line.contains(part), "{line}");
    assert_eq!(arm.emulator(AccelKind::Kvm).name(), "aarch64");
    assert_eq!(arm.emulator(AccelKind::Tcg).name(), "arm");
}

#[test]
fn uefi_is_two_flash_devices_and_commas_are_doubled() {
    let boot = BootWith::Uefi { code: "/a,b/code.fd".into(), vars: "/r/vars.fd".into() };
    let line = shown(&machine("q35-x86_64"), &spec(boot));
    let part = "-drive if=pflash,unit=0,format=raw,readonly=on,file=/a,,b/code.fd\n\
                -drive if=pflash,unit=1,format=raw,file=/r/vars.fd\n";
    assert!(line.contains(part), "{line}");
}

#[test]
fn the_boards_own_network_chip_is_used_where_it_has_one() {
    let line = shown(&machine("cubieboard"), &spec(BootWith::Builtin));
    assert!(line.contains("-nic user,id=net0,hostfwd=tcp:127.0.0.1:0-:22"), "{line}");
    let line = shown(&machine("vexpress-a9"), &spec(kernel()));
    assert!(line.ends_with("-audiodev none,id=silence"), "{line}");
}

#[test]
fn what_a_machine_cannot_do_is_refused() {
    let refused =
        |machine: &Machine, spec: &LaunchSpec| command_line(machine, spec).unwrap_err().to_string();
    let pi = machine("raspi3b");
    let why = refused(&pi, &spec(BootWith::Builtin));
    assert!(why.contains("boot by builtin on machine `raspi3b`, which can kernel"), "{why}");
    let why = refused(&pi, &LaunchSpec { memory_mib: Some(512), ..spec(kernel()) });
    assert!(why.contains("it always has 1024 MiB"), "{why}");
    let two = LaunchSpec { disks: vec!["/a".into(), "/b".into()], ..spec(kernel()) };
    assert!(refused(&pi, &two).contains("one card slot"));
    let kvm = LaunchSpec { accel: AccelKind::Kvm, ..spec(kernel()) };
    assert!(refused(&pi, &kvm).contains("no [kvm] table"));
}

#[test]
fn a_template_shares_its_ram_and_a_fork_copies_it() {
    let arm = machine("virt-arm");
    let line = |begin| shown(&arm, &LaunchSpec { begin, ..spec(kernel()) });
    let template = line(Begin::Template { ram: "/c,1/ram".into() });
    let part = "-machine virt,highmem=off,memory-backend=ram0\n";
    assert!(template.contains(part), "{template}");
    let part =
        "-m 768M\n-object memory-backend-file,id=ram0,size=768M,share=on,mem-path=/c,,1/ram\n";
    assert!(template.contains(part), "{template}");
    assert!(!template.contains("-incoming"), "{template}");
    let fork = line(Begin::Saved { ram: Some("/c/ram".into()) });
    assert!(fork.contains("share=off,mem-path=/c/ram\n-incoming defer\n"), "{fork}");
    let mapped = line(Begin::Saved { ram: None });
    assert!(mapped.contains("-m 768M\n-incoming defer\n"), "{mapped}");
}
