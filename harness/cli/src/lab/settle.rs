//! `hil lab check --settle`: every board that nobody holds into its safe state, as after a reboot
//! of the lab's host, when relays may have come up in any state.

use std::sync::Arc;
use std::time::Duration;

use hil_core::verdict::exit;
use hil_lab::keeper::Answer;
use hil_lab::labfile::Safe;
use hil_lab::lock::Holder;
use hil_lab::{Instance, KeeperLink, stagger};
use tokio::task::JoinSet;

use super::args::CheckArgs;
use super::command::{Bench, failed};
use super::hold::safe;
use super::{command_line, me};
use crate::failure::Failure;
use crate::rack::lab::{ask_for, release, start_keeper};
use crate::rack::run_id;
use crate::show::put;

pub(super) async fn settle(bench: &Bench, args: &CheckArgs) -> Result<u8, Failure> {
    let instances = bench.instances(&args.instances)?;
    let link = Arc::new(start_keeper(&run_id()).map_err(failed)?);
    let holder = me(command_line(), false);
    let apart = Duration::from_secs_f64(bench.lab.stagger_s);
    let mut settling = JoinSet::new();
    for instance in instances {
        settling.spawn(one(link.clone(), instance, holder.clone(), apart));
    }
    let mut code = exit::OK;
    while let Some(done) = settling.join_next().await {
        match done {
            Ok(Ok(line)) => put(&line),
            Ok(Err(line)) => {
                put(&line);
                code = exit::BROKEN;
            }
            Err(error) => return Err(Failure::host(format!("settling broke off: {error}"))),
        }
    }
    Ok(code)
}

/// The line to show; `Err` of a board that is not safe.
async fn one(
    link: Arc<KeeperLink>,
    instance: Instance,
    holder: Holder,
    apart: Duration,
) -> Result<String, String> {
    let name = &instance.name;
    let broken = |why: &dyn std::fmt::Display| format!("broken  {name}: {why}\n");
    match ask_for(&link, &instance, &holder).await {
        Ok(Answer::Held { .. }) => {}
        Ok(Answer::Busy { holder }) => {
            let who = holder.map_or("somebody".into(), |holder| holder.to_string());
            return Ok(format!("held    {name}: left alone: held by {who}\n"));
        }
        Ok(other) => return Err(broken(&format!("the lab's keeper said {other:?}"))),
        Err(error) => return Err(broken(&format!("failed to {error}"))),
    }
    if instance.safe == Safe::On {
        stagger::turn(apart).await;
    }
    match release(&link, name).await {
        Ok(()) => Ok(format!("safe    {name}: {}\n", safe(instance.safe))),
        Err(trouble) => Err(broken(&trouble)),
    }
}
