//! Power cuts as the runner records them, and what holds where nobody knows whether there was one.

use super::*;

/// Once while it works, once when its work is over, and once more than was planned.
async fn cuts_three_times(rig: &mut Rig) -> Outcome {
    let cut = rig.cut_while(|_| Box::pin(std::future::pending())).await?;
    check!(cut.reached, "work that never ends was said to have ended");
    let cut = rig.cut_while(|_| Box::pin(async { Ok(()) })).await?;
    check!(!cut.reached, "work that ends at once was said to go on");
    check!(rig.cuts_left() == 0, "a cut is left");
    rig.cut_while(|_| Box::pin(async { Ok(()) })).await.map(drop)
}

async fn fails_before_its_cut(rig: &mut Rig) -> Outcome {
    rig.cut_while(|_| Box::pin(async { Err(Trouble::product("the install failed")) })).await?;
    Ok(())
}

/// The first cut may have been none; the second is one, and comes before the board is ready.
async fn cuts_twice_before_it_is_ready(rig: &mut Rig) -> Outcome {
    air().may_be_on.store(true, Ordering::SeqCst);
    rig.power_cut(CutPolicy::DropAll).await?;
    rig.power_on().await?;
    air().may_be_on.store(false, Ordering::SeqCst);
    rig.power_cut(CutPolicy::DropAll).await.map(drop)
}

const CUTS: Cuts = Cuts { in_a_row: 2, after: &[Mark::Begin], ms: 900, writes: 0, flushes: 0 };
const CUT: Case = case("cut", secs(5), hil_core::body!(cuts_three_times)).cuts(CUTS);
const UNCUT: Case = case("uncut", secs(5), hil_core::body!(fails_before_its_cut)).cuts(CUTS);
const TWICE: Case = case("twice", secs(20), hil_core::body!(cuts_twice_before_it_is_ready));
/// Ready is who answers.
const UNREADY: &str = "title = \"X\"\narch = \"arm\"\n[qemu]\nmachine = \"m\"\n\
     [stages]\nbootloader = \"b\"\n";

#[test]
fn what_fails_after_a_cut_tells_the_cut_and_each_cut_is_an_event() {
    let (events, _) = run(&[CUT, AGAIN], false);
    let cuts: Vec<(u64, String)> = events
        .iter()
        .filter_map(|event| match event {
            What::PowerCut { seed, point, .. } => Some((*seed, point.clone().unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(cuts.len(), 2, "{events:#?}");
    assert_ne!(cuts[0].0, cuts[1].0, "both cuts take the same choice");
    assert!(cuts[0].1.ends_with(" ms after the begin"), "{cuts:?}");
    assert!(cuts[1].1.starts_with("the work's end, before "), "{cuts:?}");
    let (verdict_, why) = verdict(&events, "cut");
    assert_eq!(verdict_, Verdict::Broken);
    let told = format!("after 2 cuts, the last at {} (subset, seed {};", cuts[1].1, cuts[1].0);
    assert!(why.starts_with(&told) && why.contains("no cut number 3"), "{why}");
}

#[test]
fn work_that_fails_before_its_cut_is_a_failure_and_no_cut() {
    let (events, _) = run(&[UNCUT, AGAIN], false);
    assert_eq!(verdict(&events, "uncut"), (Verdict::Fail, "the install failed".into()));
    assert!(!events.iter().any(|event| matches!(event, What::PowerCut { .. })), "{events:#?}");
}

/// A contact that sticks while a boot pauses is taken for a board without power; the old boot goes on,
/// and what a cut was to show was never tried.
#[test]
fn a_boot_met_in_its_midst_breaks_where_the_power_may_never_have_gone() {
    let air = Arc::new(Air::default());
    let midst = |board| run_on(board, &[PASSES], &air, 0);
    assert_eq!(verdict(&midst(COUNTED), "passes").0, Verdict::Pass, "it was off for certain");
    air.may_be_on.store(true, Ordering::SeqCst);
    assert_eq!(verdict(&midst(EMULATED), "passes").0, Verdict::Pass, "its first mark came");
    air.begins_with.lock().unwrap().replace(Stage::Bootloader);
    for board in [COUNTED, UNREADY] {
        assert_eq!(
            verdict(&midst(board), "passes").0,
            Verdict::Pass,
            "its first mark came: {board}"
        );
    }
    *air.begins_with.lock().unwrap() = None;
    let told = midst(COUNTED);
    let broken = told.iter().find_map(|event| match event {
        What::BringUpFailed { verdict, why, .. } => Some((*verdict, why.clone())),
        _ => None,
    });
    let (verdict, why) = broken.unwrap();
    assert_eq!(verdict, Verdict::Broken);
    assert!(why.contains("and then bootloader was not seen"), "{why}");
}

/// Its login fails, or its kernel panics: whatever an old boot dies of, the rack is asked first.
#[test]
fn what_an_old_boot_dies_of_is_the_racks() {
    let air = Arc::new(Air::default());
    air.may_be_on.store(true, Ordering::SeqCst);
    air.dead.store(true, Ordering::SeqCst);
    for stage in [Stage::Kernel, Stage::Ready] {
        air.begins_with.lock().unwrap().replace(stage);
        let told = run_on(COUNTED, &[PASSES], &air, 0);
        let broken = told.iter().any(|event| {
            matches!(event, What::BringUpFailed { verdict: Verdict::Broken, why, .. }
                if why.contains("and then bootloader was not seen"))
        });
        assert!(broken, "{stage}: {told:#?}");
    }
}

#[test]
fn a_cut_that_may_have_been_none_is_not_forgotten_at_the_next() {
    let air = Arc::new(Air::default());
    let (found, why) = verdict(&run_on(COUNTED, &[TWICE], &air, 0), "twice");
    assert_eq!(found, Verdict::Broken, "{why}");
    assert!(why.contains("and then bootloader was not seen"), "{why}");
    air.begins_with.lock().unwrap().replace(Stage::Bootloader);
    assert_eq!(verdict(&run_on(COUNTED, &[TWICE], &air, 0), "twice").0, Verdict::Pass);
}
