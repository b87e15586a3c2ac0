//! What makes a fork a board of its own: forks of one saved board are twins, with the same random
//! state, and the clock of when they were saved.
//!
//! A seed written to `/dev/urandom` counts only when the kernel draws from its pool again, perhaps a
//! minute later, and no command asks it to. So a program of a few instructions, put on the board
//! before it is saved, writes the seed and asks (`RNDRESEEDCRNG`; random(4)). It sets the clock, too:
//! each process that a fresh fork starts costs it some 40 ms, since nothing is translated yet.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arch::Arch;
use crate::plan::derive_seed;

/// Where the program may stand: the first of these from which it runs.
const PLACES: &str = "/run /tmp /dev/shm";

/// Bytes of seed, as text, that the program's argument begins with: as much as a case's seed holds, and
/// no more, since each character is typed and echoed.
const SEED: usize = 16;

/// Characters of the time behind the seed: 4 bits in each, the highest first.
const TIME: usize = 8;

/// What the program could not do is a bit of its exit status above this, which is no shell's own: some
/// take a file that the kernel does not run for a script.
const RAN: i32 = 0x40;
const CLOCK_STAYS: i32 = 1;
const RANDOM_STAYS: i32 = 2;

/// Where the program is mapped; pages have up to 64 KiB.
const BASE: u64 = 0x40_0000;
const PAGE: u64 = 0x1_0000;

/// The command that puts the program on a board, where it runs, and tells where that is.
pub(super) fn install(arch: Arch) -> String {
    let mut octal = String::new();
    for byte in program(arch) {
        // Writing to a string cannot fail.
        let _ = write!(octal, "\\{byte:03o}");
    }
    format!(
        "for d in {PLACES}; do printf '{octal}' >$d/.hil-twin 2>/dev/null || continue; \
         chmod 700 $d/.hil-twin; $d/.hil-twin {} 2>/dev/null; \
         case $? in 6[4-7]) echo $d/.hil-twin; break;; esac; done; sync",
        own_state(0)
    )
}

/// Whether the fork's clock, and its random state, are still those of the saved board, by the
/// program's exit status.
pub(super) fn stays(status: i32) -> (bool, bool) {
    let stays = |bit| status & !(CLOCK_STAYS | RANDOM_STAYS) != RAN || status & bit != 0;
    (stays(CLOCK_STAYS), stays(RANDOM_STAYS))
}

/// The program's argument, that sets a fork's clock and gives it random numbers of its own.
pub(super) fn own_state(seed: u64) -> String {
    let seed = format!("{:0SEED$x}", derive_seed(seed, "fork"));
    let now = now();
    let nibble = |nth: usize| char::from(b'@' | (now >> (4 * (TIME - 1 - nth)) & 15) as u8);
    seed + &(0..TIME).map(nibble).collect::<String>()
}

/// The command that sets the clock where the program could not.
pub(super) fn set_clock() -> String {
    format!("date -u -s @{} >/dev/null", now())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An ELF program without sections or libraries: opens `/dev/urandom`, writes [`SEED`] bytes of its
/// argument, asks the kernel to reseed, and sets the clock by the [`TIME`] characters behind them.
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
const X86_64: [u8; 107] = [
    0x48, 0x8d, 0x3d, 0x64, 0, 0, 0, // lea rdi, [rip + path]
    0x6a, 0x01, 0x5e,                // push 1; pop rsi (O_WRONLY)
    0x6a, 0x02, 0x58, 0x0f, 0x05,    // push 2; pop rax; syscall (open)
    0x89, 0xc3, 0x89, 0xc7,          // mov ebx, eax; mov edi, eax
    0x48, 0x8b, 0x6c, 0x24, 0x10,    // mov rbp, [rsp + 16] (argv[1])
    0x48, 0x89, 0xee,                // mov rsi, rbp
    0x6a, 0x10, 0x5a,                // push 16; pop rdx
    0x6a, 0x01, 0x58, 0x0f, 0x05,    // push 1; pop rax; syscall (write)
    0x89, 0xdf,                      // mov edi, ebx
    0xbe, 0x07, 0x52, 0, 0,          // mov esi, 0x5207 (RNDRESEEDCRNG)
    0x31, 0xd2,                      // xor edx, edx
    0x6a, 0x10, 0x58, 0x0f, 0x05,    // push 16; pop rax; syscall (ioctl)
    0x89, 0xc3,                      // mov ebx, eax
    0x48, 0x83, 0xc5, 0x10,          // add rbp, 16
    0x31, 0xc0,                      // xor eax, eax
    0x6a, 0x08, 0x59,                // push 8; pop rcx
    0x0f, 0xb6, 0x55, 0,             // next: movzx edx, byte [rbp]
    0x48, 0xff, 0xc5,                // inc rbp
    0x83, 0xe2, 0x0f,                // and edx, 15
    0xc1, 0xe0, 0x04,                // shl eax, 4
    0x09, 0xd0,                      // or eax, edx
    0xe2, 0xef,                      // loop next
    0x6a, 0, 0x50,                   // push 0 (nanoseconds); push rax (seconds)
    0x48, 0x89, 0xe6,                // mov rsi, rsp
    0x31, 0xff,                      // xor edi, edi (CLOCK_REALTIME)
    0xb8, 0xe3, 0, 0, 0, 0x0f, 0x05, // mov eax, 227; syscall (clock_settime)
    0xc1, 0xe8, 0x1f,                // shr eax, 31: 1 if it failed
    0xc1, 0xeb, 0x1f,                // shr ebx, 31
    0x8d, 0x7c, 0x58, 0x40,          // lea edi, [rax + 2 * rbx + 64]
    0x6a, 0x3c, 0x58, 0x0f, 0x05,    // push 60; pop rax; syscall (exit)
];

const AARCH64: [u32; 35] = [
    0x9280_0c60, // mov x0, #-100 (AT_FDCWD)
    0x1000_0441, // adr x1, path
    0xd280_0022, // mov x2, #1 (O_WRONLY)
    0xd280_0708, // mov x8, #56 (openat)
    0xd400_0001, // svc #0
    0xaa00_03f3, // mov x19, x0
    0xf940_0bf4, // ldr x20, [sp, #16] (argv[1])
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
    0xd280_0000, // mov x0, #0 (CLOCK_REALTIME)
    0x9100_03e1, // mov x1, sp
    0xd280_0e08, // mov x8, #112 (clock_settime)
    0xd400_0001, // svc #0
    0xd37f_fc00, // lsr x0, x0, #63
    0x8b13_0400, // add x0, x0, x19, lsl #1
    0x9101_0000, // add x0, x0, #64
    0xd280_0ba8, // mov x8, #93 (exit)
    0xd400_0001, // svc #0
];

const ARM: [u32; 36] = [
    0xe28f_0088, // adr r0, path
    0xe3a0_1001, // mov r1, #1 (O_WRONLY)
    0xe3a0_7005, // mov r7, #5 (open)
    0xef00_0000, // svc #0
    0xe1a0_4000, // mov r4, r0
    0xe59d_5008, // ldr r5, [sp, #8] (argv[1])
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
    0xe3a0_0000, // mov r0, #0 (CLOCK_REALTIME)
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
    fn the_path_is_where_the_code_looks_for_it() {
        // `lea` counts from the next instruction, `adr` of ARM from two instructions ahead.
        assert_eq!(7 + usize::from(X86_64[3]), X86_64.len());
        assert_eq!(8 + 0x88, 4 * ARM.len());
        let adr = AARCH64[1];
        assert_eq!(
            4 + (((adr >> 5 & 0x7_ffff) << 2) | (adr >> 29 & 3)) as usize,
            4 * AARCH64.len()
        );
    }

    /// On the host's own kernel, without the right to set the clock, which is the host's own.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_runs_and_says_what_it_could_not_do() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        use std::process::Command;
        let file = std::env::temp_dir().join(format!("hil-twin-{}", std::process::id()));
        std::fs::write(&file, program(Arch::X86_64)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = if is_root { Command::new("setpriv") } else { Command::new(&file) };
        if is_root {
            command.arg("--bounding-set=-sys_time").arg(&file);
        }
        let ended = command.arg(own_state(1)).status().unwrap();
        std::fs::remove_file(&file).unwrap();
        let (clock, random) = stays(ended.code().unwrap());
        assert_eq!((ended.code().unwrap() & !3, clock), (RAN, true), "{ended}");
        assert!(!is_root || !random, "it asked for something else than to reseed: {ended}");
    }

    #[test]
    fn a_status_that_is_not_the_programs_says_that_nothing_was_done() {
        assert_eq!(stays(RAN), (false, false));
        assert_eq!(stays(RAN | RANDOM_STAYS), (false, true));
        for of_a_shell in [0, 1, 2, 126, 127, 128 + 11] {
            assert_eq!(stays(of_a_shell), (true, true), "{of_a_shell}");
        }
    }

    #[test]
    fn seeds_differ_and_the_time_stands_behind_them() {
        let (one, two) = (own_state(1), own_state(2));
        assert_eq!(one.len(), SEED + TIME);
        assert_eq!(one[..SEED], own_state(1)[..SEED]);
        assert_ne!(one[..SEED], two[..SEED]);
        let time = one[SEED..].bytes().fold(0, |time, byte| time << 4 | u64::from(byte & 15));
        assert!(now() - time < 60, "{one}");
        assert!(one[SEED..].bytes().all(|byte| (b'@'..=b'O').contains(&byte)), "{one}");
    }
}
