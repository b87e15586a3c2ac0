//! The words of the command line. What they mean is the other modules' affair.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use hil_core::envelope::{Envelope, mib};

use crate::lab::args::LabArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0    every case that ran passed, be it when run again (flaky; see --flaky)
  1    a defect of hil itself
  2    the command line, or a board, machine or image file, is wrong
  4    the selection holds no case, or none that can run here
  69   the rack or the host is broken; nothing is known about the product
  100  at least one case failed (wins over 69)
  130  interrupted

Examples:
  hil run --board qemu-aarch64                  the demo image, every suite
  hil run --board qemu-arm --image my/image.toml --suite boot
  hil run --board qemu-arm --case 'containers/*' --repeat 10 --keep
  hil doctor                                    what this host lacks, and how to fix it";

const MERGING: &str = "\
What does not belong together is refused: another hil or commit, image, seed, or plan. Of a case
that several runs have, a failure counts more than a pass, a pass more than broken, broken more
than a skip; the report says which run counts and what the others said. A case of the plan that no
run has is broken. The folder holds the runs themselves, so `hil report` rebuilds it.

Examples:
  hil run --board qemu-arm --shard 1/3 --out s1     # on three machines: 1/3, 2/3, 3/3
  hil merge s1 s2 s3 --out all
  hil run --board qemu-arm --resume all --out rest  # what is broken or was not run
  hil merge all rest --out whole

Exit codes are those of `run`.";

/// Boots built OS images on emulated and physical boards, and tests them.
#[derive(Parser)]
#[command(name = "hil", version = env!("HIL_VERSION"), after_help = EXIT_CODES)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Boot an image on one or more boards and run suites on it
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Show what `run` would do: images are prepared, nothing is booted
    Plan(Box<PlanArgs>),
    /// Search the smallest emulated device on which the chosen suites still pass
    #[command(after_help = EXIT_CODES)]
    Envelope(Box<EnvelopeArgs>),
    /// List the boards, or explain one
    Boards(BoardsArgs),
    /// List the suites and their cases
    Suites(SuitesArgs),
    /// Rebuild the reports of a run from its events
    Report(ReportArgs),
    /// Put several runs of one commit together into one: shards, or a run and what was left of it
    #[command(after_help = MERGING)]
    Merge(MergeArgs),
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
    /// More suites: a folder with a suite.toml, or a folder of such folders (default: ./suites, if
    /// there is one). `hil schema suite` knows the format
    #[arg(long = "suite-dir", value_name = "DIR")]
    pub(crate) suite_dir: Option<PathBuf>,
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
    /// Run a case that fails again, up to N times, each on a board started anew. A pass after a fail
    /// is flaky, which every report says aloud. What is broken, or expected to fail, is not run again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) retries: u32,
    /// What a flaky case does to the exit code
    #[arg(long, value_enum, default_value_t = FlakyArg::Pass)]
    pub(crate) flaky: FlakyArg,
    /// What cases start from that leave a board in another state than they found it: `fork`, a copy
    /// of the booted board (a reboot, where a board cannot be copied), `reboot`, or `shared`, the
    /// board as the case before left it, which is quick and less sure
    #[arg(long, value_enum, default_value_t = IsolationArg::Fork)]
    pub(crate) isolation: IsolationArg,
    /// Run only the I-th of N shards of the plan: every case is in exactly one, and about the same
    /// work in each. `hil merge` makes one run of them again
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(crate) shard: Option<Shard>,
    /// Run only what has no verdict about the product yet in the earlier run DIR: what was broken,
    /// or not run. Give the same words besides, and another --out; then `hil merge` both
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Seed of all chance in the run; the same seed gives the same plan (default: 1)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Make emulated boards smaller devices: ram=256M, cpus=1, disk=2G, or several of them with
    /// commas; the disk is the boot medium, in which the image must fit
    #[arg(long, value_name = "LIMITS")]
    pub(crate) envelope: Option<Envelope>,
    /// Run every case that cuts the power this many times, each time with other cuts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = rounds)]
    pub(crate) cuts: u32,
    /// What a cut does to what no flush had made durable, on emulated disks
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = PolicyArg::Subset)]
    pub(crate) cut_policy: PolicyArg,
    /// Run one case again with the seed it had, as a report says it: SUITE/NAME@SEED
    #[arg(long, value_name = "CASE@SEED", value_parser = Replay::from_str,
          conflicts_with_all = ["suites", "cases", "repeat", "cuts", "seed", "shard", "resume", "retries"])]
    pub(crate) replay: Option<Replay>,
    /// More boards, one TOML each, with machines in a `qemu-configs` folder beside; they add to and
    /// override the built-in ones (default: ./boards, if there is one)
    #[arg(long = "boards", value_name = "DIR")]
    pub(crate) board_dir: Option<PathBuf>,
    /// Lab file: which physical boards stand here, and how they are wired (default: $HIL_LAB,
    /// ~/.config/hil/lab.toml, /etc/hil/lab.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) lab: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum FlakyArg {
    /// Nothing: it is counted apart and told
    Pass,
    /// It is a failure (100)
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// All of it survives, as when an emulator is merely killed
    KeepAll,
    /// None of it survives
    DropAll,
    /// Each write survives or not, or is torn, as the seed decides
    Subset,
}

/// A case and the seed it had.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replay {
    pub(crate) case: String,
    pub(crate) seed: u64,
}

impl FromStr for Replay {
    type Err = String;

    fn from_str(text: &str) -> Result<Replay, String> {
        let (case, seed) = text.rsplit_once('@').ok_or("give SUITE/NAME@SEED")?;
        // The number of a repetition says nothing that the seed does not.
        let case = case.split_once('#').map_or(case, |(case, _)| case).to_string();
        let seed = seed.parse().map_err(|_| format!("`{seed}` is no seed: give a number"))?;
        Ok(Replay { case, seed })
    }
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Where events, captures and reports go: DIR/<board>/…, DIR/junit.xml
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub(crate) out: PathBuf,
    /// How many boards or lanes at once (default: one emulator for every core, and all physical boards)
    #[arg(short, long, value_name = "N", value_parser = at_once)]
    pub(crate) jobs: Option<usize>,
    /// Spread the cases of each emulated board over this many boards, all forks of one that was saved
    /// booted; each has a folder of its own, DIR/<board>/runs/N/. As many run at once as --jobs says
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = rounds,
          conflicts_with_all = ["shard", "keep"])]
    pub(crate) lanes: u32,
    /// Leave the first board that fails alive, say how to reach it, and wait for Ctrl-C
    #[arg(long, conflicts_with = "retries")]
    pub(crate) keep: bool,
    /// Wait up to this many seconds for a physical board that somebody else holds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u64,
    /// Accelerator of emulated boards
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub(crate) accel: AccelArg,
    /// Boot each board anew, even if an earlier run has saved it booted
    #[arg(long)]
    pub(crate) fresh: bool,
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
pub(crate) enum IsolationArg {
    Fork,
    Reboot,
    Shared,
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
    /// More boards, one TOML each (default: ./boards, if there is one)
    #[arg(long = "boards", value_name = "DIR")]
    pub(crate) board_dir: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct SuitesArgs {
    /// More suites: a folder with a suite.toml, or a folder of such folders (default: ./suites)
    #[arg(long = "suite-dir", value_name = "DIR")]
    pub(crate) suite_dir: Option<PathBuf>,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// The `--out` folder of a run, or one board's folder in it
    pub(crate) dir: PathBuf,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct MergeArgs {
    /// The `--out` folders of the runs, or of earlier merges
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Where the merged run goes; none of the folders to merge, nor in or around one
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// `i/n`: the i-th of n shards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) of: u32,
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
    Suite,
}

fn rounds(text: &str) -> Result<u32, String> {
    let most = 10_000;
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("give a number from 1 to {most}")),
    }
}

fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').map(|(index, of)| (index.parse(), of.parse()));
    match parts {
        Some((Ok(index), Ok(of))) if (1..=of).contains(&index) && of <= 10_000 => {
            Ok(Shard { index, of })
        }
        _ => Err("give it as I/N, with I from 1 to N".into()),
    }
}

fn at_once(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "give a number from 1 on".into())
}
