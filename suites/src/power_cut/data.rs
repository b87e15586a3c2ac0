//! Cuts while a service writes: rows that it syncs one by one and acknowledges on the console, a file
//! that it replaces by renaming, and rows that it never syncs.

use std::time::Duration;

use hil_core::prelude::*;
use regex::bytes::Regex;

use super::invariants::{self, Before};

/// Shows what the writer left in its folder. A file that is not there is as good as an empty one.
pub(super) const SHOW: &str =
    "for file in synced unsynced replaced; do cat $file 2>/dev/null; echo ==hil==; done";
const APART: &str = "==hil==\n";

/// `rows N` is acknowledged when row N of `synced` is durable. dd's `fsync` is the one that both
/// busybox and coreutils have. The semicolon tells a whole number from one that the cut shortened.
pub(super) fn writer(folder: &str, console: &str) -> String {
    format!(
        "cd {folder} && echo row 0 >replaced && sync || exit; n=0; while n=$((n+1)); do \
         echo \"row $n\" >>unsynced; \
         echo \"row $n\" | dd of=synced oflag=append conv=notrunc,fsync 2>/dev/null || exit; \
         echo \"row $n\" | dd of=new conv=fsync 2>/dev/null && mv new replaced; \
         echo \"hil: rows $n;\" >{console}; done"
    )
}

pub(super) async fn synced_data_survives(rig: &mut Rig) -> Outcome {
    let before = Before::of(rig).await?;
    let folder = rig.image().os.persistent.clone().or_fail("the manifest names no such folder")?;
    let folder = format!("{folder}/hil-rows");
    rig.must(&format!("rm -rf {folder} && mkdir {folder}")).await?;
    let from = rig.console().position();
    let script = writer(&folder, "/dev/console");
    rig.must(&format!("(trap '' HUP; {script}) </dev/null >/dev/null 2>&1 &")).await?;
    let acknowledged = match cut_among_rows(rig, from).await {
        // Nobody hears which rows are safe; of those before a sync that has ended it is known.
        Err(Trouble::Skip(why)) => {
            rig.journal().note(format!("{why}: the cut comes after a sync"));
            cut_after_sync(rig, &folder).await?
        }
        other => other.and_then(|()| acknowledged(rig, from))?,
    };
    invariants::boots(rig).await?;
    invariants::slot_kept(rig, &before).await?;
    invariants::sound_system(rig, &[&before.version]).await?;
    let left = rig.run(&format!("cd {folder} && {SHOW}")).await?.stdout;
    rows_hold(&left, acknowledged)?;
    rig.must(&format!("rm -rf {folder}")).await?;
    rig.fact("rows.acknowledged", acknowledged as f64, "rows");
    Ok(())
}

/// Cuts at the planned point after all rows so far were synced; how many those are.
async fn cut_after_sync(rig: &mut Rig, folder: &str) -> Outcome<u64> {
    let rows = rig.must(&format!("rows=$(wc -l <{folder}/synced) && sync && echo $rows")).await?;
    rig.cut_while(|rig| Box::pin(async move { rig.run_in("sleep 20", secs(25)).await.map(drop) }))
        .await?;
    rows.trim().parse().ok().or_fail(format!("`wc -l` said {rows:?}"))
}

/// Judges what `SHOW` printed.
pub(super) fn rows_hold(shown: &[u8], acknowledged: u64) -> Outcome {
    let shown = String::from_utf8_lossy(shown);
    let files: Vec<&str> = shown.split(APART).collect();
    let [synced, unsynced, replaced, ..] = files.as_slice() else {
        // The folder they are in is gone.
        let why = format!("row {acknowledged} was acknowledged; nothing can be read: {shown}");
        return invariants::invariant("acknowledged-data-present", Err(Trouble::product(why)));
    };
    invariants::rows_survive(synced, acknowledged)?;
    invariants::never_garbage(unsynced)?;
    invariants::replaced_whole(replaced)
}

/// So many rows are written after the first; the cut comes among them.
const ROWS: u64 = 24;

/// Cuts at the planned point after the first acknowledged row.
pub(super) async fn cut_among_rows(rig: &mut Rig, from: u64) -> Outcome {
    match acknowledges(rig, from, 0, secs(5)).await {
        Err(Trouble::Unmet(_)) => {
            let why = "what the board writes to /dev/console does not reach the serial line";
            return Err(Trouble::Skip(why.into()));
        }
        other => other?,
    }
    let last = acknowledged(rig, from)? + ROWS;
    rig.cut_while(|rig| Box::pin(async move { acknowledges(rig, from, last, secs(20)).await }))
        .await
        .map(drop)
}

/// Waits until a row of this number, or a later one, is acknowledged, `span` on a fast host: a kernel
/// message in the middle of a line costs that row alone.
async fn acknowledges(rig: &mut Rig, mut from: u64, least: u64, span: Duration) -> Outcome {
    let row = Regex::new("hil: rows ([0-9]+);").map_err(Trouble::rack)?;
    let deadline = rig.within(span);
    loop {
        let found = rig.console().expect(from, &row, deadline).await?;
        let number = found.groups.get(1).and_then(|number| number.parse::<u64>().ok());
        if number.is_some_and(|number| number >= least) {
            return Ok(());
        }
        from = found.end;
    }
}

/// The last row that the console acknowledged since `from`.
pub(super) fn acknowledged(rig: &Rig, from: u64) -> Outcome<u64> {
    let console = rig.console();
    let heard = console.read(from, (console.position() - from) as usize)?;
    let heard = String::from_utf8_lossy(&heard);
    let rows =
        heard.split("hil: rows ").skip(1).filter_map(|row| row.split_once(';')?.0.parse().ok());
    rows.last().or_fail("no row was acknowledged")
}
