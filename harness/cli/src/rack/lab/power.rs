//! The power of a physical board: a contact, and what a contact cannot say of itself. Whether the
//! board really went dark is asked on its console.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hil_core::event::Journal;
use hil_core::parts::{Console, CutPolicy, CutReport, OffDelay, Power};
use hil_core::rig::lost;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::calibrate::Calibration;
use hil_lab::power::PATIENCE;
use hil_lab::stagger;
use regex::bytes::Regex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::flash::Renewal;
use super::held::Held;
use super::uboot::Typist;
use hil_core::deadline::Deadline;

/// Proving, asking back and a second try fit into this.
pub(super) const CALL: Duration = Duration::from_secs(PATIENCE.as_secs() * 2);

/// An adapter that is plugged in again within this time has lost nothing but its bytes; they are
/// missing all the same.
const GONE: Duration = Duration::from_secs(1);

/// A line that takes no byte for this long is not typed on.
const TYPE: Duration = Duration::from_millis(300);

pub(crate) struct LabPower {
    held: Arc<Held>,
    calibration: Option<Calibration>,
    typist: Option<Typist>,
    renewal: Option<Renewal>,
    stagger: Duration,
    journal: Journal,
    /// Past its hold-up time the board was as silent as one without power.
    surely_off: bool,
    watcher: Option<JoinHandle<()>>,
    loss: watch::Sender<Option<Trouble>>,
}

impl LabPower {
    pub(crate) fn new(held: Arc<Held>, stagger: Duration, journal: Journal) -> LabPower {
        let (loss, _) = watch::channel(None);
        LabPower {
            held,
            calibration: None,
            typist: None,
            renewal: None,
            stagger,
            journal,
            surely_off: true,
            watcher: None,
            loss,
        }
    }

    /// The medium is written anew where a case asks for it.
    pub(super) fn set_renewal(&mut self, renewal: Option<Renewal>) {
        self.renewal = renewal;
    }

    /// What was measured of it, for cuts and for the report.
    pub(crate) fn set_calibration(&mut self, calibration: Option<Calibration>) {
        self.calibration = calibration;
    }

    /// Who types at U-Boot's prompt at each boot.
    pub(super) fn set_typist(&mut self, typist: Option<Typist>) {
        self.typist = typist;
    }

    /// The state every session begins in: without power, whatever somebody left behind.
    pub(crate) async fn begin_without(&mut self) -> Outcome {
        self.journal.doing("switching off", None);
        self.contact(false).await?;
        self.must_be_dark().await
    }

    async fn contact(&self, on: bool) -> Outcome {
        let call = move |power: &mut hil_lab::Wired| if on { power.on() } else { power.off() };
        Ok(self.held.switch.call(CALL, call).await?)
    }

    /// When the last command was begun, since the start of the run.
    async fn asked(&self) -> Outcome<Duration> {
        let asked = self.held.switch.call(CALL, |power| Ok(power.asked())).await?;
        let ago = asked.map_or(Duration::ZERO, |asked| asked.elapsed());
        Ok(self.journal.clock().now().saturating_sub(ago))
    }

    /// Past its hold-up time a board without power says nothing, and answers nothing. One that does is
    /// listened to again after twice that time: a busy host hears late what was said in time. A boot
    /// that pauses looks the same, which is why the next one must then show how it begins.
    async fn must_be_dark(&mut self) -> Outcome {
        let [first, again] = self.held.instance.timing.listenings();
        self.surely_off = !self.speaks_after(first).await?;
        if self.surely_off {
            return Ok(());
        }
        let instance = &self.held.instance;
        let (name, spoke) = (&instance.name, instance.timing.discharge_s);
        if !self.speaks_after(again).await? {
            self.journal.note(format!(
                "{name} still spoke on its console {spoke} s after its power had gone, and then no \
                 more: this host was busy, or the board lives longer than its `discharge_s`"
            ));
            return Ok(());
        }
        Err(Trouble::rack(format!(
            "{} says that {name} is without power, yet the board still speaks on its console {spoke} \
             s later, and again after that: its contact sticks, or something else powers the board \
             (raise `discharge_s` if it lives that long)",
            self.held.label,
        )))
    }

    /// Whether anything comes from the board after `wait`, or is answered.
    async fn speaks_after(&self, (wait, listen): (Duration, Duration)) -> Outcome<bool> {
        tokio::time::sleep(wait).await;
        let capture = &self.held.capture;
        let from = capture.position();
        // A login prompt or a shell answers an empty line. A line that is gone is told elsewhere.
        let typing = Deadline::within(TYPE);
        let _ = typing.bound("typing on the console", capture.send(b"\r")).await;
        let anything = Regex::new("(?s).").map_err(Trouble::rack)?;
        Ok(capture.expect(from, &anything, Deadline::within(listen)).await.is_ok())
    }

    /// Power, and nothing more: whoever brings the board into its loader's mode goes on from here.
    /// Where its console stood before.
    pub(crate) async fn give(&mut self) -> Outcome<u64> {
        self.loss.send_replace(None);
        let wait = self.held.switch.call(CALL, |power| Ok(power.not_before())).await?;
        if !wait.is_zero() {
            self.journal.doing("staying off for its minimum time", None);
            tokio::time::sleep(wait).await;
        }
        stagger::turn(self.stagger).await;
        let before = self.held.health.borrow().gone.clone();
        if let Some(why) = before {
            let name = &self.held.instance.name;
            return Err(Trouble::rack(format!("the console line of {name} is gone: {why}")));
        }
        let from = self.held.capture.position();
        self.contact(true).await?;
        Ok(from)
    }

    /// Tells the run when line or keeper is lost while the board has power, and when U-Boot does
    /// not do what is typed; the board's console stood at `from` before it had power.
    fn watch(&mut self, from: u64) {
        let (loss, held) = (self.loss.clone(), self.held.clone());
        let mut keeper = held.keeper_gone.clone();
        let typist = self.typist.clone();
        self.watcher = Some(tokio::spawn(async move {
            let typing = async {
                match typist {
                    Some(typist) => typist.work(from).await,
                    None => std::future::pending().await,
                }
            };
            let trouble = tokio::select! {
                trouble = lost(&mut keeper) => trouble,
                trouble = unplugged(&held) => trouble,
                trouble = typing => trouble,
            };
            loss.send_replace(Some(trouble));
        }));
    }

    fn unwatch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

/// Resolves when the line has been gone for longer than a moment.
async fn unplugged(held: &Held) -> Trouble {
    let mut health = held.health.clone();
    loop {
        let gone = health.wait_for(|health| health.gone.is_some()).await;
        let Ok(Some(why)) = gone.map(|health| health.gone.clone()) else {
            return std::future::pending().await;
        };
        let back = health.wait_for(|health| health.gone.is_none());
        if tokio::time::timeout(GONE, back).await.is_err() {
            let name = &held.instance.name;
            return Trouble::rack(format!("the console line of {name} is gone: {why}"));
        }
    }
}

impl Drop for LabPower {
    fn drop(&mut self) {
        self.unwatch();
    }
}

#[async_trait]
impl Power for LabPower {
    fn label(&self) -> String {
        match &self.calibration {
            Some(calibration) => format!("{}, {calibration}", self.held.label),
            None => self.held.label.clone(),
        }
    }

    async fn on(&mut self) -> Outcome {
        let from = self.give().await?;
        self.watch(from);
        Ok(())
    }

    async fn off(&mut self) -> Outcome {
        self.unwatch();
        self.contact(false).await?;
        self.must_be_dark().await
    }

    /// Physics decides what is lost; nothing of it can be known from here but when.
    async fn cut(&mut self, _policy: CutPolicy, _seed: u64) -> Outcome<CutReport> {
        self.unwatch();
        self.contact(false).await?;
        let timing = OffDelay::timing(self.off_delay(), self.asked().await?);
        self.must_be_dark().await?;
        Ok(CutReport { timing: Some(timing), ..CutReport::default() })
    }

    async fn renew(&mut self) -> Outcome<bool> {
        match &self.renewal {
            Some(renewal) => renewal.write(&self.held.instance).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn surely_off(&self) -> bool {
        self.surely_off
    }

    fn off_delay(&self) -> Option<OffDelay> {
        self.calibration.as_ref().map(Calibration::off_delay)
    }

    fn loss(&self) -> watch::Receiver<Option<Trouble>> {
        self.loss.subscribe()
    }
}
