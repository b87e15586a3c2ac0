//! `hil lab hold`: a board for one's own hands, until one lets go of it or the time is up.

use hil_core::rig::lost;
use hil_core::verdict::exit;

use super::args::HoldArgs;
use super::command::{Bench, stop, tell};
use super::taken::Taken;
use super::{command_line, me};
use crate::failure::Failure;
use crate::show::put;

pub(super) async fn hold(bench: &Bench, args: &HoldArgs) -> Result<u8, Failure> {
    let instance = bench.instance(&args.instance)?;
    let name = &instance.name;
    let what = args.why.clone().unwrap_or_else(command_line);
    // From here on a signal is heard, so that none comes between the taking and the waiting.
    let stop = stop();
    tokio::pin!(stop);
    let me = me(what, true);
    let taken = tokio::select! {
        biased;
        () = &mut stop => return Ok(exit::OK),
        taken = Taken::take_as(instance, &me) => taken?,
    };
    let Some(mut gone) = taken.keeper_gone() else {
        return Err(Failure::host(format!("{name} is held by hand already; see above")));
    };
    let until = match args.time {
        Some(_) => "Ctrl-C, or when the time is up",
        None => "Ctrl-C",
    };
    put(&format!("{name} is yours until {until}; then it goes to its safe state\n"));
    let expired = async {
        match args.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop => {}
        () = expired => tell(&format!("the time is up: letting go of {name}")),
        trouble = lost(&mut gone) => return Err(Failure::host(trouble)),
    }
    taken.settle().await?;
    put(&format!("{name} is in its safe state ({}), and free\n", safe(instance.safe)));
    Ok(exit::OK)
}

pub(super) fn safe(safe: hil_lab::labfile::Safe) -> &'static str {
    match safe {
        hil_lab::labfile::Safe::Off => "off",
        hil_lab::labfile::Safe::On => "on",
    }
}
