//! The words of `hil lab`. What they mean is the commands' own files' affair.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

const ABOUT: &str = "\
A board is held by one at a time: a run, or a command of these. Whoever else wants it is told who
has it, since when and what for. A command that ends, in whatever way, leaves the board in the safe
state its lab file asks for, except where its own help says otherwise.

Exit codes:
  0    done; of `check`: every board that could be checked is well
  2    the command line or the lab file is wrong
  69   somebody else holds the board, a device did not do its part, or a board is broken
  130  interrupted

Examples:
  hil lab                              all boards: who holds them, power, console, quarantine
  hil lab hold bbb-1 --for 2h --why 'the kernel of branch x'
  hil lab power cycle bbb-1            in another terminal, while you hold it
  hil lab console bbb-1                Ctrl-] ends
  hil lab check                        every board that nobody holds";

/// The whole of `hil lab`.
#[derive(Args, Debug)]
#[command(after_help = ABOUT)]
pub(crate) struct LabArgs {
    #[command(flatten)]
    pub(super) lab: WhichLab,
    #[command(subcommand)]
    pub(super) command: Option<LabCommand>,
}

#[derive(Args, Debug)]
pub(super) struct WhichLab {
    /// Lab file: which boards stand here, and how they are wired (default: $HIL_LAB,
    /// ~/.config/hil/lab.toml, /etc/hil/lab.toml)
    #[arg(long = "lab", value_name = "FILE", global = true)]
    pub(super) file: Option<PathBuf>,
    /// More device types, one TOML each (default: ./boards, if there is one)
    #[arg(long = "boards", value_name = "DIR", global = true)]
    pub(super) board_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(super) enum LabCommand {
    /// Every board: holder, power as its switch tells it, console, quarantine, calibration
    ///
    /// Asks all switches at once, each within its own time: `?` is one that cannot tell, or did
    /// not; the reason stands below the table. Takes no board and changes nothing.
    Status(StatusArgs),
    /// Switch a board's power, and leave it so
    ///
    /// Takes the board for the moment, keeps the wiring's minimum time without power, and leaves
    /// the power as you commanded it, not in the safe state. Works while your own `hil lab hold`
    /// or `hil lab console` has the board.
    Power(PowerArgs),
    /// Speak to a board's console, raw; what it says is captured, too
    ///
    /// Takes the board and leaves its power as it is; `hil lab power` works meanwhile. Captured
    /// are console.raw, the bytes, and console.log, its lines with their times.
    Console(ConsoleArgs),
    /// Write an image to a board's medium, as a run does
    ///
    /// Takes the board's power away, writes, reads back and injects what the image's manifest
    /// says. Boards that take their image by a loader are powered on for it: bring such a board
    /// into its loader's mode first (`hil boards --explain TYPE`).
    Flash(FlashArgs),
    /// Keep a board to yourself until Ctrl-C, or until the time is up; then its safe state
    ///
    /// Your own `power`, `console` and `flash` work meanwhile. If this process is killed, the
    /// board goes to its safe state and is free all the same.
    Hold(HoldArgs),
    /// Try every board: power, console, mux and medium; quarantine what is broken, and say why
    ///
    /// Each board that nobody holds is switched off, on and off again; its console must fall
    /// silent and come alive, its mux must switch, its medium must be what the lab file says. All
    /// at once: one that hangs holds up no other. No run takes a board in quarantine; a check
    /// that finds it well lifts it. Nothing is written to any medium.
    Check(CheckArgs),
    /// Measure how fast a board dies after its power went: for power cuts to aim with
    ///
    /// Boots the board, keeps its console busy, takes its power away and sees when the last byte
    /// came, so many times. Power cuts are then aimed by it and reports show it. What runs on the
    /// board loses its power in mid-flight each time.
    Calibrate(CalibrateArgs),
}

#[derive(Args, Debug, Default)]
pub(super) struct StatusArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct PowerArgs {
    #[arg(value_enum)]
    pub(super) what: Switching,
    /// A board of the lab file, by its own name
    #[arg(value_name = "INSTANCE")]
    pub(super) instance: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(super) enum Switching {
    /// Give power
    On,
    /// Take it away
    Off,
    /// Take it away, wait as the wiring asks, give it again
    Cycle,
}

#[derive(Args, Debug)]
pub(super) struct ConsoleArgs {
    /// A board of the lab file, by its own name
    #[arg(value_name = "INSTANCE")]
    pub(super) instance: String,
    /// Where console.raw and console.log go; those already there are overwritten (default: a
    /// folder of its own under ~/.local/state/hil/consoles)
    #[arg(long, value_name = "DIR")]
    pub(super) log: Option<PathBuf>,
    /// The key that ends it: `^A` for Ctrl-A, or a character
    #[arg(long, value_name = "KEY", default_value = "^]", value_parser = key)]
    pub(super) escape: u8,
}

#[derive(Args, Debug)]
pub(super) struct FlashArgs {
    /// A board of the lab file, by its own name
    #[arg(value_name = "INSTANCE")]
    pub(super) instance: String,
    /// image.toml, or the folder that holds it (default: the board's one image in the lab file)
    #[arg(short, long, value_name = "PATH")]
    pub(super) image: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct HoldArgs {
    /// A board of the lab file, by its own name
    #[arg(value_name = "INSTANCE")]
    pub(super) instance: String,
    /// Let go after this long: `90s`, `30m`, `2h`, `1h30m`, `1d`
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(super) time: Option<Duration>,
    /// What others are told it is held for
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Boards of the lab file, by their own names (default: all)
    #[arg(value_name = "INSTANCE")]
    pub(super) instances: Vec<String>,
    /// Only put every board that nobody holds into its safe state: after a reboot of the host
    #[arg(long)]
    pub(super) settle: bool,
}

#[derive(Args, Debug)]
pub(super) struct CalibrateArgs {
    /// A board of the lab file, by its own name
    #[arg(value_name = "INSTANCE")]
    pub(super) instance: String,
    /// How often its power is cut
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub(super) cycles: u32,
    /// The image that is on it, for its [login]: image.toml or its folder (default: the first of
    /// the lab file's). Without a login the boot's own output must do, and the error is larger
    #[arg(short, long, value_name = "PATH")]
    pub(super) image: Option<PathBuf>,
    /// What keeps the console busy in the board's shell (default: a loop of `echo`)
    #[arg(long, value_name = "COMMAND")]
    pub(super) ticker: Option<String>,
    /// Tell the relay's latency from the hold-up, too, by interruptions shorter than the hold-up;
    /// these ignore `min_off_s`
    #[arg(long)]
    pub(super) dips: bool,
    /// Then cut the power at a mark on the console so many times, and see whether it goes when
    /// it should
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(super) verify: u32,
    /// Write every single measurement there, as lines of JSON
    #[arg(long, value_name = "FILE")]
    pub(super) samples: Option<PathBuf>,
}

/// `^]` and the like as terminals send them.
fn key(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [b'^', letter @ b'@'..=b'_'] | [b'^', letter @ b'a'..=b'z'] => Ok(letter & 0x1f),
        [one] if one.is_ascii() => Ok(*one),
        _ => Err("give `^` and a letter, as in `^A`, or one character".into()),
    }
}

/// `1h30m` and the like.
fn span(text: &str) -> Result<Duration, String> {
    const LONGEST: u64 = 30 * 86_400;
    let wrong = || "give numbers with units, as in `90s`, `30m`, `1h30m` or `2d`".to_string();
    let (mut seconds, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let mut after = rest[digits..].chars();
        let unit = match after.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        rest = after.as_str();
    }
    match seconds {
        1..=LONGEST => Ok(Duration::from_secs(seconds)),
        0 => Err(wrong()),
        _ => Err("at most 30d".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("2d"), Ok(172_800));
        for wrong in ["", "2", "h", "2 h", "-1h", "31d", "0s", "99999999999999999999s", "1µ"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn escape_keys_are_what_a_terminal_sends() {
        assert_eq!(key("^]"), Ok(0x1d));
        assert_eq!(key("^a"), Ok(1));
        assert_eq!(key("^A"), Ok(1));
        assert_eq!(key("~"), Ok(b'~'));
        for wrong in ["", "ab", "^é", "é"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }
}
