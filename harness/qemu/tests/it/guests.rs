//! Bare-metal guests of a few instructions, and what starts them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hil_core::deadline::secs;
use hil_qemu::catalogue::Catalogue;
use hil_qemu::launch::PATIENCE;
use hil_qemu::{
    AccelKind, Begin, BootWith, Emulator, LaunchSpec, Machine, QemuError, RunDir, Started,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Emulation on a loaded host; only a test that fails waits so long.
pub(crate) const LONG: Duration = secs(60);

/// Prints `hello`, then echoes what it gets on the serial port: x86, from the reset vector.
pub(crate) fn echo_rom() -> Vec<u8> {
    let code = [
        0xba, 0xf8, 0x03, //       mov dx, 0x3f8
        0xfc, //                   cld
        0xbe, 0x1f, 0x00, //       mov si, text
        0x2e, 0xac, //       next: cs lodsb
        0x84, 0xc0, //             test al, al
        0x74, 0x03, //             jz echo
        0xee, //                   out dx, al
        0xeb, 0xf7, //             jmp next
        0xba, 0xfd, 0x03, // echo: mov dx, 0x3fd
        0xec, //             wait: in al, dx
        0xa8, 0x01, //             test al, 1
        0x74, 0xfb, //             jz wait
        0xba, 0xf8, 0x03, //       mov dx, 0x3f8
        0xec, //                   in al, dx
        0xee, //                   out dx, al
        0xeb, 0xf1, //             jmp echo
    ];
    let mut rom = code.to_vec();
    rom.extend_from_slice(b"hello\n\0"); // text:
    rom.resize(0xfff0, 0xf4);
    rom.extend([0xe9, 0x0d, 0x00]); // jmp 0
    rom.resize(0x10000, 0xf4);
    rom
}

/// Prints `hello`, then powers the machine off by PSCI: 64-bit ARM, `virt`.
pub(crate) fn hello_aarch64() -> Vec<u8> {
    let mut code = vec![0xd2a1_2001]; // movz x1, #0x900, lsl #16
    for letter in *b"hello\n" {
        code.extend([0x5280_0000 | u32::from(letter) << 5, 0xb900_0020]); // movz w0; str w0, [x1]
    }
    code.extend([0x5280_0100, 0x72b0_8000, 0xd400_0002, 0x1400_0000]); // PSCI off; b .
    code.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

/// Prints `hello` for ever slowly enough: 32-bit ARM, on a UART at `uart` (two instructions).
pub(crate) fn hello_arm(uart: [u32; 2]) -> Vec<u8> {
    let mut code = uart.to_vec();
    for letter in *b"hello\n" {
        code.extend([0xe3a0_0000 | u32::from(letter), 0xe581_0000]); // mov r0, #l; str r0, [r1]
    }
    code.push(0xeaff_fffe); // b .
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `mov r1, #0x09000000; nop`: the PL011 of `virt`.
pub(crate) const VIRT_UART: [u32; 2] = [0xe3a0_1409, 0xe1a0_0000];
/// `mov r1, #0x01c00000; orr r1, r1, #0x28000`: the first UART of an Allwinner A10.
pub(crate) const A10_UART: [u32; 2] = [0xe3a0_161c, 0xe381_190a];

/// A run's folder with a machine in it.
pub(crate) struct Bench {
    pub(crate) run: RunDir,
    pub(crate) emulator: Emulator,
    pub(crate) machine: Machine,
    pub(crate) spec: LaunchSpec,
    base: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(machine: &str, boot: impl FnOnce(&Path) -> BootWith) -> Bench {
        let base = tempfile::tempdir().unwrap();
        let run = RunDir::create_in(base.path(), &format!("t{}", std::process::id())).unwrap();
        let machine = Catalogue::shipped().unwrap().machine(machine).unwrap().clone();
        let spec = LaunchSpec {
            name: "hil-test".into(),
            accel: AccelKind::Tcg,
            memory_mib: (!machine.fixed_memory).then_some(64),
            boot: boot(base.path()),
            disks: Vec::new(),
            console: run.socket("console").unwrap(),
            qmp: run.socket("qmp").unwrap(),
            forwards: Vec::new(),
            extra: Vec::new(),
            begin: Begin::PowerOn,
            paused: false,
            patience: PATIENCE,
        };
        let emulator = Emulator::find(machine.arch).unwrap();
        Bench { run, emulator, machine, spec, base }
    }

    /// A PC with the echoing guest.
    pub(crate) fn echo() -> Bench {
        Bench::new("q35-x86_64", |folder| BootWith::Firmware(file(folder, "rom", &echo_rom())))
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        file(self.base.path(), name, bytes)
    }

    pub(crate) async fn start(&self) -> Result<Started, QemuError> {
        hil_qemu::Qemu::start(&self.emulator, &self.machine, &self.spec, &self.run).await
    }
}

pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A raw kernel without initrd.
pub(crate) fn raw_kernel(folder: &Path, code: &[u8]) -> BootWith {
    let kernel = file(folder, "kernel", code);
    BootWith::Kernel { kernel, initrd: None, dtb: None, cmdline: String::new() }
}

/// Exactly so many bytes from a console.
pub(crate) async fn read(console: &mut UnixStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    timeout(LONG, console.read_exact(&mut bytes)).await.expect("silence").unwrap();
    String::from_utf8(bytes).unwrap()
}
