//! `hil lab power`: a board's contact, by hand.

use std::time::Duration;

use hil_core::verdict::exit;
use hil_lab::power::{PATIENCE, PowerSpec};
use hil_lab::{Instance, Wired, Worker};
use tokio::time::sleep;

use super::args::{PowerArgs, Switching};
use super::command::{Bench, failed, tell};
use super::taken::Taken;
use crate::failure::Failure;
use crate::show::put;

/// Switching, asking back and a second try fit into this.
pub(super) const CALL: Duration = Duration::from_secs(PATIENCE.as_secs() * 2);

pub(super) async fn power(bench: &Bench, args: &PowerArgs) -> Result<u8, Failure> {
    let instance = bench.instance(&args.instance)?;
    let taken = Taken::take(instance).await?;
    let wired = Wired::new(instance);
    let label = wired.label();
    let switch = Worker::start(label.clone(), wired).map_err(failed)?;
    let on = args.what != Switching::Off;
    match args.what {
        Switching::On => give(&switch, instance).await?,
        Switching::Off => take_away(&switch).await?,
        Switching::Cycle => {
            take_away(&switch).await?;
            // At least until the board is really dark.
            let dark = instance.timing.discharge().max(instance.timing.min_off());
            waiting(&instance.name, dark).await;
            switch.call(CALL, Wired::on).await.map_err(failed)?;
        }
    }
    let told = switch.call(CALL, Wired::state).await.map_err(failed)?;
    taken.leave().await?;
    put(&report(&instance.name, on, told, &label));
    if matches!(instance.power, PowerSpec::Gpio(_)) {
        tell("a GPIO line keeps its level only while a program holds it: `hil lab hold` does not");
    }
    Ok(exit::OK)
}

pub(super) async fn take_away(switch: &Worker<Wired>) -> Result<(), Failure> {
    switch.call(CALL, Wired::off).await.map_err(failed)
}

/// Gives power. Nobody knows since when a board that is off has been so: its minimum time without
/// power begins now.
pub(super) async fn give(switch: &Worker<Wired>, instance: &Instance) -> Result<(), Failure> {
    let now = switch.call(CALL, Wired::state).await.map_err(failed)?;
    if now != Some(true) {
        waiting(&instance.name, instance.timing.min_off()).await;
    }
    switch.call(CALL, Wired::on).await.map_err(failed)
}

async fn waiting(name: &str, span: Duration) {
    if span >= Duration::from_secs(1) {
        tell(&format!(
            "{name} stays without power for {} s, as its lab file asks",
            span.as_secs_f64()
        ));
    }
    sleep(span).await;
}

fn report(name: &str, on: bool, told: Option<bool>, label: &str) -> String {
    let word = if on { "on" } else { "off" };
    match told {
        Some(_) => format!("{name} is {word}, as {label} says\n"),
        None => format!("{name} was switched {word}; {label} cannot be asked\n"),
    }
}
