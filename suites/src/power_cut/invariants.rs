//! What must hold after any power cut. Each check has a name, which its failure begins with; the cut
//! and its seed stand before it, put there by the rig.

use hil_core::parts::Seen;
use hil_core::prelude::*;

use crate::bench::Bench;

/// What was known of the board before its power went.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Before {
    pub(super) version: String,
    pub(super) slot: Option<String>,
}

impl Before {
    pub(super) async fn of(rig: &mut Rig) -> Outcome<Before> {
        Ok(Before { version: version(rig).await?, slot: slot(rig).await? })
    }
}

/// Empty of an image that promises none.
async fn version(rig: &mut Rig) -> Outcome<String> {
    match rig.image().os.version {
        Some(_) => rig.os().version(rig).await,
        None => Ok(String::new()),
    }
}

async fn slot(rig: &mut Rig) -> Outcome<Option<String>> {
    match rig.image().slots {
        Some(_) => rig.os().slot(rig).await.map(Some),
        None => Ok(None),
    }
}

/// Puts the invariant's name before what broke it.
pub(super) fn invariant<T>(name: &str, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|trouble| trouble.while_doing(name))
}

/// The board boots within its deadline, in one go: no reset and no second attempt.
pub(super) async fn boots(rig: &mut Rig) -> Outcome {
    invariant("boots", boots_in_one_go(rig).await)
}

/// The board boots within its deadline, after however many attempts.
pub(super) async fn comes_back(rig: &mut Rig) -> Outcome {
    rig.power_on().await?;
    let ready = rig.reach(Stage::Ready).await.or_fail("the board did not come back");
    invariant("comes-back", ready)
}

async fn boots_in_one_go(rig: &mut Rig) -> Outcome {
    let console = rig.console();
    let mut cursor = console.sightings();
    rig.power_on().await?;
    rig.reach(Stage::Ready).await.or_fail("the board did not come back")?;
    let mut last = Stage::Off;
    while cursor < console.sightings() {
        let Seen::Stage(stage) = console.sighting(&mut cursor).await.what else { continue };
        check!(stage >= last, "it was reset on the way: {stage} came after {last}");
        last = stage;
    }
    Ok(())
}

/// The version that runs is one of these.
pub(super) async fn version_is(rig: &mut Rig, known: &[&str]) -> Outcome {
    let running = version(rig).await;
    invariant(
        "version-known",
        running.and_then(|running| {
            check!(known.contains(&running.as_str()), "{running} runs, not {}", known.join(" or "));
            Ok(())
        }),
    )
}

/// An update that the product called done is what runs: nobody found a fault in it.
pub(super) async fn acknowledged_update_runs(rig: &mut Rig, version: &str) -> Outcome {
    let running = rig.os().version(rig).await;
    invariant(
        "acknowledged-update-runs",
        running.and_then(|running| {
            check!(running == version, "{version} was installed; {running} runs");
            Ok(())
        }),
    )
}

/// Tells that an invariant holds as far as it was looked at, and that this was not all.
pub(super) fn unlooked(rig: &Rig, name: &str, why: &str) {
    rig.journal().note(format!("{name} is not proved in full: {why}"));
}

/// What was installed into the slot is what is in it after the cut, where both could be read.
pub(super) fn slot_intact(written: Option<String>, kept: Option<String>) -> Outcome {
    let same = written.is_none() || kept.is_none() || written == kept;
    let lost = || Trouble::product("the slot's content is not what was installed");
    invariant("slot-intact", same.then_some(()).ok_or_else(lost))
}

/// Nothing was switched, so that the slot is the one of before.
pub(super) async fn slot_kept(rig: &mut Rig, before: &Before) -> Outcome {
    let running = slot(rig).await?;
    invariant(
        "slot-kept",
        async {
            check!(
                running == before.slot,
                "{running:?} runs, {:?} ran before the cut",
                before.slot
            );
            Ok(())
        }
        .await,
    )
}

/// All that tells which system this is tells the same: kernel and modules, bootloader and updater.
pub(super) async fn parts_agree(rig: &mut Rig) -> Outcome {
    invariant("parts-agree", agree(rig).await)
}

async fn agree(rig: &mut Rig) -> Outcome {
    // An image that has no modules at all has no folder for them either.
    let modules = "[ ! -d /lib/modules ] || [ -d /lib/modules/$(uname -r) ]";
    check!(rig.run(modules).await?.ok(), "the running kernel's modules are not in /lib/modules");
    if rig.image().updater.is_none() || rig.image().slots.is_none() {
        return Ok(());
    }
    let (updater, running) = (rig.updater()?, rig.os().slot(rig).await?);
    let believed = updater.booted_slot(rig).await?;
    check!(believed == running, "{} believes in slot {believed}; {running} runs", updater.name());
    Ok(())
}

/// Mounting replayed every journal: no file system complains, and where data is kept can be written.
pub(super) async fn file_systems_sound(rig: &mut Rig) -> Outcome {
    invariant("journal-replay-suffices", sound(rig).await)
}

/// What kernels say of file systems that are damaged. A FAT that "was not properly unmounted" is none.
const COMPLAINTS: &str = "EXT4-fs error|EXT4-fs .*: (failed|corrupt)|JBD2: .*(error|invalid)|\
    FAT-fs .*: error|Buffer I/O error|I/O error, dev|XFS .*[Cc]orrupt|F2FS-fs .*(nconsist|orrupt)|\
    BTRFS (error|critical)|UBIFS error";

async fn sound(rig: &mut Rig) -> Outcome {
    // A log that cannot be read holds no complaint either.
    let look = format!(
        "log=$(dmesg) && [ -n \"$log\" ] || exit 2; echo \"$log\" | grep -E '{COMPLAINTS}'"
    );
    let said = rig.run(&look).await?;
    check!(said.status != 0, "the kernel complains: {}", said.text());
    if said.status != 1 {
        unlooked(rig, "journal-replay-suffices", "dmesg shows no kernel log; writing was tried");
    }
    let Some(folder) = rig.image().os.persistent.clone() else { return Ok(()) };
    let probe = format!("{folder}/hil-probe");
    let wrote = rig.run(&format!("echo {0} >{probe} && sync && rm {probe}", rig.seed())).await?;
    check!(wrote.ok(), "{folder} cannot be written: {}", wrote.said());
    Ok(())
}

/// No cut burnt a try of the slot that runs: once it is marked good it has all of them.
pub(super) async fn no_try_consumed(rig: &mut Rig) -> Outcome {
    invariant("no-try-consumed", all_tries_left(rig).await)
}

async fn all_tries_left(rig: &mut Rig) -> Outcome {
    let Some(slots) = rig.image().slots.clone() else { return Ok(()) };
    if rig.image().updater.is_none() || slots.tries_left.is_none() {
        return Ok(());
    }
    let states = rig.updater()?.slots(rig).await?;
    let booted = states.iter().find(|slot| slot.booted).or_fail("no slot is said to be booted")?;
    let (name, left) = (&booted.name, booted.tries_left.unwrap_or(slots.tries));
    check!(left >= slots.tries, "slot {name} has {left} of {} tries left", slots.tries);
    check!(booted.good != Some(false), "the slot that runs, {name}, is marked bad");
    Ok(())
}

/// Every row that was acknowledged is there, each in its place; `acknowledged` is the last one.
pub(super) fn rows_survive(content: &str, acknowledged: u64) -> Outcome {
    invariant(
        "acknowledged-data-present",
        rows(content).and_then(|whole| {
            check!(whole >= acknowledged, "row {acknowledged} was acknowledged; {whole} are there");
            Ok(())
        }),
    )
}

/// What was not synced is a beginning of what was written, perhaps nothing, and nothing else.
pub(super) fn never_garbage(content: &str) -> Outcome {
    invariant("never-garbage", rows(content).map(drop))
}

/// A file that is replaced by renaming is never empty, never a mixture and never gone.
pub(super) fn replaced_whole(text: &str) -> Outcome {
    let row = text.strip_prefix("row ").and_then(|row| row.strip_suffix('\n'));
    let whole = row.is_some_and(|row| row.parse::<u64>().is_ok());
    let held = || Trouble::product(format!("the file holds {text:?}"));
    invariant("replaced-whole", whole.then_some(()).ok_or_else(held))
}

/// How many whole rows there are, the first being 1; the last line may be cut short. Zeros behind it
/// are rows that are absent: a file's size may become durable before what was appended, which ext4's
/// `data=ordered` keeps in order only where it allocates blocks.
fn rows(content: &str) -> Outcome<u64> {
    let mut whole = 0;
    for line in content.trim_end_matches('\0').split_inclusive('\n') {
        let expected = format!("row {}\n", whole + 1);
        let torn = !line.ends_with('\n') && expected.starts_with(line);
        if line == expected {
            whole += 1;
        } else if !torn {
            let found: String = line.chars().take(60).collect();
            return Err(Trouble::product(format!("after row {whole} comes {found:?}")));
        }
    }
    Ok(whole)
}

/// All of the above that hold wherever the cut was, for a board that runs one of `versions` now.
pub(super) async fn sound_system(rig: &mut Rig, versions: &[&str]) -> Outcome {
    version_is(rig, versions).await?;
    parts_agree(rig).await?;
    file_systems_sound(rig).await?;
    no_try_consumed(rig).await
}

/// The engine answers, and an image that it has is whole: it runs, and holds what it held before.
pub(super) async fn store_whole(rig: &mut Rig, bench: &Bench, content: &str) -> Outcome {
    let found = content_of(rig, bench).await;
    invariant(
        "container-store-whole",
        found.and_then(|found| {
            check!(found == content, "the image holds other files than before the cut");
            Ok(())
        }),
    )
}

/// A digest of all files that a container of the offline image sees.
pub(super) async fn content_of(rig: &mut Rig, bench: &Bench) -> Outcome<String> {
    // Engines put files of each container's own there: hosts, resolv.conf, .dockerenv.
    let digest = "find / -xdev -type f ! -path '/etc/*' ! -path '/run/*' ! -name .dockerenv \
                  | sort | xargs sha256sum | sha256sum";
    bench.must_run(rig, &[], &["sh", "-c", digest]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_missing_torn_in_the_middle_or_garbage_is_found() {
        assert_eq!(rows(""), Ok(0));
        assert_eq!(rows("row 1\nrow 2\n"), Ok(2));
        assert_eq!(rows("row 1\nro"), Ok(1));
        assert_eq!(rows("row 1\nro\0\0\0\0"), Ok(1));
        for bad in ["row 2\n", "row 1\n\0\0\0\0row 3\n", "row 1\nrow 3\n", "row 1\nrox"] {
            assert!(rows(bad).is_err(), "{bad:?}");
        }
        assert!(rows_survive("row 1\nrow 2\n", 2).is_ok());
        let lost = rows_survive("row 1\nrow 2\n", 3).unwrap_err();
        assert!(lost.to_string().starts_with("acknowledged-data-present: row 3"), "{lost}");
    }

    #[test]
    fn a_replaced_file_is_whole_whichever_of_its_versions_it_is() {
        assert!(replaced_whole("row 0\n").is_ok());
        for bad in ["", "row 7", "\0\0\0\0\0\0", "row 7\nrow"] {
            assert!(replaced_whole(bad).is_err(), "{bad:?}");
        }
    }
}
