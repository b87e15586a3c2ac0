//! The physical boards of `boards/`: complete, honest about their sources, and with marks that
//! real console lines bear out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hil_core::board::Board;
use hil_qemu::catalogue::Catalogue;
use regex::Regex;

fn physical() -> Vec<Board> {
    let catalogue = Catalogue::shipped().unwrap_or_else(|error| panic!("{error}"));
    catalogue.boards().filter(|board| !board.is_emulated()).cloned().collect()
}

/// The types a rack of this kind has always had; more are welcome.
const WANTED: [&str; 24] = [
    "artik10",
    "artik5",
    "artik530",
    "artik7",
    "artik710",
    "beaglebone",
    "beaglebone-green",
    "colibri-imx6",
    "generic-x86_64",
    "imx8mm-evk",
    "intel-nuc",
    "jetson-nano",
    "ntc-chip",
    "odroid-c2",
    "odroid-xu4",
    "orangepi-pc",
    "raspberrypi",
    "raspberrypi2",
    "raspberrypi3",
    "raspberrypi3-64",
    "raspberrypi4-64",
    "raspberrypi5",
    "up-board",
    "var-som-mx6",
];

#[test]
fn the_usual_types_are_there() {
    let names: BTreeSet<String> = physical().into_iter().map(|board| board.name).collect();
    let missing: Vec<&&str> = WANTED.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn each_says_where_it_is_from_and_what_is_open() {
    for board in physical() {
        let about = board.about.unwrap_or_default();
        assert!(about.starts_with("From documents only: hil never ran on one"), "{}", board.name);
        assert!(about.contains("\nNot confirmed: "), "{}: says nothing of it", board.name);
        let urls = board.sources.iter().filter(|source| source.starts_with("http")).count();
        assert!(urls > 1, "{}: {:?}", board.name, board.sources);
    }
}

#[test]
fn each_can_be_flashed_and_has_a_ready_mark() {
    for board in physical() {
        assert!(board.flash.is_some(), "{}", board.name);
        assert!(board.stages.ready.is_some() && board.stages.kernel.is_some(), "{}", board.name);
    }
}

#[test]
fn the_manual_lists_them() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../boards/README.md");
    let manual = fs::read_to_string(manual).unwrap();
    for board in physical() {
        let (device, baud) = (&board.console.device, board.console.baud);
        let row = format!("| `{}` | {device} {baud} |", board.name);
        let balena = format!(" {} |", board.balena.as_deref().unwrap_or("–"));
        let found = manual.lines().find(|line| line.starts_with(&row));
        assert!(found.is_some_and(|line| line.ends_with(&balena)), "no `{row} …{balena}`");
    }
}

#[test]
fn no_two_boards_are_one_type_of_balenas() {
    let mut seen = BTreeMap::new();
    for board in physical() {
        let Some(slug) = board.balena else { continue };
        if let Some(other) = seen.insert(slug.clone(), board.name.clone()) {
            panic!("{slug} is both {other} and {}", board.name);
        }
    }
    assert!(seen.len() >= 24, "{seen:?}");
}

#[test]
fn boards_that_qemu_plays_name_their_emulation() {
    let played: Vec<(String, String)> =
        physical().into_iter().filter_map(|board| Some((board.name, board.emulated_by?))).collect();
    for (name, emulation) in [
        ("raspberrypi2", "qemu-raspberrypi2"),
        ("raspberrypi3-64", "qemu-raspberrypi3"),
        ("orangepi-pc", "qemu-orangepi-pc"),
        ("cubieboard", "qemu-cubieboard"),
    ] {
        assert!(played.contains(&(name.into(), emulation.into())), "{played:?}");
    }
}

/// Which samples there are for one kind of mark: stages by name, and U-Boot's two.
fn sampled(board: &Board) -> Vec<(String, String)> {
    let samples = &board.samples;
    let uboot = [("autoboot", &samples.autoboot), ("prompt", &samples.prompt)];
    let stages = samples.by_stage().map(|(stage, line)| (stage.to_string(), line.to_string()));
    let uboot = uboot.into_iter().filter_map(|(kind, line)| Some((kind.into(), line.clone()?)));
    stages.chain(uboot).collect()
}

/// Prompts for which no log was found: the configuration among the board's sources sets them.
const FROM_SOURCE: [&str; 4] =
    ["^AR(TI|IT)K5 # ?$", "^ODROID-XU[34] # ?$", "^U-Boot> ?$", "^Zynq> ?$"];

/// A sample is checked against its own board's mark when the file is read. Marks that boards
/// share need a line from one of them only; a mark without any line is a guess.
#[test]
fn no_mark_is_a_guess() {
    let boards = physical();
    let lines: Vec<(String, String)> = boards.iter().flat_map(sampled).collect();
    let borne_out = |kind: &str, mark: &str| {
        let regex = Regex::new(mark).unwrap();
        lines.iter().any(|(of, line)| of == kind && regex.is_match(line))
    };
    let mut guesses = Vec::new();
    for board in &boards {
        let mut marks: Vec<(String, &str)> =
            board.stages.by_stage().into_iter().map(|(s, mark)| (s.to_string(), mark)).collect();
        if let Some(uboot) = &board.uboot {
            marks.push(("autoboot".into(), &uboot.autoboot));
            marks.push(("prompt".into(), &uboot.prompt));
        }
        let open = marks.into_iter().filter(|(kind, mark)| !borne_out(kind, mark));
        guesses.extend(open.map(|(kind, mark)| format!("{}: {kind} {mark}", board.name)));
    }
    guesses.retain(|guess| !FROM_SOURCE.iter().any(|mark| guess.ends_with(mark)));
    assert!(guesses.is_empty(), "no sample bears these out: {guesses:#?}");
}
