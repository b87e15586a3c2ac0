//! What each case starts from: the board as it is, a fork of it, or a boot of its own.
//!
//! Cases that share a board come first, on a board as it booted. Then, if cases want forks, a board is
//! booted, warmed and saved, and goes on as its own first fork. Where it cannot be forked, those cases
//! get a reboot instead, and the report says so.

use hil_core::case::Isolation;
use hil_core::deadline::secs;
use hil_core::plan::{PlannedCase, SessionPlan, derive_seed};
use hil_core::product::Container;
use hil_core::rig::Rig;
use hil_core::stage::Stage;
use hil_core::trouble::{Outcome, Trouble};

use crate::interrupt::{Interrupt, or_interrupted};

/// How often a board that a case left in doubt is brought up anew before it is given up.
const REVIVALS: u32 = 3;

/// In which state the rig's board is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stands {
    Off,
    /// Ready, and no case has run on it since.
    Pristine,
    Used,
    /// A case ended in a way after which the board may be in any state.
    InDoubt,
    /// Nothing shall run on it as it is.
    Spent,
}

/// Keeps a session's board in the state that the next case needs.
pub(crate) struct Starts {
    stands: Stands,
    /// Cases of this session start from forks, as far as is known.
    forking: bool,
    seed: u64,
    starts: u64,
    revivals: u32,
}

impl Starts {
    pub(crate) fn new(rig: &mut Rig, plan: &SessionPlan) -> Starts {
        let wanted = plan.cases.iter().filter(|case| case.isolation == Isolation::Fork).count();
        let forking = wanted > 0 && rig.can_fork();
        if wanted > 0 && !forking {
            rig.journal().note(format!(
                "this board cannot be forked: {wanted} cases start after a reboot each instead"
            ));
        }
        let seed = plan.cases.first().map_or(0, |case| case.seed);
        Starts { stands: Stands::Off, forking, seed, starts: 0, revivals: 0 }
    }

    /// Brings the board into the state that `case` asks for. An error is a board that does not come
    /// up: no case can run on it.
    pub(crate) async fn before(
        &mut self,
        rig: &mut Rig,
        case: &PlannedCase,
        interrupt: &mut Interrupt,
    ) -> Outcome {
        let work = async {
            match case.isolation {
                Isolation::Shared => self.shared(rig).await,
                Isolation::Fork if self.forking => self.fork(rig, case.seed).await,
                Isolation::Fork | Isolation::Reboot => self.reboot(rig).await,
            }
        };
        or_interrupted(interrupt, work).await
    }

    /// The case is run once more, on nothing that its last attempt has left.
    pub(crate) fn again(&mut self) {
        self.stands = Stands::Spent;
    }

    /// How the case left the board.
    pub(crate) fn after(&mut self, board_is_suspect: bool) {
        self.stands = if board_is_suspect { Stands::InDoubt } else { Stands::Used };
    }

    async fn shared(&mut self, rig: &mut Rig) -> Outcome {
        match self.stands {
            Stands::Pristine | Stands::Used => Ok(()),
            Stands::InDoubt if answers(rig).await => Ok(()),
            Stands::InDoubt => {
                self.revivals += 1;
                if self.revivals > REVIVALS {
                    let times = self.revivals;
                    let why = format!("the board was lost {times} times; it is given up");
                    return Err(Trouble::rack(why));
                }
                rig.journal().note("the last case left the board in doubt; it is booted anew");
                self.boot(rig).await
            }
            Stands::Off | Stands::Spent => self.boot(rig).await,
        }
    }

    async fn fork(&mut self, rig: &mut Rig, seed: u64) -> Outcome {
        // Never a board that cases have looked at: what they saw is a board that hil had not touched,
        // and what is saved is one that no case has.
        while rig.claim_saved().await {
            self.starts += 1;
            rig.journal().doing("forking", None);
            let forked = rig.fork(derive_seed(seed, &format!("start {}", self.starts))).await;
            let Err(why) = forked else {
                self.stands = Stands::Pristine;
                return Ok(());
            };
            // What was saved may be an earlier run's, and damaged: a boot shows what is the matter.
            rig.journal().note(format!("a fork of the saved board failed: {why}; booting"));
            rig.discard_saved();
            self.stands = Stands::Spent;
        }
        self.save(rig).await
    }

    /// Boots, saves the board as it is then, and goes on as its first fork.
    async fn save(&mut self, rig: &mut Rig) -> Outcome {
        self.boot(rig).await?;
        warm(rig).await;
        rig.journal().doing("saving", None);
        self.stands = Stands::Spent;
        self.starts += 1;
        let seed = derive_seed(self.seed, &format!("start {}", self.starts));
        let saved = async {
            rig.save().await?;
            rig.fork(seed).await
        };
        if let Err(why) = saved.await {
            self.forking = false;
            rig.discard_saved();
            rig.journal()
                .note(format!("the board could not be saved: {why}; cases reboot instead"));
            return self.boot(rig).await;
        }
        self.stands = Stands::Pristine;
        Ok(())
    }

    /// A boot of its own, on the medium as it was provisioned where that can be had.
    async fn reboot(&mut self, rig: &mut Rig) -> Outcome {
        match self.stands {
            Stands::Pristine => Ok(()),
            _ => self.boot(rig).await,
        }
    }

    async fn boot(&mut self, rig: &mut Rig) -> Outcome {
        if self.stands != Stands::Off {
            rig.power_off().await?;
            rig.renew().await?;
        }
        self.stands = Stands::Spent;
        rig.journal().doing("booting", None);
        rig.power_on().await?;
        rig.reach(Stage::Ready).await?;
        self.stands = Stands::Pristine;
        Ok(())
    }
}

async fn answers(rig: &mut Rig) -> bool {
    if rig.power().loss().borrow().is_some() || rig.shell().is_none() {
        return false;
    }
    rig.run_in("true", secs(3)).await.is_ok_and(|output| output.ok())
}

/// Does once what every fork would do anew: starts the engine's first container, whose code an
/// emulator translates for seconds. What goes wrong here goes wrong in a case, too, and is told there.
async fn warm(rig: &mut Rig) {
    let offline = rig.image().engine.as_ref().and_then(|spec| spec.facts().offline_image.clone());
    let (Ok(engine), Some(image)) = (rig.engine(), offline) else { return };
    rig.journal().doing("warming up", None);
    let warmed = async {
        engine.ready(rig).await?;
        engine.load(rig, &image.path).await?;
        let container = Container { image: &image.tag, command: &["true"], ..Container::default() };
        engine.run(rig, &container).await
    };
    if let Err(why) = warmed.await {
        rig.journal().note(format!("the board was saved without having been warmed up: {why}"));
    }
}
