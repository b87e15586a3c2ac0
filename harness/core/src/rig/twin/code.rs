//! The machine code of the program that makes a fork a board of its own, for each architecture.
//!
//! It prints that it stands by, reads one line, opens `/dev/urandom`, writes the seed, asks the kernel
//! to reseed, and sets the clock by the characters behind it. Its exit status tells what failed; a line
//! that is not [`cue_line`](crate::parts::cue_line)'s is refused, and changes nothing.

use crate::arch::Arch;

/// Where the program is mapped; pages have up to 64 KiB.
const BASE: u64 = 0x40_0000;
const PAGE: u64 = 0x1_0000;

/// What stands behind the code.
const PATH: &[u8] = b"/dev/urandom\0";
const MARK: &[u8] = b"~w~\n";

/// An ELF program without sections or libraries.
pub(super) fn program(arch: Arch) -> Vec<u8> {
    let mut code = match arch {
        Arch::X86_64 => X86_64.to_vec(),
        Arch::Aarch64 => AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        Arch::Arm => ARM.iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    code.extend([PATH, MARK].concat());
    match arch {
        Arch::X86_64 => elf64(62, &code),
        Arch::Aarch64 => elf64(183, &code),
        Arch::Arm => elf32(40, &code),
    }
}

#[rustfmt::skip]
const X86_64: [u8; 157] = [
    0x48, 0x8d, 0x35, 0xa3, 0, 0, 0,    // lea rsi, [rip + mark]
    0x6a, 0x01, 0x5f,                   // push 1; pop rdi
    0x6a, 0x04, 0x5a,                   // push 4; pop rdx
    0x6a, 0x01, 0x58, 0x0f, 0x05,       // push 1; pop rax; syscall (write)
    0x48, 0x83, 0xec, 0x20,             // sub rsp, 32
    0x48, 0x89, 0xe6,                   // mov rsi, rsp
    0x31, 0xff,                         // xor edi, edi
    0x6a, 0x20, 0x5a,                   // push 32; pop rdx
    0x31, 0xc0, 0x0f, 0x05,             // xor eax, eax; syscall (read)
    0x6a, 0x44, 0x5f,                   // push 0x44; pop rdi (refused)
    0x83, 0xf8, 0x1c,                   // cmp eax, 28 (all of the line)
    0x75, 0x6e,                         // jne exit
    0x66, 0x81, 0x3c, 0x24, 0x7e, 0x72, // cmp word [rsp], 0x727e ("~r")
    0x75, 0x66,                         // jne exit
    0x48, 0x8d, 0x3d, 0x64, 0, 0, 0,    // lea rdi, [rip + path]
    0x6a, 0x01, 0x5e,                   // push 1; pop rsi (O_WRONLY)
    0x6a, 0x02, 0x58, 0x0f, 0x05,       // push 2; pop rax; syscall (open)
    0x89, 0xc3,                         // mov ebx, eax
    0x89, 0xc7,                         // mov edi, eax
    0x48, 0x8d, 0x6c, 0x24, 0x02,       // lea rbp, [rsp + 2] (behind "~r")
    0x48, 0x89, 0xee,                   // mov rsi, rbp
    0x6a, 0x10, 0x5a,                   // push 16; pop rdx
    0x6a, 0x01, 0x58, 0x0f, 0x05,       // push 1; pop rax; syscall (write)
    0x89, 0xdf,                         // mov edi, ebx
    0xbe, 0x07, 0x52, 0, 0,             // mov esi, 0x5207 (RNDRESEEDCRNG)
    0x31, 0xd2,                         // xor edx, edx
    0x6a, 0x10, 0x58, 0x0f, 0x05,       // push 16; pop rax; syscall (ioctl)
    0x89, 0xc3,                         // mov ebx, eax
    0x48, 0x83, 0xc5, 0x10,             // add rbp, 16
    0x31, 0xc0,                         // xor eax, eax
    0x6a, 0x08, 0x59,                   // push 8; pop rcx
    0x0f, 0xb6, 0x55, 0,                // next: movzx edx, byte [rbp]
    0x48, 0xff, 0xc5,                   // inc rbp
    0x83, 0xe2, 0x0f,                   // and edx, 15
    0xc1, 0xe0, 0x04,                   // shl eax, 4
    0x09, 0xd0,                         // or eax, edx
    0xe2, 0xef,                         // loop next
    0x6a, 0,                            // push 0 (nanoseconds)
    0x50,                               // push rax (seconds)
    0x48, 0x89, 0xe6,                   // mov rsi, rsp
    0x31, 0xff,                         // xor edi, edi
    0xb8, 0xe3, 0, 0, 0, 0x0f, 0x05,    // mov eax, 227; syscall (clock_settime)
    0xc1, 0xe8, 0x1f,                   // shr eax, 31: 1 if it failed
    0xc1, 0xeb, 0x1f,                   // shr ebx, 31
    0x8d, 0x7c, 0x58, 0x40,             // lea edi, [rax + 2 * rbx + 64]
    0x6a, 0x3c, 0x58, 0x0f, 0x05,       // push 60; pop rax; syscall (exit)
];

const AARCH64: [u32; 53] = [
    0xd280_0020, // mov x0, #1
    0x3000_06e1, // adr x1, mark
    0xd280_0082, // mov x2, #4
    0xd280_0808, // mov x8, #64 (write)
    0xd400_0001, // svc #0
    0xd100_83ff, // sub sp, sp, #32
    0xd280_0000, // mov x0, #0
    0x9100_03e1, // mov x1, sp
    0xd280_0402, // mov x2, #32
    0xd280_07e8, // mov x8, #63 (read)
    0xd400_0001, // svc #0
    0xf100_701f, // cmp x0, #28 (all of the line)
    0xd280_0880, // mov x0, #0x44 (refused)
    0x5400_04c1, // b.ne exit
    0x7940_03e1, // ldrh w1, [sp]
    0x528e_4fc2, // mov w2, #0x727e ("~r")
    0x6b02_003f, // cmp w1, w2
    0x5400_0441, // b.ne exit
    0x9280_0c60, // mov x0, #-100 (AT_FDCWD)
    0x1000_0441, // adr x1, path
    0xd280_0022, // mov x2, #1
    0xd280_0708, // mov x8, #56 (openat)
    0xd400_0001, // svc #0
    0xaa00_03f3, // mov x19, x0
    0x9100_0bf4, // add x20, sp, #2
    0xaa14_03e1, // mov x1, x20
    0xd280_0202, // mov x2, #16
    0xd280_0808, // mov x8, #64 (write)
    0xd400_0001, // svc #0
    0xaa13_03e0, // mov x0, x19
    0xd28a_40e1, // mov x1, #0x5207 (RNDRESEEDCRNG)
    0xd280_0002, // mov x2, #0
    0xd280_03a8, // mov x8, #29 (ioctl)
    0xd400_0001, // svc #0
    0xd37f_fc13, // lsr x19, x0, #63: 1 if it failed
    0x9100_4294, // add x20, x20, #16
    0xd280_0101, // mov x1, #8
    0xd280_0002, // mov x2, #0
    0x3840_1683, // next: ldrb w3, [x20], #1
    0x9240_0c63, // and x3, x3, #15
    0xaa02_1062, // orr x2, x3, x2, lsl #4
    0xf100_0421, // subs x1, x1, #1
    0x54ff_ff81, // b.ne next
    0xa9bf_7fe2, // stp x2, xzr, [sp, #-16]! (seconds, nanoseconds)
    0xd280_0000, // mov x0, #0
    0x9100_03e1, // mov x1, sp
    0xd280_0e08, // mov x8, #112 (clock_settime)
    0xd400_0001, // svc #0
    0xd37f_fc00, // lsr x0, x0, #63
    0x8b13_0400, // add x0, x0, x19, lsl #1
    0x9101_0000, // add x0, x0, #64
    0xd280_0ba8, // mov x8, #93 (exit)
    0xd400_0001, // svc #0
];

const ARM: [u32; 54] = [
    0xe3a0_0001, // mov r0, #1
    0xe28f_10d9, // adr r1, mark
    0xe3a0_2004, // mov r2, #4
    0xe3a0_7004, // mov r7, #4 (write)
    0xef00_0000, // svc #0
    0xe24d_d020, // sub sp, sp, #32
    0xe3a0_0000, // mov r0, #0
    0xe1a0_100d, // mov r1, sp
    0xe3a0_2020, // mov r2, #32
    0xe3a0_7003, // mov r7, #3 (read)
    0xef00_0000, // svc #0
    0xe350_001c, // cmp r0, #28 (all of the line)
    0xe3a0_0044, // mov r0, #0x44 (refused)
    0x1a00_0025, // bne exit
    0xe1dd_10b0, // ldrh r1, [sp]
    0xe307_227e, // movw r2, #0x727e ("~r")
    0xe151_0002, // cmp r1, r2
    0x1a00_0021, // bne exit
    0xe28f_0088, // adr r0, path
    0xe3a0_1001, // mov r1, #1
    0xe3a0_7005, // mov r7, #5 (open)
    0xef00_0000, // svc #0
    0xe1a0_4000, // mov r4, r0
    0xe28d_5002, // add r5, sp, #2
    0xe1a0_1005, // mov r1, r5
    0xe3a0_2010, // mov r2, #16
    0xe3a0_7004, // mov r7, #4 (write)
    0xef00_0000, // svc #0
    0xe1a0_0004, // mov r0, r4
    0xe305_1207, // movw r1, #0x5207 (RNDRESEEDCRNG)
    0xe3a0_2000, // mov r2, #0
    0xe3a0_7036, // mov r7, #54 (ioctl)
    0xef00_0000, // svc #0
    0xe1a0_4fa0, // lsr r4, r0, #31: 1 if it failed
    0xe285_5010, // add r5, r5, #16
    0xe3a0_1008, // mov r1, #8
    0xe3a0_2000, // mov r2, #0
    0xe4d5_3001, // next: ldrb r3, [r5], #1
    0xe203_300f, // and r3, r3, #15
    0xe183_2202, // orr r2, r3, r2, lsl #4
    0xe251_1001, // subs r1, r1, #1
    0x1aff_fffa, // bne next
    0xe3a0_3000, // mov r3, #0
    0xe92d_000c, // push {r2, r3} (seconds, nanoseconds)
    0xe3a0_0000, // mov r0, #0
    0xe1a0_100d, // mov r1, sp
    0xe3a0_7f41, // mov r7, #260
    0xe287_7002, // add r7, r7, #2 (262, clock_settime)
    0xef00_0000, // svc #0
    0xe1a0_0fa0, // lsr r0, r0, #31
    0xe080_0084, // add r0, r0, r4, lsl #1
    0xe280_0040, // add r0, r0, #64
    0xe3a0_7001, // mov r7, #1 (exit)
    0xef00_0000, // svc #0
];

/// `\x7fELF`, class, little-endian, version 1.
fn ident(class: u8) -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    elf.resize(16, 0);
    elf
}

/// A 64-bit executable of one segment (System V ABI, "Object Files").
fn elf64(machine: u16, code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut elf = ident(2);
    elf.extend([2, machine].iter().flat_map(|half| half.to_le_bytes()));
    elf.extend(1u32.to_le_bytes());
    elf.extend([BASE + HEADERS, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 56, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // A loadable segment, to be read and executed: the whole file.
    elf.extend([1u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend([0, BASE, BASE, size, size, PAGE].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(code);
    elf
}

/// The same in 32 bits, for the ARM EABI version 5.
fn elf32(machine: u16, code: &[u8]) -> Vec<u8> {
    const HEADERS: u32 = 52 + 32;
    let (base, size) = (BASE as u32, HEADERS + code.len() as u32);
    let mut elf = ident(1);
    elf.extend([2, machine].iter().flat_map(|half| half.to_le_bytes()));
    let words = [1, base + HEADERS, 52, 0, 0x0500_0000];
    elf.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    elf.extend([52u16, 32, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let segment = [1, 0, base, base, size, size, 5, PAGE as u32];
    elf.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_mark_are_where_the_code_looks_for_them() {
        // `lea` counts from the next instruction, `adr` of ARM from two instructions ahead.
        let path = X86_64.len();
        assert_eq!(7 + usize::from(X86_64[3]), path + PATH.len());
        let open = X86_64.windows(3).rposition(|word| word == [0x48, 0x8d, 0x3d]).unwrap();
        assert_eq!(open + 7 + usize::from(X86_64[open + 3]), path);
        let adr = |at: usize| {
            let word = AARCH64[at];
            4 * at + (((word >> 5 & 0x7_ffff) << 2) | (word >> 29 & 3)) as usize
        };
        assert_eq!((adr(1), adr(19)), (4 * AARCH64.len() + PATH.len(), 4 * AARCH64.len()));
        let adr = |at: usize| 4 * at + 8 + (ARM[at] & 0xff) as usize;
        assert_eq!((adr(1), adr(18)), (4 * ARM.len() + PATH.len(), 4 * ARM.len()));
    }

    #[test]
    fn a_line_that_is_refused_leads_to_the_exit() {
        // `push 60`, and the number of the call, are the last instructions but `syscall` and `svc`.
        let exit = X86_64.len() - 5;
        for at in (0..exit).filter(|at| X86_64[*at] == 0x75) {
            assert_eq!(at + 2 + usize::from(X86_64[at + 1]), exit, "jne at {at}");
        }
        let b_ne = |word: u32| word & 0xff00_001f == 0x5400_0001;
        let found: Vec<usize> = (0..30).filter(|at| b_ne(AARCH64[*at])).collect();
        assert_eq!(found.len(), 2);
        for at in found {
            assert_eq!(at + (AARCH64[at] >> 5 & 0x7_ffff) as usize, AARCH64.len() - 2, "at {at}");
        }
        let found: Vec<usize> = (0..30).filter(|at| ARM[*at] >> 24 == 0x1a).collect();
        assert_eq!(found.len(), 2);
        for at in found {
            assert_eq!(at + 2 + (ARM[at] & 0xff_ffff) as usize, ARM.len() - 2, "at {at}");
        }
    }
}
