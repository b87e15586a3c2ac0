//! A board in the hands of a command: taken through a keeper of its own, or already held by the
//! same user's `hil lab hold` or `hil lab console`.

use hil_core::trouble::Trouble;
use hil_lab::keeper::{Answer, Ask};
use hil_lab::lock::Holder;
use hil_lab::{Instance, KeeperLink};
use tokio::sync::watch;

use super::command::{failed, tell};
use super::{command_line, me, watch as how_to_watch};
use crate::failure::Failure;
use crate::rack::lab::{ANSWER, ask_for, release, start_keeper};
use crate::rack::run_id;

/// A board that nobody else uses. Dropped without [`Taken::leave`], it goes to its safe state,
/// unless it is held by hand: then whoever holds it answers for it.
pub(super) struct Taken {
    name: String,
    link: Option<KeeperLink>,
    /// Marks the processes that the keeper ends before it touches the board.
    pub(super) run: String,
}

impl Taken {
    /// Takes the board, for the time of this command.
    pub(super) async fn take(instance: &Instance) -> Result<Taken, Failure> {
        Taken::take_as(instance, &me(command_line(), false)).await
    }

    /// Takes the board for a holder with his own words.
    pub(super) async fn take_as(instance: &Instance, holder: &Holder) -> Result<Taken, Failure> {
        let (name, run) = (instance.name.clone(), run_id());
        let link = start_keeper(&run).map_err(failed)?;
        match ask_for(&link, instance, holder).await.map_err(failed)? {
            Answer::Held { left_by } => {
                if let Some(holder) = left_by {
                    tell(&format!("{holder} died holding {name}"));
                }
                Ok(Taken { name, link: Some(link), run })
            }
            Answer::Busy { holder: Some(other) } if is_mine(&other, holder) => {
                tell(&format!("{name} is yours already: {other}"));
                Ok(Taken { name, link: None, run })
            }
            Answer::Busy { holder: other } => Err(busy(instance, other.as_ref())),
            Answer::Failed { why } => Err(Failure::host(why)),
            Answer::Released => Err(Failure::host(format!("the lab's keeper let go of {name}"))),
        }
    }

    /// Whether it is held by another command of this user, and this one has no lock of its own.
    pub(super) fn by_hand(&self) -> bool {
        self.link.is_none()
    }

    /// Holds `Some` once nobody would make the board safe any more.
    pub(super) fn keeper_gone(&self) -> Option<watch::Receiver<Option<Trouble>>> {
        self.link.as_ref().map(KeeperLink::gone)
    }

    /// Lets go of the board as it is.
    pub(super) async fn leave(self) -> Result<(), Failure> {
        let Some(link) = &self.link else { return Ok(()) };
        link.ask(Ask::Leave { name: self.name.clone() }, ANSWER).await.map_err(failed)?;
        Ok(())
    }

    /// Lets go of the board in its safe state.
    pub(super) async fn settle(self) -> Result<(), Failure> {
        let Some(link) = &self.link else { return Ok(()) };
        release(link, &self.name).await.map_err(Failure::host)
    }
}

/// Whether the holder lets this user's commands use the board meanwhile.
fn is_mine(holder: &Holder, me: &Holder) -> bool {
    // Who holds it as `hold` does would not share it with a second `hold`.
    holder.by_hand && holder.user == me.user
}

/// Who has the board, and how to look on.
fn busy(instance: &Instance, holder: Option<&Holder>) -> Failure {
    let name = &instance.name;
    let Some(holder) = holder else {
        return Failure::host(format!("somebody holds {name}; `hil lab` tells who"));
    };
    let watch = match how_to_watch::log_of(holder, instance) {
        Some(log) => format!("\nhelp: to watch its console: tail -f {}", log.display()),
        None => String::new(),
    };
    Failure::host(format!("{name} is held by {holder}{watch}"))
}
