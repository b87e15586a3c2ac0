//! Runs a plan: every board beside the others, its sessions one after another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::case::{Isolation, Suite};
use hil_core::event::{Clock, Journal, SCHEMA, Sink, What};
use hil_core::mask::Masker;
use hil_core::plan::BoardPlan;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::interrupt::Interrupt;
use crate::prepare::Prepared;
use crate::rack::{Lease, Rack};
use crate::session::{self, Context};

/// Tells a person how to reach a board that is kept alive.
pub type Kept = Arc<dyn Fn(&str, &[String]) + Send + Sync>;

/// One board's share of a run.
pub struct BoardRun {
    pub board: Arc<Board>,
    /// Its name for those who watch; several boards of one kind may run at once.
    pub label: String,
    pub plan: BoardPlan,
    /// The images its sessions name, by digest.
    pub images: BTreeMap<String, Arc<Prepared>>,
    /// Where its events, captures and reports go; exists.
    pub dir: PathBuf,
    pub sinks: Vec<Arc<dyn Sink>>,
    pub masker: Masker,
}

pub struct Run {
    pub rack: Arc<dyn Rack>,
    pub suites: &'static [Suite],
    pub boards: Vec<BoardRun>,
    /// How many boards at once.
    pub jobs: usize,
    pub keep: bool,
    pub kept: Kept,
    pub clock: Clock,
    /// The version of hil, with the commit it was built from.
    pub hil: String,
    /// Wall-clock start, RFC 3339, UTC.
    pub started: String,
    pub host: String,
}

impl Run {
    /// Runs everything; what happened is in the events. An error is a defect of hil: a board's
    /// task that panicked, whose events end there.
    pub async fn go(self, interrupt: Interrupt) -> Result<(), String> {
        let slots = Arc::new(Semaphore::new(self.jobs.max(1)));
        let mut running = JoinSet::new();
        let shared = Arc::new(Shared {
            rack: self.rack,
            suites: self.suites,
            keep: self.keep,
            kept: self.kept,
            clock: self.clock,
            hil: self.hil,
            started: self.started,
            host: self.host,
        });
        for board in self.boards {
            let (shared, slots, interrupt) = (shared.clone(), slots.clone(), interrupt.clone());
            // Before it waits for its turn: if hil dies meanwhile, what was planned is on the disk.
            let journal = shared.start(&board);
            running.spawn(async move {
                // Never closed, so an error cannot come; a board without a permit would still run.
                let _permit = slots.acquire().await;
                run_board(&shared, board, journal, interrupt).await;
            });
        }
        let mut defects = Vec::new();
        while let Some(ended) = running.join_next().await {
            defects.extend(ended.err().map(|error| error.to_string()));
        }
        if defects.is_empty() { Ok(()) } else { Err(defects.join("; ")) }
    }
}

struct Shared {
    rack: Arc<dyn Rack>,
    suites: &'static [Suite],
    keep: bool,
    kept: Kept,
    clock: Clock,
    hil: String,
    started: String,
    host: String,
}

impl Shared {
    /// Begins a board's events.
    fn start(&self, board: &BoardRun) -> Journal {
        let journal = Journal::new(&board.label, self.clock, board.sinks.clone());
        journal.record(What::RunStarted {
            schema: SCHEMA,
            hil: self.hil.clone(),
            started: self.started.clone(),
            host: self.host.clone(),
            plan: board.plan.clone(),
        });
        journal
    }
}

async fn run_board(shared: &Shared, board: BoardRun, journal: Journal, interrupt: Interrupt) {
    let begun = shared.clock.now();
    let mut kept = false;
    for plan in &board.plan.sessions {
        let Some(image) = board.images.get(&plan.digest) else { continue };
        if interrupt.is_asked() {
            break;
        }
        let lease = Lease {
            board: board.board.clone(),
            image: image.clone(),
            forks: plan.cases.iter().any(|case| case.isolation == Isolation::Fork),
            dir: board.dir.clone(),
            journal: journal.clone(),
            masker: board.masker.clone(),
        };
        let context = Context {
            rack: &*shared.rack,
            suites: shared.suites,
            keep: shared.keep,
            retries: board.plan.retries.most,
            rules: &board.plan.rules,
            interrupt: interrupt.clone(),
            kept: &*shared.kept,
        };
        kept |= session::run(context, lease, plan).await;
        if kept {
            break;
        }
    }
    shared.rack.release(&board.board, &journal).await;
    let took = (shared.clock.now() - begun).as_secs_f64();
    let interrupted = interrupt.is_asked() && !kept;
    journal.record(What::RunFinished { interrupted, took });
}
