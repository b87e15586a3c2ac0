//! Which images run on which board, each prepared once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::envelope::Envelope;
use hil_core::event::{Doing, Sink};
use hil_core::image::Image;
use hil_core::mask::Masker;
use hil_lab::Instance;
use hil_qemu::catalogue::Catalogue;
use hil_run::prepare::{self, Cache, Prepared};

use crate::demo;
use crate::failure::Failure;
use crate::paths;
use crate::rack::boot;

/// The prepared images of each board, smallest first.
pub(crate) type Images = BTreeMap<String, Vec<Arc<Prepared>>>;

/// The manifests for each board, smallest image first; builds the demo images where none is given.
pub(crate) fn manifests(
    boards: &[Arc<Board>],
    given: &[PathBuf],
    instances: &BTreeMap<String, Vec<Instance>>,
) -> Result<BTreeMap<String, Vec<PathBuf>>, Failure> {
    let of_board = |board: &Arc<Board>| {
        let files = match (given.is_empty(), board.is_emulated()) {
            (false, _) => fitting(board, given)?,
            (true, true) => demo_of(board)?,
            (true, false) => of_lab(board, instances.get(&board.name))?,
        };
        Ok((board.name.clone(), files))
    };
    let manifests = boards.iter().map(of_board).collect::<Result<_, Failure>>()?;
    given.iter().try_for_each(|file| used(file, boards))?;
    Ok(manifests)
}

fn demo_of(board: &Board) -> Result<Vec<PathBuf>, Failure> {
    match &board.demo {
        Some(demo) => demo::images(board.arch, demo),
        None => Err(Failure::usage(format!(
            "no image for `{}`\nhelp: give --image; demo-os is not made for this board",
            board.name
        ))),
    }
}

/// The images that the lab file names for a physical board, or the demo-os that it asks for.
fn of_lab(board: &Board, instances: Option<&Vec<Instance>>) -> Result<Vec<PathBuf>, Failure> {
    let mut wiring = instances.into_iter().flatten().map(|it| (&it.images, &it.demo));
    let Some((images, demo)) = wiring.next() else { return Err(no_image(board)) };
    if wiring.any(|other| other != (images, demo)) {
        return Err(Failure::usage(format!(
            "the instances of `{}` name different images\nhelp: give --image, or one instance",
            board.name
        )));
    }
    match (images.is_empty(), demo) {
        (false, _) => fitting(board, images),
        (true, Some(demo)) => demo::images(board.arch, demo),
        (true, None) => Err(no_image(board)),
    }
}

fn no_image(board: &Board) -> Failure {
    Failure::usage(format!(
        "no image for `{}`\nhelp: give --image, or `images` in the lab file",
        board.name
    ))
}

/// An image that no board takes is a slip; that others are taken must not hide it.
fn used(file: &Path, boards: &[Arc<Board>]) -> Result<(), Failure> {
    let arch = prepare::load(file)?.arch;
    if boards.iter().any(|board| board.arch == arch) {
        return Ok(());
    }
    let of = |board: &Arc<Board>| format!("`{}` is {}", board.name, board.arch);
    let boards: Vec<String> = boards.iter().map(of).collect();
    let file = file.display();
    let help = format!("leave it out, or add a board that is {arch}: see `hil boards`");
    let boards = boards.join(", ");
    Err(Failure::usage(format!("{file} is for {arch}, and no board is: {boards}\nhelp: {help}")))
}

/// What an image wants typed at U-Boot's prompt can be typed on every board.
pub(crate) fn check_uboot(
    boards: &[Arc<Board>],
    manifests: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<(), Failure> {
    for board in boards.iter().filter(|board| board.is_emulated() || board.uboot.is_none()) {
        for file in &manifests[&board.name] {
            if prepare::load(file)?.uboot.is_some() {
                let why = match board.is_emulated() {
                    true => "is emulated: only physical boards are typed at",
                    false => "is of a type that has no [uboot] table",
                };
                let (file, name) = (file.display(), &board.name);
                return Err(Failure::usage(format!(
                    "{file}: [uboot] cannot be typed: `{name}` {why}"
                )));
            }
        }
    }
    Ok(())
}

/// Every image can be started by its board's machine.
pub(crate) fn check_boots(
    boards: &[Arc<Board>],
    manifests: &BTreeMap<String, Vec<PathBuf>>,
    catalogue: &Catalogue,
) -> Result<(), Failure> {
    for board in boards {
        let machine = board.qemu.as_ref().and_then(|on| catalogue.machine(&on.machine));
        let Some(machine) = machine else { continue };
        for file in &manifests[&board.name] {
            boot::check(board, machine, &prepare::load(file)?)?;
        }
    }
    Ok(())
}

/// Every image fits on the medium that the envelope gives its board.
pub(crate) fn check_fits(images: &Images, envelope: &Envelope) -> Result<(), Failure> {
    let Some(given) = envelope.disk_mib else { return Ok(()) };
    for prepared in images.values().flatten() {
        let Some(disk) = &prepared.disk else { continue };
        let size = fs::metadata(disk).map_or(0, |about| about.len()).div_ceil(1 << 20);
        if size > u64::from(given) {
            let file = prepared.image.file.display();
            let why = format!("--envelope disk={given}M: the image of {file} has {size} MiB");
            return Err(Failure::usage(format!("{why}\nhelp: give at least disk={size}M")));
        }
    }
    Ok(())
}

/// Loads, checks and prepares every image, once each; `shown` is told how far it is.
pub(crate) fn prepare_all(
    manifests: &BTreeMap<String, Vec<PathBuf>>,
    shown: &dyn Sink,
) -> Result<Images, Failure> {
    let cache = Cache::new(paths::cache()?)?;
    let mut known: BTreeMap<&Path, Arc<Prepared>> = BTreeMap::new();
    let mut images = Images::new();
    for (board, files) in manifests {
        let mut list = Vec::new();
        for file in files {
            if !known.contains_key(file.as_path()) {
                known.insert(file, Arc::new(prepare_one(file, &cache, board, shown)?));
            }
            list.extend(known.get(file.as_path()).cloned());
        }
        images.insert(board.clone(), list);
    }
    Ok(images)
}

fn prepare_one(
    file: &Path,
    cache: &Cache,
    board: &str,
    shown: &dyn Sink,
) -> Result<Prepared, Failure> {
    let report = |what: &str, done: u64, total: u64| {
        let what = what.to_string();
        shown.doing(&Doing { board: board.to_string(), what, of: Some((done, total)) });
    };
    let image = prepare::load(file)?;
    let named_elsewhere = boot::named_elsewhere(&image)?;
    Ok(prepare::prepare(image, &named_elsewhere, cache, &report)?)
}

/// The given images that are for the board's architecture; none is an error that says so.
fn fitting(board: &Board, given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut fits = Vec::new();
    let mut others = Vec::new();
    for file in given {
        let image = prepare::load(file)?;
        if image.arch == board.arch {
            fits.push(file.clone());
        } else {
            others.push(format!("{} is for {}", file.display(), image.arch));
        }
    }
    if fits.is_empty() {
        let what = format!("no image for board `{}`, which is {}", board.name, board.arch);
        return Err(Failure::usage(format!("{what}: {}", others.join("; "))));
    }
    Ok(fits)
}

/// Masks what the images' manifests call secret, and the passwords of the lab file; a secret that
/// is not set is an error.
pub(crate) fn masker<'i>(
    images: &Images,
    instances: impl IntoIterator<Item = &'i Instance>,
) -> Result<Masker, Failure> {
    let mut secrets = Vec::new();
    for image in images.values().flatten() {
        secrets.extend(secrets_of(&image.image)?);
    }
    let of_lab = instances.into_iter().flat_map(Instance::secrets).map(String::from);
    secrets.extend(of_lab);
    Ok(Masker::new(secrets))
}

fn secrets_of(image: &Image) -> Result<Vec<String>, Failure> {
    let value = |(name, secret): (&String, &hil_core::image::Secret)| {
        let file = image.file.display();
        let value = std::env::var(&secret.env).map_err(|_| {
            Failure::usage(format!("{file}: the secret `{name}` needs the variable {}", secret.env))
        })?;
        if value.len() < 4 {
            let why = "has fewer than 4 characters; masking it would shred every log";
            return Err(Failure::usage(format!("{file}: the secret `{name}` {why}")));
        }
        Ok(value)
    };
    image.secrets.iter().map(value).collect()
}
