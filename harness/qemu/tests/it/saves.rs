//! Machines saved while they run, and others made from them.

use std::path::PathBuf;

use crate::guests::{Bench, LONG, file, read};
use hil_qemu::{Begin, BootWith, SaveKind, Started};
use tokio::io::AsyncWriteExt;

/// Counts in RAM what comes in on the serial port, and answers each byte with the count so far.
fn counting_rom() -> Vec<u8> {
    let mut rom = vec![
        0xba, 0xfd, 0x03, // wait: mov dx, 0x3fd
        0xec, //             again: in al, dx
        0xa8, 0x01, //             test al, 1
        0x74, 0xfb, //             jz again
        0xba, 0xf8, 0x03, //       mov dx, 0x3f8
        0xec, //                   in al, dx
        0xfe, 0x06, 0x00, 0x05, // inc byte [0x500]
        0xa0, 0x00, 0x05, //       mov al, [0x500]
        0x04, 0x30, //             add al, '0'
        0xee, //                   out dx, al
        0xeb, 0xe8, //             jmp wait
    ];
    rom.resize(0xfff0, 0xf4);
    rom.extend([0xe9, 0x0d, 0x00]); // jmp 0
    rom.resize(0x10000, 0xf4);
    rom
}

async fn count(started: &mut Started) -> String {
    started.console.write_all(b"x").await.unwrap();
    read(&mut started.console, 1).await
}

/// Saves a guest that has counted to two; from there each fork counts on by itself.
async fn forks_count_on(kind: SaveKind) {
    let firmware = |folder: &std::path::Path| file(folder, "rom", &counting_rom());
    let mut bench = Bench::new("q35-x86_64", |folder| BootWith::Firmware(firmware(folder)));
    let (ram, state) = (bench.run.file("ram"), bench.run.file("state"));
    let ram: Option<PathBuf> = (kind == SaveKind::Template).then_some(ram);
    bench.spec.begin = ram.clone().map_or(Begin::PowerOn, |ram| Begin::Template { ram });
    let mut parent = bench.start().await.unwrap();
    assert!(parent.qemu.can_save(kind).await.unwrap(), "this QEMU is too old for {kind}");
    assert_eq!((count(&mut parent).await, count(&mut parent).await), ("1".into(), "2".into()));
    parent.qemu.save(kind, &state).await.unwrap();
    assert!(parent.qemu.loss().borrow().is_none(), "a machine that was saved is not lost");
    parent.qemu.kill().await.unwrap();

    bench.spec.begin = Begin::Saved { ram };
    for round in 0..2 {
        let mut fork = bench.start().await.unwrap();
        fork.qemu.load(kind, &state).await.unwrap();
        fork.qemu.resume().await.unwrap();
        let counts = (count(&mut fork).await, count(&mut fork).await);
        assert_eq!(counts, ("3".into(), "4".into()), "fork {round}");
        fork.qemu.quit(LONG).await.unwrap();
    }
}

#[tokio::test]
async fn forks_of_a_template_count_on_from_where_it_was_saved() {
    forks_count_on(SaveKind::Template).await;
}

#[tokio::test]
async fn so_do_forks_of_mapped_ram() {
    forks_count_on(SaveKind::MappedRam).await;
}

#[tokio::test]
async fn a_damaged_state_is_told() {
    let mut bench = Bench::echo();
    let state = bench.file("state", b"no machine's state");
    bench.spec.begin = Begin::Saved { ram: None };
    let fork = bench.start().await.unwrap();
    let why = fork.qemu.load(SaveKind::Template, &state).await.unwrap_err().to_string();
    assert!(why.contains("migrate-incoming") || why.contains("monitor"), "{why}");
}
