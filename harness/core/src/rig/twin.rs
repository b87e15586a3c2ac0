//! What makes a fork a board of its own: forks of one saved board are twins, with the same random
//! state, and the clock of when they were saved.
//!
//! A seed written to `/dev/urandom` counts only when the kernel draws from its pool again, perhaps a
//! minute later, and no command asks it to. So a program of a few instructions, put on the board
//! before it is saved, writes the seed and asks (`RNDRESEEDCRNG`; random(4)).

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arch::Arch;
use crate::plan::derive_seed;

/// Where the program may stand: the first of these that can be written to. A `noexec` there costs
/// the fork its own random state, which is told.
const PLACES: &str = "/run /tmp /dev/shm";

/// Bytes of seed, as text, that the program takes from its first argument.
const SEED: usize = 64;

/// Where the program is mapped; pages have up to 64 KiB.
const BASE: u64 = 0x40_0000;
const PAGE: u64 = 0x1_0000;

/// The command that puts the program on a board.
pub(super) fn install(arch: Arch) -> String {
    let mut octal = String::new();
    for byte in program(arch) {
        // Writing to a string cannot fail.
        let _ = write!(octal, "\\{byte:03o}");
    }
    format!(
        "for d in {PLACES}; do printf '{octal}' >$d/.hil-reseed 2>/dev/null \
         && chmod 700 $d/.hil-reseed && break; done; sync"
    )
}

/// The command that sets a fork's clock and gives it random numbers of its own. It prints a line
/// for each of the two that failed.
pub(super) fn settle(seed: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let part = |n: u32| format!("{:016x}", derive_seed(seed, &format!("fork/{n}")));
    let seed: String = (0..SEED as u32 / 16).map(part).collect();
    format!(
        "date -u -s @{now} >/dev/null || echo 'its clock is that of the saved board'; \
         for d in {PLACES}; do $d/.hil-reseed {seed} 2>/dev/null && s=1 && break; done; \
         [ \"$s\" ] || echo 'its random numbers are those of its twins'"
    )
}

/// An ELF program without sections or libraries: opens `/dev/urandom`, writes [`SEED`] bytes of its
/// first argument, asks the kernel to reseed, ends with the error number of that.
fn program(arch: Arch) -> Vec<u8> {
    let mut code = match arch {
        Arch::X86_64 => X86_64.to_vec(),
        Arch::Aarch64 => AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        Arch::Arm => ARM.iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    code.extend_from_slice(b"/dev/urandom\0");
    match arch {
        Arch::X86_64 => elf64(62, &code),
        Arch::Aarch64 => elf64(183, &code),
        Arch::Arm => elf32(40, &code),
    }
}

#[rustfmt::skip]
const X86_64: [u8; 55] = [
    0x48, 0x8d, 0x3d, 0x30, 0, 0, 0, // lea rdi, [rip + path]
    0x6a, 0x01, 0x5e,                // push 1; pop rsi (O_WRONLY)
    0x6a, 0x02, 0x58, 0x0f, 0x05,    // push 2; pop rax; syscall (open)
    0x89, 0xc3, 0x89, 0xc7,          // mov ebx, eax; mov edi, eax
    0x48, 0x8b, 0x74, 0x24, 0x10,    // mov rsi, [rsp + 16] (argv[1])
    0x6a, 0x40, 0x5a,                // push 64; pop rdx
    0x6a, 0x01, 0x58, 0x0f, 0x05,    // push 1; pop rax; syscall (write)
    0x89, 0xdf,                      // mov edi, ebx
    0xbe, 0x07, 0x52, 0, 0,          // mov esi, 0x5207 (RNDRESEEDCRNG)
    0x31, 0xd2,                      // xor edx, edx
    0x6a, 0x10, 0x58, 0x0f, 0x05,    // push 16; pop rax; syscall (ioctl)
    0x89, 0xc7, 0xf7, 0xdf,          // mov edi, eax; neg edi
    0x6a, 0x3c, 0x58, 0x0f, 0x05,    // push 60; pop rax; syscall (exit)
];

const AARCH64: [u32; 18] = [
    0x9280_0c60, // mov x0, #-100 (AT_FDCWD)
    0x1000_0221, // adr x1, path
    0xd280_0022, // mov x2, #1 (O_WRONLY)
    0xd280_0708, // mov x8, #56 (openat)
    0xd400_0001, // svc #0
    0xaa00_03f3, // mov x19, x0
    0xf940_0be1, // ldr x1, [sp, #16] (argv[1])
    0xd280_0802, // mov x2, #64
    0xd280_0808, // mov x8, #64 (write)
    0xd400_0001, // svc #0
    0xaa13_03e0, // mov x0, x19
    0xd28a_40e1, // mov x1, #0x5207 (RNDRESEEDCRNG)
    0xd280_0002, // mov x2, #0
    0xd280_03a8, // mov x8, #29 (ioctl)
    0xd400_0001, // svc #0
    0xcb00_03e0, // neg x0, x0
    0xd280_0ba8, // mov x8, #93 (exit)
    0xd400_0001, // svc #0
];

const ARM: [u32; 17] = [
    0xe28f_003c, // adr r0, path
    0xe3a0_1001, // mov r1, #1 (O_WRONLY)
    0xe3a0_7005, // mov r7, #5 (open)
    0xef00_0000, // svc #0
    0xe1a0_4000, // mov r4, r0
    0xe59d_1008, // ldr r1, [sp, #8] (argv[1])
    0xe3a0_2040, // mov r2, #64
    0xe3a0_7004, // mov r7, #4 (write)
    0xef00_0000, // svc #0
    0xe1a0_0004, // mov r0, r4
    0xe305_1207, // movw r1, #0x5207 (RNDRESEEDCRNG)
    0xe3a0_2000, // mov r2, #0
    0xe3a0_7036, // mov r7, #54 (ioctl)
    0xef00_0000, // svc #0
    0xe260_0000, // rsb r0, r0, #0
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
    fn the_path_is_where_the_code_looks_for_it() {
        // `lea` counts from the next instruction, `adr` of ARM from two instructions ahead.
        assert_eq!(7 + usize::from(X86_64[3]), X86_64.len());
        assert_eq!(8 + 0x3c, 4 * ARM.len());
        let adr = AARCH64[1];
        assert_eq!(
            4 + (((adr >> 5 & 0x7_ffff) << 2) | (adr >> 29 & 3)) as usize,
            4 * AARCH64.len()
        );
    }

    /// On the host's own kernel, which must be one that reseeds when asked to. Needs root.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_runs_and_reseeds() {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("hil-reseed-{}", std::process::id()));
        std::fs::write(&file, program(Arch::X86_64)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        let ended = std::process::Command::new(&file).arg("0".repeat(SEED)).status().unwrap();
        std::fs::remove_file(&file).unwrap();
        // EPERM (1) is the kernel's answer to who is not root: it was asked, then.
        assert!(matches!(ended.code(), Some(0 | 1)), "{ended}");
    }

    #[test]
    fn seeds_differ_and_are_whole() {
        let seed = |n| {
            let command = settle(n);
            let at = command.find(".hil-reseed ").unwrap() + ".hil-reseed ".len();
            command[at..].split(' ').next().unwrap().to_string()
        };
        assert_eq!(seed(1).len(), SEED);
        assert_eq!(seed(1), seed(1));
        assert_ne!(seed(1), seed(2));
    }
}
