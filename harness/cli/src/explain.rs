//! All that is known of one board, in words. What it means is the board's affair.

use hil_core::board::{Board, Flash, Loader, Provides, Removable, UBoot};
use hil_qemu::machine::Machine;

/// What is told of a board, line by line: a word, and what there is to say of it.
#[derive(Default)]
struct Lines(String);

/// How wide the words are. Longer than the longest of them, `emulated by`.
const WORD: usize = 13;

impl Lines {
    fn say(&mut self, word: &str, what: &str) {
        for (nth, line) in what.lines().enumerate() {
            let word = if nth == 0 { word } else { "" };
            self.0.push_str(&format!("{word:WORD$}{line}\n"));
        }
    }

    fn say_if(&mut self, word: &str, what: Option<&str>) {
        if let Some(what) = what {
            self.say(word, what);
        }
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

/// The text of `hil boards --explain`.
pub(crate) fn board(board: &Board, machine: Option<&Machine>, file: &str) -> String {
    let mut lines = Lines(format!("{} - {}\n", board.name, board.title));
    if let Some(about) = &board.about {
        lines.gap();
        lines.0.push_str(about.trim());
        lines.gap();
    }
    lines.gap();
    let arch = board.arch.name();
    let soc = board.soc.as_ref().map(|soc| format!("{arch} ({soc})"));
    lines.say("arch", soc.as_deref().unwrap_or(arch));
    let machine = machine.map(|machine| format!("{} - {}", machine.name, machine.title));
    lines.say_if("machine", machine.as_deref());
    lines.say_if("emulated by", board.emulated_by.as_deref());
    lines.say_if("balena type", board.balena.as_deref());
    lines.say("console", &format!("{}, {} baud", board.console.device, board.console.baud));
    let network = if board.network.works { "expected to work" } else { "none to be expected" };
    lines.say("network", network);
    lines.say_if("watchdog", board.watchdog.as_deref());
    lines.say("deadline", &deadline(board));
    let needs: Vec<String> = board.offers().iter().map(ToString::to_string).collect();
    lines.say("offers cases", &needs.join(", "));
    lines.gap();
    stages(&mut lines, board);
    if let Some(flash) = &board.flash {
        lines.gap();
        storage(&mut lines, flash);
    }
    if !board.sources.is_empty() {
        lines.gap();
        lines.say("sources", &board.sources.join("\n"));
    }
    lines.gap();
    lines.say("file", file);
    lines.0
}

fn deadline(board: &Board) -> String {
    let mut said = format!("{} s from power-on to ready", board.boot_deadline_s);
    if board.is_emulated() {
        said += ", on a fast host with KVM";
    }
    if board.slowness != 1.0 {
        said += &format!("; this one is {} times as slow", board.slowness);
    }
    said
}

/// How each stage shows itself on the console, and how the bootloader is stopped on the way.
fn stages(lines: &mut Lines, board: &Board) {
    lines.0.push_str("stages, by regexes over the console's lines\n");
    for (stage, mark) in board.stages.by_stage() {
        lines.say(&format!("  {stage}"), mark);
    }
    if let Some(UBoot { prompt, autoboot, interrupt }) = &board.uboot {
        lines.gap();
        lines.0.push_str("U-Boot\n");
        lines.say("  countdown", autoboot);
        lines.say("  stopped by", &format!("{interrupt:?}"));
        lines.say("  prompt", prompt);
    }
}

/// The ways an image comes onto the board.
fn storage(lines: &mut Lines, flash: &Flash) {
    let Flash { sd, usb, loader } = flash;
    if let Some(card) = sd {
        lines.say("SD card", &removable(card, "an SD-mux"));
    }
    if let Some(disk) = usb {
        lines.say("USB disk", &removable(disk, "a USB mux"));
    }
    if let Some(loader) = loader {
        lines.say("loader", &steps(loader));
    }
}

fn removable(medium: &Removable, mux: &str) -> String {
    let first = medium.enter.as_ref().map(|enter| format!("first: {enter}\n"));
    let device = &medium.device_at;
    format!("{}write it through {mux}; the board calls it {device}", first.unwrap_or_default())
}

fn steps(loader: &Loader) -> String {
    let mut said = Vec::new();
    said.extend(loader.enter.as_ref().map(|enter| format!("first: {enter}")));
    said.extend(loader.uboot.iter().map(|line| format!("at U-Boot's prompt: {line}")));
    said.extend(loader.steps.iter().map(|step| format!("on the host: {}", step.join(" "))));
    if let Some(Provides::BlockDevice) = loader.provides {
        said.push("then write the block device that appears".into());
    }
    said.extend(loader.device_at.as_ref().map(|device| format!("the board calls it {device}")));
    said.join("\n")
}
