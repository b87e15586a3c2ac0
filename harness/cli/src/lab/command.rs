//! `hil lab`: which command is meant, and what all of them share: the lab, its places, and a
//! runtime that a signal or a hung device cannot hold.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::located::nearest;
use hil_core::verdict::exit;
use hil_lab::{DriverError, Instance, Lab, Places};
use hil_qemu::catalogue::Catalogue;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{LabArgs, LabCommand, StatusArgs};
use super::{board_of, calibrate, check, console, flash, hold, must_load, power, settle, status};
use crate::catalogue;
use crate::failure::Failure;

/// What a command works on.
pub(super) struct Bench {
    pub(super) lab: Lab,
    pub(super) places: Places,
    pub(super) catalogue: Catalogue,
}

pub(crate) fn lab(args: &LabArgs) -> Result<u8, Failure> {
    let catalogue = catalogue::load(args.lab.board_dir.as_deref())?;
    let lab = must_load(args.lab.file.as_deref(), &catalogue)?;
    let places = Places::of_host().map_err(failed)?;
    let bench = Bench { lab, places, catalogue };
    match &args.command {
        None => drive(status::status(&bench, &StatusArgs::default())),
        Some(LabCommand::Status(status)) => drive(status::status(&bench, status)),
        Some(LabCommand::Power(power)) => drive(power::power(&bench, power)),
        Some(LabCommand::Console(console)) => block_on(console::console(&bench, console)),
        Some(LabCommand::Flash(flash)) => flash::flash(&bench, flash),
        Some(LabCommand::Hold(hold)) => block_on(hold::hold(&bench, hold)),
        Some(LabCommand::Calibrate(args)) => drive(calibrate::calibrate(&bench, args)),
        Some(LabCommand::Check(check)) if check.settle => drive(settle::settle(&bench, check)),
        Some(LabCommand::Check(check)) => drive(check::check(&bench, check)),
    }
}

impl Bench {
    /// One board of the lab, by its own name.
    pub(super) fn instance(&self, name: &str) -> Result<&Instance, Failure> {
        self.lab.instance.get(name).ok_or_else(|| {
            let file = self.lab.file.display();
            let names: Vec<&str> = self.lab.instance.keys().map(String::as_str).collect();
            let of_type: Vec<&str> = self.lab.of_type(name).map(|one| one.name.as_str()).collect();
            let help = match nearest(name, names.iter().copied()) {
                _ if names.is_empty() => "nothing stands there".to_string(),
                _ if !of_type.is_empty() => {
                    format!("`{name}` is a device type; of it there is {}", of_type.join(", "))
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", names.join(", ")),
            };
            Failure::usage(format!("no board `{name}` stands in {file}\nhelp: {help}"))
        })
    }

    /// The boards named, or all; each once, in the order of their names.
    pub(super) fn instances(&self, names: &[String]) -> Result<Vec<Instance>, Failure> {
        for name in names {
            self.instance(name)?;
        }
        let all = self.lab.instance.values();
        let meant = all.filter(|one| names.is_empty() || names.contains(&one.name));
        Ok(meant.cloned().collect())
    }

    /// The instance's device type, as slow as this one is.
    pub(super) fn board(&self, instance: &Instance) -> Result<Arc<Board>, Failure> {
        board_of(&self.catalogue, instance).map(Arc::new)
    }
}

/// What a driver says, as the reason why a command ends.
pub(super) fn failed(error: DriverError) -> Failure {
    Failure::host(format!("failed to {error}"))
}

/// Something for the person at the terminal that is no result.
pub(super) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "hil: {text}");
}

/// Runs `work` until it is done or a signal comes; then it is dropped, and boards it held go to
/// their safe state before this returns.
pub(super) fn drive(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    block_on(async {
        tokio::select! {
            biased;
            () = stop() => {
                tell("interrupted; boards in use go to their safe state");
                Err(interrupted())
            }
            done = work => done,
        }
    })
}

pub(super) fn interrupted() -> Failure {
    Failure { code: exit::INTERRUPTED, message: "interrupted".into() }
}

/// Runs `work`, which looks after signals itself.
pub(super) fn block_on(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::host(format!("failed to start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    // Not waited for: a device that hangs may never let go of its thread.
    runtime.shutdown_background();
    done
}

/// Resolves at the first Ctrl-C, SIGTERM or SIGHUP; later ones are without effect while a board is
/// made safe, which takes seconds.
pub(super) async fn stop() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}
