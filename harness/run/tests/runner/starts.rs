//! What cases start from: which boots, saves and forks a session makes, and in which order.

use super::*;
use crate::air::AirPower;
use async_trait::async_trait;
use hil_core::parts::{Forks, Kept};

/// What a board of air does when it is to be saved.
#[derive(Default)]
pub(crate) struct Saves {
    pub(crate) can: bool,
    /// There is something to start from, and what is known of it.
    saved: bool,
    kept: Kept,
    /// Nothing that is put on the board runs there.
    pub(crate) noexec: bool,
    /// The program that makes a fork a board of its own waits on the saved board's console.
    pub(crate) waits: bool,
    saved_waiting: bool,
    /// It does not say that it waits; or it dies before it has its line.
    pub(crate) mute: bool,
    pub(crate) dies: bool,
    /// How it got its line: as the one that waits, or in a process of its own.
    pub(crate) twins: Vec<&'static str>,
    /// How many saves, and how many forks, go wrong before one goes well.
    bad_saves: u32,
    bad_forks: u32,
}

fn wrong(count: &mut u32) -> Outcome {
    match *count {
        0 => Ok(()),
        _ => {
            *count -= 1;
            Err(Trouble::rack("as the test wants it"))
        }
    }
}

#[async_trait]
impl Forks for AirPower {
    fn label(&self) -> String {
        "air".into()
    }

    fn saved(&self) -> Option<Kept> {
        let saves = self.0.saves.lock().unwrap();
        saves.saved.then(|| saves.kept.clone())
    }

    async fn claim(&mut self) -> bool {
        self.saved().is_some()
    }

    async fn save(&mut self, kept: Kept) -> Outcome {
        let mut saves = self.0.saves.lock().unwrap();
        wrong(&mut saves.bad_saves)?;
        (saves.saved, saves.kept) = (true, kept);
        saves.saved_waiting = std::mem::take(&mut saves.waits);
        Ok(())
    }

    fn discard(&mut self) {
        self.0.saves.lock().unwrap().saved = false;
    }

    async fn fork(&mut self) -> Outcome {
        if let Some(loss) = &*self.0.loss.lock().unwrap() {
            loss.send_replace(None);
        }
        let mut saves = self.0.saves.lock().unwrap();
        saves.waits = saves.saved_waiting;
        wrong(&mut saves.bad_forks)
    }
}

const LOOKS: Case = case("looks", secs(5), hil_core::body!(passes));
const ONE: Case = case("one", secs(5), hil_core::body!(passes)).isolation(Isolation::Fork);
const TWO: Case = case("two", secs(5), hil_core::body!(passes)).isolation(Isolation::Fork);
const FAILING: Case = case("failing", secs(5), hil_core::body!(fails)).isolation(Isolation::Fork);
const LOST: Case = case("lost", secs(5), hil_core::body!(loses_its_board));
const BOOTS: Case = case("boots", secs(5), hil_core::body!(passes)).isolation(Isolation::Reboot);

/// A session told in words: `boot`, `save`, `fork`, `off`, `note`, and the cases by name.
fn told(cases: &'static [Case], saves: Saves, retries: u32) -> String {
    told_on(&board(saves), cases, retries)
}

pub(crate) fn board(saves: Saves) -> Arc<Air> {
    let air = Arc::new(Air::default());
    *air.saves.lock().unwrap() = saves;
    air
}

fn told_on(air: &Arc<Air>, cases: &'static [Case], retries: u32) -> String {
    let words = run_on(EMULATED, cases, air, retries).into_iter().filter_map(|event| {
        Some(match event {
            What::PowerOn => "boot".into(),
            What::PowerOff => "off".into(),
            What::Saved { .. } => "save".into(),
            What::Forked { .. } => "fork".into(),
            What::Note { .. } => "note".into(),
            What::CaseStarted { case } => case.name,
            What::BringUpFailed { .. } => "dead".into(),
            _ => return None,
        })
    });
    words.collect::<Vec<String>>().join(" ")
}

fn kept() -> Kept {
    Kept { twin: Some(crate::air::TWIN.into()), ..Kept::default() }
}

pub(crate) fn can() -> Saves {
    Saves { can: true, ..Saves::default() }
}

#[test]
fn one_boot_is_saved_and_every_case_that_wants_a_fork_has_its_own() {
    let told = told(&[BOOTS, ONE, LOOKS, TWO], can(), 0);
    // Those that share come first, on a board as it booted; the saved one is another.
    assert_eq!(told, "boot looks off boot save fork one fork two off boot boots off");
}

#[test]
fn the_first_fork_serves_the_first_case() {
    assert_eq!(told(&[ONE, TWO], can(), 0), "boot save fork one fork two off");
}

#[test]
fn nobody_saves_a_board_that_no_case_wants_a_fork_of() {
    assert_eq!(told(&[LOOKS, PASSES], can(), 0), "boot looks passes off");
}

#[test]
fn a_board_that_cannot_be_forked_is_rebooted_for_each_and_that_is_told() {
    let told = told(&[LOOKS, ONE, TWO], Saves::default(), 0);
    assert_eq!(told, "note boot looks off boot one off boot two off");
}

#[test]
fn a_save_or_first_fork_that_fails_is_told_and_costs_a_boot_for_each_case() {
    let one = told(&[ONE, TWO], Saves { bad_saves: 1, ..can() }, 0);
    assert_eq!(one, "boot note off boot one off boot two off");
    let one = told(&[ONE, TWO], Saves { bad_forks: 1, ..can() }, 0);
    assert_eq!(one, "boot save note off boot one off boot two off");
}

#[test]
fn what_no_fork_could_be_made_of_is_left_to_nobody() {
    let air = board(Saves { bad_forks: 1, ..can() });
    told_on(&air, &[ONE], 0);
    assert!(!air.saves.lock().unwrap().saved);
}

#[test]
fn what_an_earlier_run_saved_spares_the_boot_unless_a_case_wants_to_see_one() {
    let saved = || Saves { saved: true, kept: kept(), ..can() };
    assert_eq!(told(&[ONE, TWO], saved(), 0), "fork one fork two off");
    assert_eq!(told(&[ONE, LOOKS], saved(), 0), "boot looks fork one off");
}

#[test]
fn an_earlier_runs_board_that_is_damaged_is_made_anew() {
    let saves = Saves { saved: true, kept: kept(), bad_forks: 1, ..can() };
    assert_eq!(told(&[ONE, TWO], saves, 0), "note off boot save fork one fork two off");
}

#[test]
fn forks_that_stay_twins_are_told() {
    let told = told(&[ONE, TWO], Saves { noexec: true, ..can() }, 0);
    assert_eq!(told, "boot save fork note one fork note two off");
}

#[test]
fn a_fork_needs_no_new_process_to_be_a_board_of_its_own_where_one_was_saved_waiting() {
    let air = board(can());
    told_on(&air, &[ONE, TWO], 0);
    assert_eq!(air.saves.lock().unwrap().twins, ["cue", "cue"]);
    let air = board(Saves { saved: true, kept: kept(), ..can() });
    assert_eq!(told_on(&air, &[ONE], 0), "fork one off");
    assert_eq!(air.saves.lock().unwrap().twins, ["run"]);
}

#[test]
fn a_program_that_does_not_stand_by_or_dies_is_run_in_each_fork() {
    let air = board(Saves { mute: true, ..can() });
    assert_eq!(told_on(&air, &[ONE, TWO], 0), "boot note save fork one fork two off");
    assert_eq!(air.saves.lock().unwrap().twins, ["run", "run"]);
    let air = board(Saves { dies: true, ..can() });
    assert_eq!(told_on(&air, &[ONE, TWO], 0), "boot save fork one fork two off");
    assert_eq!(air.saves.lock().unwrap().twins, ["cue", "run", "cue", "run"]);
}

#[test]
fn a_retry_starts_from_a_fork_of_its_own() {
    assert_eq!(told(&[FAILING], can(), 1), "boot save fork failing fork failing off");
}

async fn has_a_fork(rig: &mut Rig) -> Outcome {
    check!(rig.is_fork(), "the case has no fork of its own");
    Ok(())
}

async fn has_none(rig: &mut Rig) -> Outcome {
    check!(!rig.is_fork(), "it is called a fork of the case's own");
    Ok(())
}

#[test]
fn a_case_knows_whether_it_has_a_fork_of_its_own() {
    const FORKED: Case = case("forked", secs(5), hil_core::body!(has_a_fork));
    const REBOOTED: Case = case("rebooted", secs(5), hil_core::body!(has_none));
    const CASES: &[Case] = &[
        case("shares", secs(5), hil_core::body!(has_none)),
        FORKED.isolation(Isolation::Fork),
        REBOOTED.isolation(Isolation::Reboot),
        FORKED.isolation(Isolation::Fork),
    ];
    let events = run_on(EMULATED, CASES, &board(can()), 0);
    let verdicts = events.into_iter().filter_map(|event| match event {
        What::CaseFinished { verdict, why, .. } => Some((verdict, why)),
        _ => None,
    });
    assert_eq!(verdicts.collect::<Vec<_>>(), vec![(Verdict::Pass, None); 4]);
}

#[test]
fn a_lost_board_is_booted_anew_for_those_that_share_it() {
    let told = told(&[LOST, LOOKS, ONE], can(), 0);
    assert_eq!(told, "boot lost note off boot looks off boot save fork one off");
}
