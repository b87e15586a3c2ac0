//! The runner against a board of air: what it records when cases pass, fail, hang, panic and lose
//! their board. Time is tokio's, paused, so deadlines of minutes cost nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hil_core::board::Board;
use hil_core::case::Body;
use hil_core::event::{Clock, What};
use hil_core::image::Image;
use hil_core::mask::Masker;
use hil_core::parts::{Alarm, CutPolicy, Seen};
use hil_core::plan::{Selection, Terms, plan_board};
use hil_core::prelude::*;
use hil_core::verdict::Verdict;
use hil_run::interrupt;
use hil_run::prepare::Prepared;
use hil_run::runner::{BoardRun, Run};

mod air;
mod cuts;
mod put;
mod starts;

use air::{Air, AirRack, Heard};

thread_local! {
    /// A case's body is a plain function: this is how it reaches its test's board.
    static AIR: std::cell::RefCell<Option<Arc<Air>>> = const { std::cell::RefCell::new(None) };
}

fn air() -> Arc<Air> {
    AIR.with(|air| air.borrow().clone().unwrap())
}

const fn case(name: &'static str, deadline: Duration, body: Body) -> Case {
    Case::new(name, deadline, body)
}

async fn passes(_rig: &mut Rig) -> Outcome {
    Ok(())
}

async fn fails(_rig: &mut Rig) -> Outcome {
    Err(Trouble::product("the product is wrong"))
}

async fn attaches(rig: &mut Rig) -> Outcome {
    rig.attach("log")?;
    fails(rig).await
}

/// Fails on a board that was powered on only once or twice.
async fn needs_a_third_boot(_rig: &mut Rig) -> Outcome {
    check!(air().power_ons.load(Ordering::SeqCst) > 2, "too fresh");
    Ok(())
}

async fn hangs(_rig: &mut Rig) -> Outcome {
    std::future::pending().await
}

async fn hangs_without_network(rig: &mut Rig) -> Outcome {
    air().cut_off.store(true, Ordering::SeqCst);
    hangs(rig).await
}

async fn crashes_and_hangs_without_network(rig: &mut Rig) -> Outcome {
    air().ssh_socket.fetch_add(1, Ordering::SeqCst);
    hangs_without_network(rig).await
}

async fn panics(_rig: &mut Rig) -> Outcome {
    panic!("a bug of ours")
}

async fn loses_its_board(_rig: &mut Rig) -> Outcome {
    // As it happens: first the connection breaks, a moment later the emulator's end is known.
    let air = air();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        air.lose();
    });
    Err(Trouble::product("the connection broke"))
}

async fn loses_ssh(_rig: &mut Rig) -> Outcome {
    Err(Trouble::transport("the connection broke"))
}

async fn sees_an_oops_and_loses_ssh(rig: &mut Rig) -> Outcome {
    air().show(Seen::Alarm(Alarm::Oops), "Internal error: Oops: 17 in a network driver");
    loses_ssh(rig).await
}

/// As an init starts again what died: on another socket.
async fn crashes_ssh(rig: &mut Rig) -> Outcome {
    air().ssh_socket.fetch_add(1, Ordering::SeqCst);
    loses_ssh(rig).await
}

async fn sees_a_panic(_rig: &mut Rig) -> Outcome {
    air().show(Seen::Alarm(Alarm::Panic), "Kernel panic - not syncing: oh no");
    std::future::pending().await
}

/// A new system panics once and is then given up, as a board tells it.
async fn is_rolled_back(rig: &mut Rig) -> Outcome {
    let air = air();
    tokio::spawn(async move {
        for (what, line) in [
            (Seen::Stage(Stage::Bootloader), "booting slot B"),
            (Seen::Alarm(Alarm::Panic), "Kernel panic - not syncing: no init"),
            (Seen::Stage(Stage::Bootloader), "booting slot A"),
            (Seen::Stage(Stage::Ready), "ready"),
        ] {
            tokio::time::sleep(secs(1)).await;
            air.show(what, line);
        }
    });
    let boots = rig.reboot_through(2).await?;
    check!(boots.lines == ["booting slot B", "booting slot A"], "{boots:?}");
    Ok(())
}

async fn is_rolled_back_and_panics(rig: &mut Rig) -> Outcome {
    is_rolled_back(rig).await?;
    sees_a_panic(rig).await
}

async fn is_never_ready(rig: &mut Rig) -> Outcome {
    let air = air();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(secs(1)).await;
            air.show(Seen::Stage(Stage::Bootloader), "booting slot B");
        }
    });
    rig.reboot_through(2).await.map(drop)
}

/// As [`is_rolled_back`], and nothing resets it.
async fn stays_panicked(rig: &mut Rig) -> Outcome {
    let air = air();
    tokio::spawn(async move {
        tokio::time::sleep(secs(1)).await;
        air.show(Seen::Stage(Stage::Bootloader), "booting slot B");
        air.show(Seen::Alarm(Alarm::Panic), "Kernel panic - not syncing: no init");
    });
    rig.reboot_through(2).await.map(drop)
}

/// Nothing more comes of it.
async fn reboots(rig: &mut Rig) -> Outcome {
    rig.reboot_through(2).await.or_fail("it did not come back").map(drop)
}

const STAYS: Case = case("stays", secs(4000), hil_core::body!(stays_panicked));
const REBOOTS: Case = case("reboots", secs(4000), hil_core::body!(reboots));
const NO_SSH: Case = case("no-ssh", secs(20), hil_core::body!(loses_ssh));
const NO_SSH_ON_A_FORK: Case = NO_SSH.isolation(Isolation::Fork);
const CRASHED: Case = case("crashed", secs(20), hil_core::body!(crashes_ssh));
const CRASHED_ON_A_FORK: Case = CRASHED.isolation(Isolation::Fork);
const OOPS: Case = case("oops", secs(20), hil_core::body!(sees_an_oops_and_loses_ssh));
const ROLLED: Case = case("rolled", secs(20), hil_core::body!(is_rolled_back));
const ROLLED_THEN: Case = case("then", secs(20), hil_core::body!(is_rolled_back_and_panics));
const NEVER: Case = case("never", secs(20), hil_core::body!(is_never_ready));
const PASSES: Case = case("passes", secs(5), hil_core::body!(passes));
const AGAIN: Case = case("again", secs(5), hil_core::body!(passes));
const FAILS: Case = case("fails", secs(5), hil_core::body!(fails));
const THIRD: Case = case("third", secs(5), hil_core::body!(needs_a_third_boot));
const HANGS: Case = case("hangs", secs(40), hil_core::body!(hangs));
const CUT_OFF: Case = case("cut-off", secs(40), hil_core::body!(hangs_without_network));
const CRASHED_LATE: Case =
    case("crashed-late", secs(40), hil_core::body!(crashes_and_hangs_without_network));
const ATTACHES: Case = case("attaches", secs(40), hil_core::body!(attaches));
const MORE: Case = case("more", secs(40), hil_core::body!(hangs));
const PANICS: Case = case("panics", secs(5), hil_core::body!(panics));
const LOSES: Case = case("loses", secs(5), hil_core::body!(loses_its_board));
const KERNEL: Case = case("kernel", secs(5), hil_core::body!(sees_a_panic));

const EMULATED: &str =
    "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n[stages]\nready = \"r\"\n";
const COUNTED: &str = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n\
     [stages]\nbootloader = \"b\"\nready = \"r\"\n";
const PHYSICAL: &str =
    "title = \"X\"\narch = \"arm\"\nsources = [\"s\"]\n[stages]\nready = \"r\"\n";
const UNMARKED: &str = "title = \"X\"\narch = \"arm\"\nsources = [\"s\"]\n";

/// Runs these cases; the events without their times.
fn run(cases: &'static [Case], dead: bool) -> (Vec<What>, Arc<Air>) {
    let air = Arc::new(Air::default());
    air.dead.store(dead, Ordering::SeqCst);
    (run_on(EMULATED, cases, &air, 0), air)
}

fn run_on(board: &str, cases: &'static [Case], air: &Arc<Air>, retries: u32) -> Vec<What> {
    run_boards(1, board, cases, air, retries)
}

/// As [`run_on`], on so many boards of one kind, one at a time; their events in one list.
fn run_boards(
    boards: usize,
    board: &str,
    cases: &'static [Case],
    air: &Arc<Air>,
    retries: u32,
) -> Vec<What> {
    let suite: &'static [Suite] =
        Box::leak(Box::new([Suite { name: "s", about: "", cases, deadline: secs(60) }]));
    let name = if board.contains("[qemu]") { "qemu-x.toml" } else { "x.toml" };
    let board = Board::parse(board, Path::new(name)).unwrap();
    let text = "name = \"os\"\narch = \"arm\"\n[boot.kernel]\nfile = \"k\"\n[login]\n";
    let image = Image::parse(text, Path::new("image.toml")).unwrap();
    let selection = Selection {
        suites: suite,
        wanted: &|_| true,
        required: &|_| false,
        expected: &|_| None,
        repeat: 1,
        envelope: None,
        seed: 1,
        terms: Terms { forks_as: Isolation::Fork, cut_policy: CutPolicy::Subset },
        cuts: 1,
        replay: None,
    };
    let mut plan = plan_board(&board, &[(&image, "d".into())], &selection);
    plan.retries.most = retries;
    let image = Arc::new(Prepared { image: Arc::new(image), disk: None, digest: "d".into() });
    let heard = Arc::new(Heard::default());
    AIR.with(|cell| *cell.borrow_mut() = Some(air.clone()));
    let board = Arc::new(board);
    let one = || BoardRun {
        label: board.name.clone(),
        board: board.clone(),
        plan: plan.clone(),
        images: BTreeMap::from([("d".to_string(), image.clone())]),
        dir: "unused".into(),
        sinks: vec![heard.clone()],
        masker: Masker::default(),
    };
    let run = Run {
        rack: Arc::new(AirRack(air.clone())),
        suites: suite,
        boards: std::iter::repeat_with(one).take(boards).collect(),
        jobs: 1,
        keep: false,
        kept: Arc::new(|_, _| {}),
        clock: Clock::new(),
        hil: String::new(),
        started: String::new(),
        host: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (_interrupter, interrupt) = interrupt::pair();
    runtime.block_on(run.go(interrupt)).unwrap();
    let events = heard.0.lock().unwrap();
    events.clone()
}

fn verdict(events: &[What], name: &str) -> (Verdict, String) {
    let found = events.iter().find_map(|event| match event {
        What::CaseFinished { case, verdict, why, .. } if case.name == name => {
            Some((*verdict, why.clone().unwrap_or_default()))
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{name} has no verdict in {events:#?}"))
}

#[test]
fn a_failure_does_not_stop_the_next_case_nor_cost_a_boot() {
    let (events, air) = run(&[PASSES, FAILS, AGAIN], false);
    assert_eq!(verdict(&events, "passes").0, Verdict::Pass);
    assert_eq!(verdict(&events, "fails"), (Verdict::Fail, "the product is wrong".into()));
    assert_eq!(verdict(&events, "again").0, Verdict::Pass);
    assert_eq!(air.power_ons.load(Ordering::SeqCst), 1);
    assert!(matches!(events.last(), Some(What::RunFinished { interrupted: false, .. })));
}

#[test]
fn a_case_is_written_down_before_it_runs() {
    let (events, _) = run(&[PANICS], false);
    let at = |wanted: fn(&What) -> bool| events.iter().position(wanted).unwrap();
    let started = at(|event| matches!(event, What::CaseStarted { .. }));
    assert!(started < at(|event| matches!(event, What::CaseFinished { .. })));
}

#[test]
fn a_board_that_waits_for_its_turn_has_its_plan_written_down() {
    let events = run_boards(2, EMULATED, &[PASSES], &Arc::new(Air::default()), 0);
    let told = |is: fn(&What) -> bool| events.iter().rposition(is).unwrap();
    let planned = told(|what| matches!(what, What::RunStarted { .. }));
    let first_end = events.iter().position(|what| matches!(what, What::RunFinished { .. }));
    assert!(planned < first_end.unwrap(), "{events:?}");
}

#[test]
fn a_hanging_case_fails_at_its_deadline_and_the_suites_deadline_bounds_all() {
    let (events, _) = run(&[HANGS, MORE, AGAIN], false);
    let (verdict_, why) = verdict(&events, "hangs");
    assert_eq!(verdict_, Verdict::Fail);
    assert!(why.contains("deadline of 40.0 s"), "{why}");
    // Of the suite's 60 seconds 40 were spent: one more may begin, and has its own deadline.
    let (_, why) = verdict(&events, "more");
    assert!(why.contains("deadline of 40.0 s"), "{why}");
    assert_eq!(verdict(&events, "again").0, Verdict::Skip);
}

#[test]
fn a_deadline_that_passes_with_the_network_gone_is_not_the_products() {
    let air = Arc::new(Air::default());
    air.ssh_socket.store(17, Ordering::SeqCst);
    let (verdict_, why) = verdict(&run_on(EMULATED, &[CUT_OFF], &air, 0), "cut-off");
    assert_eq!(verdict_, Verdict::Broken, "{why}");
    assert!(why.contains("deadline of 40.0 s; then"), "{why}");
    assert!(why.contains("no route to host; yet on the console the board is healthy"), "{why}");
    let (verdict_, why) = verdict(&run_on(EMULATED, &[CRASHED_LATE], &air, 0), "crashed-late");
    assert_eq!(verdict_, Verdict::Fail, "its server went with it: {why}");
    air.cut_off.store(false, Ordering::SeqCst);
    let (verdict_, why) = verdict(&run_on(EMULATED, &[HANGS], &air, 0), "hangs");
    assert_eq!(verdict_, Verdict::Fail, "it can be reached: {why}");
}

#[test]
fn what_a_starved_emulator_does_not_do_in_time_is_not_the_products() {
    let air = Arc::new(Air::default());
    air.starved.lock().unwrap().replace(tokio::time::Instant::now());
    let (verdict_, why) = verdict(&run_on(EMULATED, &[HANGS], &air, 0), "hangs");
    assert_eq!(verdict_, Verdict::Broken, "{why}");
    assert!(why.contains("of 40 s the emulator waited for a processor"), "{why}");
    let (verdict_, why) = verdict(&run_on(COUNTED, &[REBOOTS], &air, 0), "reboots");
    assert_eq!(verdict_, Verdict::Broken, "{why}");
    assert!(why.contains("it did not come back: a boot to ready"), "{why}");
    assert!(why.contains("the host was too busy"), "{why}");
    let (verdict_, why) = verdict(&run_on(COUNTED, &[STAYS], &air, 0), "stays");
    assert_eq!(verdict_, Verdict::Fail, "whatever else, its kernel died: {why}");
    assert!(why.contains("nothing came after `Kernel panic"), "{why}");
    air.dead.store(true, Ordering::SeqCst);
    let told = run_on(EMULATED, &[PASSES], &air, 0);
    let broken = told.iter().any(|event| {
        matches!(event, What::BringUpFailed { verdict: Verdict::Broken, why, .. }
            if why.contains("ready was not reached") && why.contains("the host was too busy"))
    });
    assert!(broken, "{told:#?}");
}

#[test]
fn a_panic_of_ours_breaks_and_is_never_the_products() {
    let (events, _) = run(&[PANICS, AGAIN], false);
    let (verdict_, why) = verdict(&events, "panics");
    assert_eq!((verdict_, why.contains("a bug of ours")), (Verdict::Broken, true), "{why}");
    assert_eq!(verdict(&events, "again").0, Verdict::Pass);
}

#[test]
fn a_board_lost_a_moment_after_the_failure_explains_it() {
    let (events, air) = run(&[LOSES, AGAIN], false);
    let (verdict_, why) = verdict(&events, "loses");
    assert_eq!((verdict_, why.as_str()), (Verdict::Broken, "qemu was killed by SIGKILL"));
    assert_eq!(verdict(&events, "again").0, Verdict::Pass);
    assert_eq!(air.power_ons.load(Ordering::SeqCst), 2, "the lost board was not brought up again");
}

#[test]
fn a_kernel_panic_ends_the_case_at_once_and_is_an_event() {
    let (events, _) = run(&[KERNEL], false);
    let (verdict_, why) = verdict(&events, "kernel");
    assert_eq!(verdict_, Verdict::Fail);
    assert!(why.contains("Kernel panic - not syncing: oh no"), "{why}");
    assert!(events.iter().any(|event| matches!(event, What::Alarm { alarm: Alarm::Panic, .. })));
}

#[test]
fn a_dead_board_is_one_failure_and_no_case_is_started() {
    let (events, _) = run(&[PASSES, AGAIN], true);
    let failed: Vec<&What> =
        events.iter().filter(|event| matches!(event, What::BringUpFailed { .. })).collect();
    assert_eq!(failed.len(), 1, "{events:#?}");
    assert!(matches!(failed[0], What::BringUpFailed { verdict: Verdict::Fail, why, .. }
        if why.contains("ready was not reached")));
    assert!(!events.iter().any(|event| matches!(event, What::CaseStarted { .. })));
}

#[test]
fn a_case_that_fails_is_run_again_each_time_on_a_board_booted_anew() {
    for (retries, verdicts) in [
        (0, vec![Verdict::Fail]),
        (1, vec![Verdict::Fail, Verdict::Fail]),
        (5, vec![Verdict::Fail, Verdict::Fail, Verdict::Pass]),
    ] {
        let air = Arc::new(Air::default());
        let events = run_on(EMULATED, &[THIRD, PASSES], &air, retries);
        let third = events.iter().filter_map(|event| match event {
            What::CaseFinished { case, verdict, .. } if case.name == "third" => Some(*verdict),
            _ => None,
        });
        assert_eq!(third.collect::<Vec<_>>(), verdicts);
        let again = events.iter().filter(|event| matches!(event, What::CaseRetried { .. })).count();
        assert_eq!(again, verdicts.len() - 1);
        assert_eq!(air.power_ons.load(Ordering::SeqCst) as usize, verdicts.len());
        assert_eq!(verdict(&events, "passes").0, Verdict::Pass);
    }
}

#[test]
fn what_one_attempt_attached_the_next_one_leaves_alone() {
    let events = run_on(EMULATED, &[ATTACHES], &Arc::new(Air::default()), 1);
    let paths = events.iter().filter_map(|event| match event {
        What::Attachment { path, .. } => Some(path.as_str()),
        _ => None,
    });
    let expected = ["files/s/attaches/log", "files/s/attaches.attempt-2/log"];
    assert_eq!(paths.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_broken_is_not_run_again() {
    let events = run_on(EMULATED, &[PANICS], &Arc::new(Air::default()), 3);
    assert_eq!(verdict(&events, "panics").0, Verdict::Broken);
    assert!(!events.iter().any(|event| matches!(event, What::CaseRetried { .. })));
}

/// How a dead board is judged that had said `before` bytes when it got power, and `after` then.
fn dead(board: &str, before: u64, after: u64) -> (Verdict, String) {
    let air = Arc::new(Air::default());
    air.bytes.store(before, Ordering::SeqCst);
    air.says.store(after, Ordering::SeqCst);
    dead_in(board, air)
}

fn dead_in(board: &str, air: Arc<Air>) -> (Verdict, String) {
    air.dead.store(true, Ordering::SeqCst);
    let events = run_on(board, &[PASSES], &air, 0);
    let found = events.iter().find_map(|event| match event {
        What::BringUpFailed { verdict, why, .. } => Some((*verdict, why.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("the dead board came up: {events:#?}"))
}

#[test]
fn a_physical_board_without_a_byte_is_the_racks_until_it_speaks() {
    let air = Arc::new(Air::default());
    *air.babble.lock().unwrap() = b"\xff\0\0".to_vec();
    let (verdict, why) = dead_in(PHYSICAL, air);
    assert!(verdict == Verdict::Broken && why.contains("is no text"), "{why}");
    for board in [PHYSICAL, UNMARKED] {
        // What an earlier boot said proves nothing about the cable now.
        let (verdict, why) = dead(board, 7, 0);
        assert_eq!(verdict, Verdict::Broken, "{why}");
        assert!(why.contains("no byte came; check that the board gets power"), "{why}");
        let (verdict, why) = dead(board, 7, 1);
        assert_eq!(verdict, Verdict::Fail, "{why}");
        assert!(!why.contains("no byte came"), "{why}");
    }
    // No cable of an emulator's is loose.
    let (verdict, why) = dead(EMULATED, 7, 0);
    assert_eq!(verdict, Verdict::Fail, "{why}");
}

/// The verdict on a physical board whose line loses a letter of each echo.
fn on_a_line_with_gaps(case: &'static [Case], when_typed: Option<Seen>) -> (Verdict, String) {
    let air = Arc::new(Air::default());
    air.echoes_with_gaps.store(true, Ordering::SeqCst);
    *air.shows_when_typed.lock().unwrap() = when_typed;
    verdict(&run_on(PHYSICAL, case, &air, 0), case[0].name)
}

#[test]
fn a_line_with_gaps_is_the_racks_and_a_panic_or_a_reset_is_not() {
    let (broken, why) = on_a_line_with_gaps(&[FAILS], None);
    assert!(broken == Verdict::Broken && why.contains("characters typed as a test"), "{why}");
    // A login prompt answers what is typed, too.
    let (broken, why) = on_a_line_with_gaps(&[FAILS], Some(Seen::Stage(Stage::Ready)));
    assert!(broken == Verdict::Broken && why.contains("characters typed as a test"), "{why}");
    let (fail, why) = on_a_line_with_gaps(&[KERNEL], None);
    assert!(fail == Verdict::Fail && why.contains("oh no") && !why.contains("lost"), "{why}");
    // A bootloader reads what is typed when it has time for it.
    let (fail, why) = on_a_line_with_gaps(&[FAILS], Some(Seen::Stage(Stage::Bootloader)));
    assert!(fail == Verdict::Fail && !why.contains("lost"), "{why}");
}

/// The verdict on a case of a board whose console and SSH server are well.
fn with_ssh(case: &'static [Case]) -> (Verdict, String) {
    let air = starts::board(starts::can());
    air.ssh_socket.store(17, Ordering::SeqCst);
    verdict(&run_on(EMULATED, case, &air, 0), case[0].name)
}

#[test]
fn ssh_that_breaks_is_the_racks_unless_the_board_shows_why() {
    for cases in [&[NO_SSH], &[NO_SSH_ON_A_FORK]] {
        let (broken, why) = with_ssh(cases);
        assert!(broken == Verdict::Broken && why.contains("its SSH server runs"), "{why}");
    }
    for cases in [&[CRASHED], &[CRASHED_ON_A_FORK]] {
        let (fail, why) = with_ssh(cases);
        assert!(fail == Verdict::Fail && why.contains("it crashed"), "{why}");
    }
    let (fail, why) = with_ssh(&[OOPS]);
    assert!(fail == Verdict::Fail && why.contains("Oops: 17 in a network driver"), "{why}");
}

#[test]
fn a_panic_on_the_way_to_the_old_system_is_no_end_and_a_later_one_is() {
    let air = Arc::new(Air::default());
    let events = run_on(COUNTED, &[ROLLED, ROLLED_THEN, NEVER], &air, 0);
    assert_eq!(verdict(&events, "rolled"), (Verdict::Pass, String::new()));
    let (fail, why) = verdict(&events, "then");
    assert!(fail == Verdict::Fail && why.contains("oh no"), "{why}");
    let (fail, why) = verdict(&events, "never");
    assert!(fail == Verdict::Fail && why.contains("not ready after 2 boots"), "{why}");
    // Without a mark there is nothing to count.
    let (skip, why) = verdict(&run_on(EMULATED, &[ROLLED], &air, 0), "rolled");
    assert!(skip == Verdict::Skip && why.contains("[stages] bootloader"), "{why}");
}
