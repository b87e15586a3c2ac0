//! The smallest guests there are: each prints three letters and switches its machine off.
//!
//! They show that an accelerator executes code, which the existence of `/dev/kvm` does not.

use std::ffi::OsString;
use std::path::Path;

use hil_core::arch::Arch;

/// What a guest prints.
pub(crate) const WORD: &[u8] = b"hil";

/// The status QEMU ends with when the guest has switched itself off.
pub(crate) fn good_end(arch: Arch) -> i32 {
    match arch {
        // isa-debug-exit: (16 << 1) | 1.
        Arch::X86_64 => 33,
        Arch::Aarch64 | Arch::Arm => 0,
    }
}

/// The guest's program.
pub(crate) fn program(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::X86_64 => boot_sector(),
        Arch::Aarch64 => words(&aarch64()),
        Arch::Arm => words(&arm()),
    }
}

/// The arguments that run the program in `file`, with its output on stdout.
pub(crate) fn arguments(arch: Arch, machine: &str, file: &Path) -> Vec<OsString> {
    let mut line: Vec<OsString> = ["-no-user-config", "-nodefaults", "-display", "none"]
        .into_iter()
        .chain(["-machine", machine, "-m", "64M", "-no-reboot"])
        .map(OsString::from)
        .collect();
    match arch {
        Arch::X86_64 => {
            // SeaBIOS loads the sector: a fair piece of real and protected mode comes before it.
            let mut drive = OsString::from("if=floppy,format=raw,readonly=on,file=");
            drive.push(file);
            line.extend(["-drive".into(), drive, "-boot".into(), "a".into()]);
            line.extend(["-debugcon", "stdio", "-device"].map(OsString::from));
            line.push("isa-debug-exit,iobase=0xf4,iosize=0x04".into());
        }
        Arch::Aarch64 | Arch::Arm => {
            line.extend(["-serial", "stdio", "-kernel"].map(OsString::from));
            line.push(file.into());
        }
    }
    line
}

/// The machine the guest is written for.
pub(crate) fn machine(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "pc",
        Arch::Aarch64 | Arch::Arm => "virt",
    }
}

/// Goes to long mode with paging, touches 56 MiB and counts for a while before it prints.
///
/// A KVM that only emulates gets through the BIOS and real mode at a crawl, and hangs in long mode.
fn boot_sector() -> Vec<u8> {
    let mut sector = LONG_MODE.to_vec();
    sector.extend_from_slice(WORD); // word:
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Loaded at 0x7c00. Page tables: 0x1000, 0x2000, and at 0x3000 32 pages of 2 MiB.
const LONG_MODE: [u8; 180] = [
    0xfa, //                                           cli
    0x31, 0xc0, //                                     xor ax, ax
    0x8e, 0xd8, //                                     mov ds, ax
    0x8e, 0xc0, //                                     mov es, ax
    0xfc, //                                           cld
    0xbf, 0x00, 0x10, //                               mov di, 0x1000
    0xb9, 0x00, 0x18, //                               mov cx, 0x1800
    0xf3, 0xab, //                                     rep stosw
    0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, //             mov word [0x1000], 0x2003
    0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, //             mov word [0x2000], 0x3003
    0xbf, 0x00, 0x30, //                               mov di, 0x3000
    0x66, 0xb8, 0x83, 0x00, 0x00, 0x00, //             mov eax, 0x83
    0x66, 0x89, 0x05, //                         page: mov [di], eax
    0x66, 0x05, 0x00, 0x00, 0x20, 0x00, //             add eax, 0x200000
    0x83, 0xc7, 0x08, //                               add di, 8
    0x81, 0xff, 0x00, 0x31, //                         cmp di, 0x3100
    0x75, 0xee, //                                     jne page
    0x66, 0xb8, 0x00, 0x10, 0x00, 0x00, //             mov eax, 0x1000
    0x0f, 0x22, 0xd8, //                               mov cr3, eax
    0x0f, 0x20, 0xe0, //                               mov eax, cr4
    0x0c, 0x20, //                                     or al, 0x20 (PAE)
    0x0f, 0x22, 0xe0, //                               mov cr4, eax
    0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, //             mov ecx, EFER
    0x0f, 0x32, //                                     rdmsr
    0x80, 0xcc, 0x01, //                               or ah, 1 (LME)
    0x0f, 0x30, //                                     wrmsr
    0x0f, 0x01, 0x16, 0x9e, 0x7c, //                   lgdt [gdtr]
    0x0f, 0x20, 0xc0, //                               mov eax, cr0
    0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, //             or eax, PG | PE
    0x0f, 0x22, 0xc0, //                               mov cr0, eax
    0xea, 0x6b, 0x7c, 0x08, 0x00, //                   jmp 8:long
    0xbf, 0x00, 0x00, 0x40, 0x00, //             long: mov edi, 4 MiB
    0x89, 0x3f, //                              touch: mov [rdi], edi
    0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, //             add edi, 4096
    0x81, 0xff, 0x00, 0x00, 0xc0, 0x03, //             cmp edi, 60 MiB
    0x75, 0xf0, //                                     jne touch
    0xb9, 0x00, 0x2d, 0x31, 0x01, //                   mov ecx, 20000000
    0xff, 0xc9, //                              count: dec ecx
    0x75, 0xfc, //                                     jnz count
    0xbe, 0xb4, 0x7c, 0x00, 0x00, //                   mov esi, word
    0xac, //                                     next: lodsb
    0x84, 0xc0, //                                     test al, al
    0x74, 0x04, //                                     jz off
    0xe6, 0xe9, //                                     out 0xe9, al
    0xeb, 0xf7, //                                     jmp next
    0xb0, 0x10, //                                off: mov al, 16
    0xe6, 0xf4, //                                     out 0xf4, al
    0xf4, //                                     halt: hlt
    0xeb, 0xfd, //                                     jmp halt
    0x0f, 0x00, 0xa4, 0x7c, 0x00, 0x00, //       gdtr: 16 bytes at gdt
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // gdt: null
    0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00, // 64-bit code
];

/// Writes to the PL011 of `virt`, then PSCI SYSTEM_OFF.
fn aarch64() -> Vec<u32> {
    let mut code = vec![0xd2a1_2001]; // movz x1, #0x900, lsl #16
    for &letter in WORD {
        code.push(0x5280_0000 | u32::from(letter) << 5); // movz w0, #letter
        code.push(0xb900_0020); // str w0, [x1]
    }
    code.push(0x5280_0100); // movz w0, #8
    code.push(0x72b0_8000); // movk w0, #0x8400, lsl #16
    code.push(0xd400_0002); // hvc #0
    code.push(0x1400_0000); // b .
    code
}

/// The same in 32 bits.
fn arm() -> Vec<u32> {
    let mut code = vec![0xe3a0_1409]; // mov r1, #0x09000000
    for &letter in WORD {
        code.push(0xe3a0_0000 | u32::from(letter)); // mov r0, #letter
        code.push(0xe581_0000); // str r0, [r1]
    }
    code.push(0xe300_0008); // movw r0, #8
    code.push(0xe348_0400); // movt r0, #0x8400
    code.push(0xe140_0070); // hvc #0
    code.push(0xeaff_fffe); // b .
    code
}

fn words(code: &[u32]) -> Vec<u8> {
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}
