//! A board in its loader's mode, in which a tool on this host writes it: a contact that is closed
//! while power comes, lines typed at the U-Boot that is on the board, or power alone. Giving power
//! and running the tool are others' part.

use std::sync::Arc;
use std::time::Duration;

use hil_console::Capture;
use hil_console::uboot::UBootConsole;
use hil_core::board::{Board, UBoot};
use hil_core::deadline::{Deadline, secs};
use hil_core::image::Image;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::labfile::Timing;
use hil_lab::storage::Way;
use hil_lab::{Instance, Wired, Worker, power};

use super::power::CALL;
use super::uboot;

/// What brings one board into its loader's mode.
pub(crate) struct LoaderMode {
    contact: Option<Worker<Wired>>,
    /// Typed at the prompt; the last may never come back to it.
    lines: Vec<String>,
    uboot: Option<UBoot>,
    /// The longest time from power-on until the lines are typed.
    span: Duration,
    by_hand: Option<String>,
}

impl LoaderMode {
    /// None for a board that no loader writes. What cannot go well is told before anything is
    /// touched.
    pub(crate) fn of(
        instance: &Instance,
        board: &Board,
        image: &Image,
    ) -> Outcome<Option<LoaderMode>> {
        let spec = instance.storage.as_ref();
        let Way::Loader(loader) = Way::of(spec, board.flash.as_ref())? else { return Ok(None) };
        if loader.provides.is_none() && !image.inject.is_empty() {
            return Err(Trouble::rack(format!(
                "{}: the loader of `{}` writes the image itself, so [[inject]] has no place: put \
                 the files into the image",
                image.file.display(),
                instance.board
            )));
        }
        let uboot = match loader.uboot.is_empty() {
            true => None,
            false => Some(uboot::known(board.uboot.as_ref(), &instance.board)?.clone()),
        };
        let contact = match spec.and_then(|spec| spec.contact()) {
            Some(contact) => {
                let contact = Wired::over(power::open(contact), Timing::default());
                Some(Worker::start(contact.label(), contact)?)
            }
            None => None,
        };
        let told = spec.is_some_and(|spec| spec.enter.is_some());
        Ok(Some(LoaderMode {
            contact,
            lines: loader.uboot.clone(),
            uboot,
            span: secs(board.boot_deadline_s).mul_f64(board.slowness),
            by_hand: loader.enter.clone().filter(|_| !told),
        }))
    }

    /// What a person must do, where the rack can not.
    pub(crate) fn by_hand(&self) -> Option<&str> {
        self.by_hand.as_deref()
    }

    /// Nobody stands beside a board in a run.
    pub(super) fn must_go_alone(&self, instance: &Instance) -> Outcome {
        let Some(by_hand) = &self.by_hand else { return Ok(()) };
        let name = &instance.name;
        Err(Trouble::rack(format!(
            "{name} is flashed by its loader, for which a person must {by_hand}: wire that to a \
             contact ([instance.{name}.storage.enter.contact.…]), say `enter = \"power-on\"` \
             there if power alone does it, or flash it by `hil lab flash {name}` and leave \
             [instance.{name}.storage] out"
        )))
    }

    /// Whether the console must be there.
    pub(crate) fn types(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Before power comes.
    pub(crate) async fn close(&self) -> Outcome {
        match &self.contact {
            Some(contact) => Ok(contact.call(CALL, Wired::on).await?),
            None => Ok(()),
        }
    }

    /// After power came; `from` is where the console stood before.
    pub(crate) async fn enter(&self, console: &Arc<Capture>, from: u64) -> Outcome {
        let Some(uboot) = &self.uboot else { return Ok(()) };
        // Whatever is on the board now, it is not the image's fault.
        self.type_lines(uboot, console, from).await.map_err(|trouble| {
            Trouble::rack(format!(
                "the board could not be brought into its loader's mode: {trouble}"
            ))
        })
    }

    async fn type_lines(&self, uboot: &UBoot, console: &Arc<Capture>, from: u64) -> Outcome {
        let deadline = Deadline::within(self.span);
        let mut uboot = UBootConsole::new(console.clone(), uboot)?;
        uboot.interrupt(from, deadline).await?;
        let Some((last, first)) = self.lines.split_last() else { return Ok(()) };
        for line in first {
            uboot.run(line, deadline).await?;
        }
        uboot.launch(last, deadline).await.map(|_| ())
    }

    /// After power is gone: the next boot is an ordinary one.
    pub(crate) async fn open(&self) -> Outcome {
        match &self.contact {
            Some(contact) => Ok(contact.call(CALL, Wired::off).await?),
            None => Ok(()),
        }
    }
}
