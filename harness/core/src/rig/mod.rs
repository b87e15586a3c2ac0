//! One live, exclusively held board, as a case sees it.

mod boots;
mod cut;
mod fork;
mod host;
mod judge;
mod line;
mod put;
mod shells;
mod twin;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::board::Board;
use crate::case::Need;
use crate::deadline::{Deadline, secs};
use crate::event::{Journal, What};
use crate::image::Image;
use crate::parts::{Console, Depot, Power, Seen, Shell, Sighting};
use crate::plan::PlannedCase;
use crate::product::{Engine, Os, Updater};
use crate::stage::Stage;
use crate::trouble::{OrFail, Outcome, Trouble};
use crate::verdict::Verdict;

pub use boots::{Boots, Forgiven};
pub use cut::Cut;
pub use host::Begun;
pub use judge::{fatal, lost};

/// What a rack hands over; everything in it is held by this rig alone.
pub struct Parts {
    pub board: Arc<Board>,
    pub image: Arc<Image>,
    pub power: Box<dyn Power>,
    pub console: Arc<dyn Console>,
    /// A shell on the console, where the image says how to log in.
    pub login: Option<Box<dyn Shell>>,
    pub ssh: Option<Box<dyn Shell>>,
    /// How much slower than a fast host with KVM: deadlines are multiplied by it.
    pub slowness: f64,
    /// How a person reaches the board while it is kept alive: a line a way.
    pub reach_by: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// What speaks the product's languages.
#[derive(Clone)]
pub struct Adapters {
    pub os: Arc<dyn Os>,
    pub engine: Option<Arc<dyn Engine>>,
    pub updater: Option<Arc<dyn Updater>>,
    /// What the host hands out to the board.
    pub depot: Arc<dyn Depot>,
}

pub struct Rig {
    parts: Parts,
    adapters: Adapters,
    journal: Journal,
    /// Where captures and attachments go; exists.
    dir: PathBuf,
    /// The running case's subtests that failed and did not say that they may.
    failed_subtests: Vec<String>,
    /// The case that runs now, for facts, its seed and its cuts; and the cuts it has made.
    case: Option<PlannedCase>,
    /// The how manieth try of it, from 1.
    attempt: u32,
    cuts: Vec<Cut>,
    powered_at: Duration,
    /// Where the console's stream stood at power-on: what a mute board never leaves.
    powered_position: u64,
    /// The board may never have lost its power: this boot may be the one from before.
    may_be_old: bool,
    /// Sightings before this cursor belong to an earlier boot.
    boot_cursor: u64,
    /// Sightings before this one came before the last case ended.
    case_cursor: u64,
    /// Sightings before this one belong to an earlier session of the board.
    session_cursor: u64,
    /// Seconds from power-on to each stage of the last boot.
    boot_times: BTreeMap<Stage, Duration>,
    /// The sockets of the SSH server that served when this boot was ready.
    ssh_server: Option<Vec<String>>,
    /// The board is a fork, made for the case that runs now or is the next.
    forked: bool,
    /// The board is a fork on which nobody has logged in by SSH yet.
    awaits_ssh: bool,
    /// It was asked to fetch a file from this host, and did not get it.
    cannot_fetch: bool,
    forgiven: Forgiven,
}

/// The kernel makes one anew at each boot (`Documentation/admin-guide/sysctl/kernel.rst`).
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// Stopping services may take this long on a fast host; container engines give 10 s to each.
const SHUTDOWN: Duration = secs(15);

/// How far the console's tail is quoted in messages and events.
pub const TAIL_LINES: usize = 40;

impl Rig {
    pub fn new(parts: Parts, adapters: Adapters, journal: Journal) -> Rig {
        let session_cursor = parts.console.sightings();
        Rig {
            parts,
            adapters,
            journal,
            case: None,
            attempt: 0,
            dir: PathBuf::new(),
            failed_subtests: Vec::new(),
            cuts: Vec::new(),
            powered_at: Duration::ZERO,
            powered_position: 0,
            may_be_old: false,
            boot_cursor: session_cursor,
            case_cursor: session_cursor,
            session_cursor,
            boot_times: BTreeMap::new(),
            ssh_server: None,
            forked: false,
            awaits_ssh: false,
            cannot_fetch: false,
            forgiven: Forgiven::default(),
        }
    }

    /// Where files of its cases are kept, beside the events.
    #[must_use]
    pub fn keeping_in(mut self, dir: &Path) -> Rig {
        self.dir = dir.to_path_buf();
        self
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.parts.board
    }

    pub fn image(&self) -> &Arc<Image> {
        &self.parts.image
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn console(&self) -> Arc<dyn Console> {
        self.parts.console.clone()
    }

    pub fn power(&mut self) -> &mut dyn Power {
        &mut *self.parts.power
    }

    pub fn reach_by(&self) -> Vec<String> {
        (self.parts.reach_by)()
    }

    pub fn os(&self) -> Arc<dyn Os> {
        self.adapters.os.clone()
    }

    /// The container engine; a case that asks has [`Need::Engine`] among its needs.
    pub fn engine(&self) -> Outcome<Arc<dyn Engine>> {
        self.adapters.engine.clone().ok_or_else(|| lacking(Need::Engine))
    }

    pub fn updater(&self) -> Outcome<Arc<dyn Updater>> {
        self.adapters.updater.clone().ok_or_else(|| lacking(Need::Updater))
    }

    pub fn depot(&self) -> Arc<dyn Depot> {
        self.adapters.depot.clone()
    }

    /// `span` as it is meant on a fast host, stretched for this board and accelerator.
    pub fn scaled(&self, span: Duration) -> Duration {
        let seconds = span.as_secs_f64() * self.parts.slowness.clamp(0.1, 10_000.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    pub fn within(&self, span: Duration) -> Deadline {
        Deadline::within(self.scaled(span))
    }

    /// The running case's seed: the only source of chance a body may use.
    pub fn seed(&self) -> u64 {
        self.case.as_ref().map_or(0, |case| case.seed)
    }

    /// Who runs now, for the `attempt`-th time (from 1); set by the runner.
    pub fn set_case(&mut self, case: Option<PlannedCase>, attempt: u32) {
        if case.is_none() {
            self.forked = false;
            self.case_cursor = self.parts.console.sightings();
        }
        (self.case, self.attempt) = (case, attempt);
        self.failed_subtests.clear();
        self.cuts.clear();
        self.forgiven = Forgiven::default();
    }

    /// Records a test within the running case. `expected` is why the test itself says that it may
    /// fail.
    pub fn subtest(
        &mut self,
        name: &str,
        verdict: Verdict,
        why: Option<String>,
        expected: Option<String>,
    ) {
        let Some(PlannedCase { id: case, .. }) = self.case.clone() else { return };
        if verdict == Verdict::Fail && expected.is_none() {
            self.failed_subtests.push(name.into());
        }
        self.journal.record(What::Subtest { case, name: name.into(), verdict, why, expected });
    }

    pub fn failed_subtests(&self) -> &[String] {
        &self.failed_subtests
    }

    /// Where a file of the running case is to be written, beside the events, for the reports to link
    /// to it; its folder may have to be made. `name` is relative, and unique in the case.
    pub fn attach(&self, name: &str) -> Outcome<PathBuf> {
        let Some(PlannedCase { id: case, .. }) = &self.case else {
            return Err(Trouble::rack("a file is attached, but no case runs"));
        };
        let mut folder = case.to_string().replace('#', "-");
        if self.attempt > 1 {
            let _ = write!(folder, ".attempt-{}", self.attempt);
        }
        let path = format!("files/{folder}/{name}");
        let file = self.dir.join(&path);
        self.journal.record(What::Attachment { case: case.clone(), path });
        Ok(file)
    }

    /// Records a measured figure.
    pub fn fact(&self, name: &str, value: f64, unit: &str) {
        self.journal.record(What::Fact {
            case: self.case.as_ref().map(|case| case.id.clone()),
            name: name.into(),
            value: (value * 1e6).round() / 1e6,
            unit: unit.into(),
        });
    }

    /// Where this session's sightings begin, for a case that looks back at all of them.
    pub fn session_cursor(&self) -> u64 {
        self.session_cursor
    }

    pub fn boot_times(&self) -> &BTreeMap<Stage, Duration> {
        &self.boot_times
    }

    pub async fn power_on(&mut self) -> Outcome {
        self.begin_boot(self.parts.console.sightings());
        self.powered_position = self.parts.console.position();
        self.may_be_old = !self.parts.power.surely_off();
        self.parts.power.on().await?;
        self.journal.record_at(self.powered_at, What::PowerOn);
        Ok(())
    }

    pub async fn power_off(&mut self) -> Outcome {
        self.forget_sessions();
        self.parts.power.off().await?;
        self.journal.record(What::PowerOff);
        Ok(())
    }

    /// Asks the OS to reboot and waits until it is ready again, in a new boot: the kernel's boot
    /// id tells one boot from another, where a mark or a login alone may be the old one's.
    pub async fn reboot(&mut self) -> Outcome {
        let (before, cursor) = self.ask_for_reboot().await?;
        if self.has_marks() {
            self.sees_a_new_boot(cursor).await?;
        }
        let deadline = self.within(secs(self.parts.board.boot_deadline_s));
        loop {
            self.reach_within(Stage::Ready, deadline).await?;
            if self.must(BOOT_ID).await? != before {
                return Ok(());
            }
            if self.has_marks() || deadline.passed() {
                return Err(Trouble::product("`reboot` had no effect: the boot id is unchanged"));
            }
            // The old system still answered: without marks there is nothing but to ask again.
            tokio::time::sleep(secs(1)).await;
            self.begin_boot(cursor);
        }
    }

    /// Something of a new boot must appear soon, long before it can be ready.
    async fn sees_a_new_boot(&mut self, mut cursor: u64) -> Outcome {
        let console = self.parts.console.clone();
        let stage = async {
            while !matches!(console.sighting(&mut cursor).await.what, Seen::Stage(_)) {}
            Ok(())
        };
        let begun = self.begin();
        if let Err(trouble) = self.within(SHUTDOWN).bound("the old boot's end", stage).await {
            let trouble: Outcome = Err(self.unless_starved(trouble, &begun).await);
            return trouble.or_fail("`reboot` had no effect: no stage of a new boot was seen");
        }
        Ok(())
    }

    fn begin_boot(&mut self, cursor: u64) {
        self.forget_sessions();
        self.powered_at = self.journal.clock().now();
        self.boot_cursor = cursor;
        self.boot_times.clear();
        self.ssh_server = None;
        self.awaits_ssh = false;
    }

    fn forget_sessions(&mut self) {
        for shell in [&mut self.parts.login, &mut self.parts.ssh].into_iter().flatten() {
            shell.forget();
        }
    }

    /// Waits until this boot has come to `stage`. A kernel panic on the way is the product's.
    pub async fn reach(&mut self, stage: Stage) -> Outcome {
        let span = secs(self.parts.board.boot_deadline_s);
        self.reach_within(stage, self.within(span)).await
    }

    pub async fn reach_within(&mut self, stage: Stage, deadline: Deadline) -> Outcome {
        let reached = self.reach_in_this_boot(stage, deadline).await;
        if reached.is_err() {
            // What an old boot does not come to, or dies of, is nobody's fault but the rack's.
            self.must_be_a_new_boot().await?;
        }
        reached
    }

    async fn reach_in_this_boot(&mut self, stage: Stage, deadline: Deadline) -> Outcome {
        let begun = self.begin();
        if stage == Stage::Ready && !self.has_mark(Stage::Ready) {
            return self.ready_without_mark(deadline, &begun).await;
        }
        let console = self.parts.console.clone();
        let mut cursor = self.boot_cursor;
        while !self.boot_times.contains_key(&stage) {
            let what = format!("boot to {stage}");
            let next = async { Ok(console.sighting(&mut cursor).await) };
            let mut loss = self.parts.power.loss();
            let sighting = tokio::select! {
                sighting = deadline.bound(what, next) => sighting,
                trouble = lost(&mut loss) => Err(trouble),
            };
            match sighting {
                Ok(sighting) => self.take_in(&sighting)?,
                Err(Trouble::Unmet(why)) => {
                    let missed = self.missed(stage, why);
                    return Err(self.unless_starved(missed, &begun).await);
                }
                Err(other) => return Err(other),
            }
        }
        self.boot_cursor = cursor;
        if stage == Stage::Ready { self.prove_ready(deadline, &begun).await } else { Ok(()) }
    }

    fn has_mark(&self, stage: Stage) -> bool {
        let marks = self.parts.board.stages.overridden_by(&self.parts.image.stages);
        marks.by_stage().contains_key(&stage)
    }

    fn has_marks(&self) -> bool {
        let marks = self.parts.board.stages.overridden_by(&self.parts.image.stages);
        !marks.by_stage().is_empty()
    }

    /// An image that prints nothing of its own is ready when a shell answers.
    async fn ready_without_mark(&mut self, deadline: Deadline, begun: &Begun) -> Outcome {
        if self.shell().is_none() {
            let why = "nothing tells when the image is ready: give [stages] ready, [login] or \
                       [ssh] in image.toml";
            return Err(Trouble::rack(why));
        }
        self.prove_ready(deadline, begun).await?;
        let took = self.journal.clock().now().saturating_sub(self.powered_at);
        self.boot_times.insert(Stage::Ready, took);
        let (stage, took) = (Stage::Ready, took.as_secs_f64());
        self.journal.record(What::StageReached { stage, took });
        Ok(())
    }

    /// Notes a stage of this boot; a panic ends the waiting.
    fn take_in(&mut self, sighting: &Sighting) -> Outcome {
        match sighting.what {
            Seen::Stage(stage) => {
                let took = sighting.at.saturating_sub(self.powered_at);
                if self.boot_times.insert(stage, took).is_none() {
                    let took = took.as_secs_f64();
                    self.journal.record_at(sighting.at, What::StageReached { stage, took });
                }
                Ok(())
            }
            Seen::Alarm(alarm) if alarm.is_fatal() => Err(fatal(alarm, sighting)),
            Seen::Alarm(_) => Ok(()),
        }
    }

    /// A ready mark can be printed by anything; only a shell that answers proves it.
    async fn prove_ready(&mut self, deadline: Deadline, begun: &Begun) -> Outcome {
        match self.shell() {
            Some(shell) => {
                let name = shell.name();
                if let Err(trouble) = shell.open(deadline).await {
                    let trouble = self.no_login(name, trouble);
                    return Err(self.unless_starved(trouble, begun).await);
                }
                self.must_be_a_new_boot().await?;
                self.note_ssh_server(deadline).await;
                Ok(())
            }
            None => self.must_be_a_new_boot().await,
        }
    }
}

fn lacking(need: Need) -> Trouble {
    Trouble::Skip(format!("needs {need}: {}", need.hint()))
}
