//! The words of the command line. What they mean is the other modules' affair.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use hil_core::envelope::{Envelope, mib};

use crate::lab::args::LabArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0    every case that ran passed
  1    a defect of hil itself
  2    the command line, or a board, machine or image file, is wrong
  4    the selection holds no case
  69   the rack or the host is broken; nothing is known about the product
  100  at least one case failed (wins over 69)
  130  interrupted

Examples:
  hil run --board qemu-aarch64                  the demo image, every suite
  hil run --board qemu-arm --image my/image.toml --suite boot
  hil run --board qemu-arm --case 'containers/*' --repeat 10 --keep
  hil doctor                                    what this host lacks, and how to fix it";

/// Boots built OS images on emulated and physical boards, and tests them.
#[derive(Parser)]
#[command(name = "hil", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Boot an image on one or more boards and run suites on it
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Show what `run` would do, without touching anything
    Plan(Box<PlanArgs>),
    /// Search the smallest emulated device on which the chosen suites still pass
    #[command(after_help = EXIT_CODES)]
    Envelope(Box<EnvelopeArgs>),
    /// List the boards, or explain one
    Boards(BoardsArgs),
    /// List the suites and their cases
    Suites,
    /// Rebuild the reports of a run from its events
    Report(ReportArgs),
    /// Physical boards by hand: who holds what, power, console, flash, hold, check
    Lab(Box<LabArgs>),
    /// Check this host: tools, QEMU, accelerator, space; each problem with its fix
    Doctor(DoctorArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema(SchemaArgs),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct SelectArgs {
    /// Board to run on: an emulator (`qemu-…`), a device type (any free one in the lab), or one
    /// board of the lab by its own name; may be given several times
    #[arg(short, long = "board", value_name = "BOARD", required = true)]
    pub(crate) boards: Vec<String>,
    /// image.toml, or the folder that holds it. Of several each case takes the first that has
    /// what it needs, so name the smallest first.
    /// Without it: the demo images of the board's architecture, built when absent
    #[arg(short, long = "image", value_name = "PATH")]
    pub(crate) images: Vec<PathBuf>,
    /// Suite to run (default: all); may be given several times
    #[arg(short, long = "suite", value_name = "SUITE")]
    pub(crate) suites: Vec<String>,
    /// Only cases whose `suite/name` matches this glob; may be given several times
    #[arg(short, long = "case", value_name = "GLOB")]
    pub(crate) cases: Vec<String>,
    /// A skip of a case that matches this glob is a failure
    #[arg(long, value_name = "GLOB")]
    pub(crate) require: Vec<String>,
    /// TOML file of expected failures: [[case]] match = "board/suite/name", reason, link
    #[arg(long, value_name = "FILE")]
    pub(crate) expected: Option<PathBuf>,
    /// Run every case this many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = rounds)]
    pub(crate) repeat: u32,
    /// Seed of all chance in the run; the same seed gives the same plan (default: 1)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Make emulated boards smaller devices: ram=256M, cpus=1, disk=2G, or several of them with
    /// commas; the disk is the boot medium, in which the image must fit
    #[arg(long, value_name = "LIMITS")]
    pub(crate) envelope: Option<Envelope>,
    /// More boards, one TOML each, with machines in a `qemu-configs` folder beside; they add to and
    /// override the built-in ones (default: ./boards, if there is one)
    #[arg(long = "boards", value_name = "DIR")]
    pub(crate) board_dir: Option<PathBuf>,
    /// Lab file: which physical boards stand here, and how they are wired (default: $HIL_LAB,
    /// ~/.config/hil/lab.toml, /etc/hil/lab.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) lab: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Where events, captures and reports go: DIR/<board>/…, DIR/junit.xml
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub(crate) out: PathBuf,
    /// How many boards at once (default: one emulator for every core, and all physical boards)
    #[arg(short, long, value_name = "N", value_parser = at_once)]
    pub(crate) jobs: Option<usize>,
    /// Leave the first board that fails alive, say how to reach it, and wait for Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Wait up to this many seconds for a physical board that somebody else holds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
    /// Accelerator of emulated boards
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub(crate) accel: AccelArg,
    /// Record every write, flush and discard of emulated disks in DIR/<board>/
    #[arg(long)]
    pub(crate) write_log: bool,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct EnvelopeArgs {
    /// What is to become as small as may be
    #[arg(long, value_enum)]
    pub(crate) find: Sought,
    /// The least to try
    #[arg(long, value_name = "AMOUNT", default_value = "64M", value_parser = mib)]
    pub(crate) from: u32,
    /// The most to try; it must pass
    #[arg(long, value_name = "AMOUNT", default_value = "1G", value_parser = mib)]
    pub(crate) to: u32,
    /// How fine to search
    #[arg(long, value_name = "AMOUNT", default_value = "16M", value_parser = mib)]
    pub(crate) step: u32,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Sought {
    Ram,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// The plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum AccelArg {
    /// KVM where it really works, TCG otherwise
    Auto,
    /// KVM or an error
    Kvm,
    /// Emulate, even where KVM works
    Tcg,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct BoardsArgs {
    /// All that is known of one board
    #[arg(long, value_name = "BOARD")]
    pub(crate) explain: Option<String>,
    #[arg(long = "boards", value_name = "DIR")]
    pub(crate) board_dir: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// The `--out` folder of a run, or one board's folder in it
    pub(crate) dir: PathBuf,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// The folder that runs would write to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Lab file whose serial ports are looked at, too (default: $HIL_LAB, ~/.config/hil/lab.toml,
    /// /etc/hil/lab.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) lab: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct SchemaArgs {
    #[arg(value_enum)]
    pub(crate) kind: SchemaKind,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum SchemaKind {
    Board,
    Image,
    Lab,
    Machine,
}

fn rounds(text: &str) -> Result<u32, String> {
    let most = 10_000;
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("give a number from 1 to {most}")),
    }
}

fn at_once(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "give a number from 1 on".into())
}
