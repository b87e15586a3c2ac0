//! `hil lab flash`: an image onto a board's medium by hand, by the same code as in a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hil_console::{Capture, CaptureOptions};
use hil_core::board::Board;
use hil_core::event::{Clock, Event, Journal, Sink, What};
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::stage::StageMarks;
use hil_core::verdict::exit;
use hil_lab::{Instance, Wired, Worker};
use hil_report::Live;
use hil_run::prepare::Prepared;
use hil_run::rack::Lease;

use super::args::FlashArgs;
use super::command::{Bench, drive, failed, tell};
use super::power::{give, take_away};
use super::taken::Taken;
use crate::failure::Failure;
use crate::images;
use crate::rack::lab::flash as rack_flash;
use crate::rack::lab::loader::LoaderMode;
use crate::show::put;

pub(super) fn flash(bench: &Bench, args: &FlashArgs) -> Result<u8, Failure> {
    let instance = bench.instance(&args.instance)?;
    if instance.storage.is_none() {
        return Err(Failure::usage(format!(
            "{} has no [storage] in {}: it counts as flashed already",
            instance.name,
            bench.lab.file.display()
        )));
    }
    let mut board = (*bench.board(instance)?).clone();
    board.name.clone_from(&instance.name);
    let board = Arc::new(board);
    // Before the board is taken: a large image takes its time.
    let (image, masker) = prepared(&board, instance, args)?;
    drive(write(instance, board, image, masker))
}

fn prepared(
    board: &Arc<Board>,
    instance: &Instance,
    args: &FlashArgs,
) -> Result<(Arc<Prepared>, Masker), Failure> {
    let given: Vec<PathBuf> = args.image.iter().cloned().collect();
    let instances = BTreeMap::from([(board.name.clone(), vec![instance.clone()])]);
    let manifests = images::manifests(std::slice::from_ref(board), &given, &instances)?;
    if let Some([_, _, ..]) = manifests.get(&board.name).map(Vec::as_slice) {
        return Err(Failure::usage(format!(
            "the lab file names several images for {}\nhelp: give --image",
            board.name
        )));
    }
    let images = images::prepare_all(&manifests, &Live::stderr(Masker::default()))?;
    let masker = images::masker(&images, [instance])?;
    let one = images.get(&board.name).and_then(|images| images.first()).cloned();
    let one = one.ok_or_else(|| Failure::usage(format!("no image for {}", board.name)))?;
    Ok((one, masker))
}

async fn write(
    instance: &Instance,
    board: Arc<Board>,
    image: Arc<Prepared>,
    masker: Masker,
) -> Result<u8, Failure> {
    let loader = LoaderMode::of(instance, &board, &image.image).map_err(Failure::host)?;
    let taken = Taken::take(instance).await?;
    let wired = Wired::new(instance);
    let switch = Worker::start(wired.label(), wired).map_err(failed)?;
    take_away(&switch).await?;
    tokio::time::sleep(instance.timing.discharge()).await;
    let dir = tempfile::tempdir()
        .map_err(|why| Failure::host(format!("failed to make a temporary folder: {why}")))?;
    let live = Arc::new(Live::stderr(masker.clone()));
    let sinks: Vec<Arc<dyn Sink>> = vec![live.clone(), Arc::new(Told(instance.name.clone()))];
    let lease = Lease {
        forks: false,
        journal: Journal::new(&board.name, Clock::new(), sinks),
        board,
        image,
        dir: dir.path().to_path_buf(),
        masker,
    };
    if let Some(loader) = &loader {
        enter(loader, &switch, instance, &lease).await?;
    }
    let done = rack_flash::flash(instance, &lease, &taken.run).await;
    drop(live);
    done.map_err(Failure::host)?;
    if let Some(loader) = &loader {
        take_away(&switch).await?;
        loader.open().await.map_err(Failure::host)?;
    }
    // Whoever flashes while holding it goes on with it.
    if !taken.by_hand() {
        taken.settle().await?;
    }
    Ok(exit::OK)
}

/// Power, and the loader's mode; a person does what the rack cannot.
async fn enter(
    loader: &LoaderMode,
    switch: &Worker<Wired>,
    instance: &Instance,
    lease: &Lease,
) -> Result<(), Failure> {
    if let Some(by_hand) = loader.by_hand() {
        tell(&format!("{}: now {by_hand}", instance.name));
    }
    loader.close().await.map_err(Failure::host)?;
    if !loader.types() {
        return give(switch, instance).await;
    }
    let options = CaptureOptions::default();
    let marks = StageMarks::default();
    let capture = Capture::open(&lease.dir, Clock::new(), &marks, lease.masker.clone(), options);
    let capture = capture.map_err(Failure::host)?;
    let line = instance.console.open(lease.board.console.baud).await.map_err(failed)?;
    capture.attach(line.stream).await;
    let from = capture.position();
    give(switch, instance).await?;
    loader.enter(&capture, from).await.map_err(Failure::host)
}

/// Says on stdout what was written.
struct Told(String);

impl Sink for Told {
    fn event(&self, _board: &str, event: &Event) {
        if let What::Flashed { how, bytes, took } = &event.what {
            put(&format!("{} is flashed: {how}; {bytes} bytes in {took:.1} s\n", self.0));
        }
    }
}
