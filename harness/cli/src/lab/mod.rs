//! The lab file of this run: where it is found, and which of its boards a name means. The commands
//! of `hil lab` are beside it, a file each, behind `command`.

pub(crate) mod args;
mod calibrate;
mod check;
pub(crate) mod command;
mod console;
mod flash;
mod hold;
mod medium;
mod power;
mod settle;
mod status;
mod taken;
mod terminal;
mod trial;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::located::nearest;
use hil_lab::lock::{Holder, Lock, now};
use hil_lab::{Instance, Lab, Places};
use hil_qemu::catalogue::Catalogue;

use crate::catalogue;
use crate::failure::Failure;

/// The variable that names the lab file.
pub(crate) const VARIABLE: &str = "HIL_LAB";

/// The lab file asked for, or the one where it usually is; `None` where there is none at all.
pub(crate) fn load(asked: Option<&Path>, catalogue: &Catalogue) -> Result<Option<Lab>, Failure> {
    let Some(file) = asked.map(Path::to_path_buf).or_else(usual) else { return Ok(None) };
    let text = fs::read_to_string(&file).map_err(|why| {
        let help = "give the path of a lab file; harness/lab/README.md shows one";
        Failure::usage(format!(
            "failed to read the lab file {}: {why}\nhelp: {help}",
            file.display()
        ))
    })?;
    let types: Vec<&str> = catalogue
        .boards()
        .filter(|board| !board.is_emulated())
        .map(|board| board.name.as_str())
        .collect();
    let lab = Lab::parse(&text, &file, &|name| types.contains(&name), &types)?;
    Ok(Some(lab))
}

/// The same, where a command is of no use without one.
pub(crate) fn must_load(asked: Option<&Path>, catalogue: &Catalogue) -> Result<Lab, Failure> {
    load(asked, catalogue)?.ok_or_else(|| {
        let places: Vec<String> = usual_places().iter().map(|p| p.display().to_string()).collect();
        Failure::usage(format!(
            "there is no lab file\nhelp: give --lab FILE or set {VARIABLE}; otherwise these are \
             read: {}",
            places.join(", ")
        ))
    })
}

fn usual() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(VARIABLE).filter(|file| !file.is_empty()) {
        return Some(file.into());
    }
    usual_places().into_iter().find(|file| file.is_file())
}

/// `$XDG_CONFIG_HOME/hil/lab.toml`, or `~/.config/hil/lab.toml`; then `/etc/hil/lab.toml`.
fn usual_places() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let own = config.map(|config| config.join("hil/lab.toml"));
    own.into_iter().chain([PathBuf::from("/etc/hil/lab.toml")]).collect()
}

/// What a `--board` means: a board, and the instances that may play it (none for an emulator).
pub(crate) struct Meant {
    pub(crate) board: Arc<Board>,
    pub(crate) instances: Vec<Instance>,
}

/// A board by the name of an emulator, a device type or an instance of the lab.
pub(crate) fn meant(
    catalogue: &Catalogue,
    lab: Option<&Lab>,
    name: &str,
) -> Result<Meant, Failure> {
    if let Some(instance) = lab.and_then(|lab| lab.instance.get(name)) {
        let mut board = board_of(catalogue, instance)?;
        board.name = name.into();
        return Ok(Meant { board: Arc::new(board), instances: vec![instance.clone()] });
    }
    let board = catalogue::board(catalogue, name).map_err(|failure| among(failure, lab, name))?;
    if board.is_emulated() {
        return Ok(Meant { board, instances: Vec::new() });
    }
    let Some(lab) = lab else {
        let help = match &board.emulated_by {
            Some(emulated) => format!("; its emulation is `{emulated}`"),
            None => String::new(),
        };
        return Err(Failure::usage(format!(
            "`{name}` is a physical board, and there is no lab file that says where one stands\n\
             help: give --lab FILE or set {VARIABLE}{help}"
        )));
    };
    let instances: Vec<Instance> = lab.of_type(name).cloned().collect();
    if instances.is_empty() {
        let there: Vec<String> = lab.instance.values().map(words).collect();
        let there = if there.is_empty() { "nothing".into() } else { there.join(", ") };
        let file = lab.file.display();
        return Err(Failure::usage(format!("no `{name}` stands in {file}; there is {there}")));
    }
    let mut board = (*board).clone();
    // One board value serves whichever instance is free; the slowest sets its deadlines.
    board.slowness *= instances.iter().map(|instance| instance.slowness).fold(0.1, f64::max);
    Ok(Meant { board: Arc::new(board), instances })
}

/// An instance's device type, as slow and as connected as this one is.
pub(crate) fn board_of(catalogue: &Catalogue, instance: &Instance) -> Result<Board, Failure> {
    let mut board = (*catalogue::board(catalogue, &instance.board)?).clone();
    board.slowness *= instance.slowness;
    Ok(board)
}

fn words(instance: &Instance) -> String {
    format!("{} ({})", instance.name, instance.board)
}

/// The names of a lab's boards belong to the suggestions, too.
fn among(failure: Failure, lab: Option<&Lab>, name: &str) -> Failure {
    let names = lab.into_iter().flat_map(|lab| lab.instance.keys().map(String::as_str));
    match nearest(name, names) {
        Some(near) => Failure::usage(format!(
            "there is no board `{name}`\nhelp: did you mean `{near}`, which stands in the lab?"
        )),
        None => failure,
    }
}

/// This process, as the holder of boards.
pub(crate) fn me(what: String, by_hand: bool) -> Holder {
    let uid = rustix::process::getuid().as_raw();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    Holder {
        pid: std::process::id(),
        user: user.unwrap_or_else(|_| format!("user {uid}")),
        since: now(),
        what,
        by_hand,
    }
}

/// This process's command line, for whoever finds a board held by it.
pub(crate) fn command_line() -> String {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    format!("hil {}", words.join(" "))
}

/// Who holds an instance now.
pub(crate) fn holder(places: &Places, instance: &str) -> Option<Holder> {
    Lock::holder(&places.locks, instance)
}
