//! What makes a fork a board of its own: forks of one saved board are twins, with the same random
//! state, and the clock of when they were saved.
//!
//! A seed written to `/dev/urandom` counts only when the kernel draws from its pool again, perhaps a
//! minute later, and no command asks it to. So a program of a few instructions, put on the board
//! before it is saved, writes the seed and asks (`RNDRESEEDCRNG`; random(4)). It sets the clock, too.
//! Each process that a fresh fork starts costs it some 40 ms, since nothing is translated yet: where
//! there is a console, the program runs there already when the board is saved, and waits for its line.

mod code;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arch::Arch;
use crate::parts;
use crate::plan::derive_seed;

/// Where the program may stand: the first of these from which it runs.
const PLACES: &str = "/run /tmp /dev/shm";

/// Bytes of seed, as text, with which the line tells: as much as a case's seed holds.
const SEED: usize = 16;

/// Characters of the time behind the seed: 4 bits in each, the highest first.
const TIME: usize = 8;

/// What the program could not do is a bit of its exit status above this, which is no shell's own: some
/// take a file that the kernel does not run for a script.
const RAN: i32 = 0x40;
const CLOCK_STAYS: i32 = 1;
const RANDOM_STAYS: i32 = 2;

/// The command that puts the program on a board, where it runs, and tells where that is.
pub(super) fn install(arch: Arch) -> String {
    let mut octal = String::new();
    for byte in code::program(arch) {
        // Writing to a string cannot fail.
        let _ = write!(octal, "\\{byte:03o}");
    }
    format!(
        "for d in {PLACES}; do printf '{octal}' >$d/.hil-twin 2>/dev/null || continue; \
         chmod 700 $d/.hil-twin; {} 2>/dev/null; \
         case $? in 6[4-7]) echo $d/.hil-twin; break;; esac; done; sync",
        run("$d/.hil-twin", 0)
    )
}

/// What stands for the status on a board on which no program ran.
pub(super) const NEVER_RAN: i32 = 127;

/// Whether the program took its line, whatever came of it, by its status.
pub(super) fn took(status: i32) -> bool {
    status & !(CLOCK_STAYS | RANDOM_STAYS) == RAN
}

/// Whether the fork's clock, and its random state, are still those of the saved board, by the
/// program's exit status.
pub(super) fn stays(status: i32) -> (bool, bool) {
    let stays = |bit| !took(status) || status & bit != 0;
    (stays(CLOCK_STAYS), stays(RANDOM_STAYS))
}

/// The command that runs the program where it did not run before.
pub(super) fn run(program: &str, seed: u64) -> String {
    format!("echo '{}' | {program} >/dev/null", parts::cue_line(&own_state(seed)))
}

/// The program's line, that sets a fork's clock and gives it random numbers of its own.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// On the host's own kernel, without the right to set the clock, which is the host's own.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_runs_and_says_what_it_could_not_do() {
        use std::io::Write;
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        use std::process::{Command, Stdio};
        let file = std::env::temp_dir().join(format!("hil-twin-{}", std::process::id()));
        std::fs::write(&file, code::program(Arch::X86_64)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let told = |line: &str| {
            let mut command = if is_root { Command::new("setpriv") } else { Command::new(&file) };
            if is_root {
                command.arg("--bounding-set=-sys_time").arg(&file);
            }
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.stdout, format!("{}\n", parts::STANDS_BY).as_bytes());
            output.status.code().unwrap()
        };
        let line = parts::cue_line(&own_state(1)) + "\n";
        let refused = ["".into(), line[1..].into(), format!(" {line}"), line.replace("~r", "~s")];
        let refused = refused.map(|line: String| told(&line));
        let status = told(&line);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(refused, [RAN | 4; 4], "what is no line of its own must change nothing");
        assert_eq!((took(status), stays(status).0), (true, true), "{status}");
        assert!(!is_root || !stays(status).1, "it asked for something else: {status}");
    }

    #[test]
    fn a_status_that_is_not_the_programs_says_that_nothing_was_done() {
        assert_eq!(stays(RAN), (false, false));
        assert_eq!(stays(RAN | RANDOM_STAYS), (false, true));
        for of_a_shell in [0, 1, 2, 126, NEVER_RAN, 128 + 11] {
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
