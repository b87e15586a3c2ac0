//! The product's own way of downloading, over a network that breaks off.

use hil_core::prelude::*;

use super::{boots_next, discard};
use crate::bundles;

/// For one try, on a fast host.
const FETCH: std::time::Duration = secs(60);

pub(super) async fn interrupted(rig: &mut Rig) -> Outcome {
    let updates = bundles::updates(rig)?;
    let fetch = updates.fetch.clone().ok_or_else(|| Trouble::Skip(Need::Download.hint().into()))?;
    let host = rig.must("echo ${SSH_CONNECTION%% *}").await?;
    check!(!host.is_empty(), "the SSH server does not say who has called (SSH_CONNECTION)");

    let size = bundles::size(rig, &updates.good)?;
    // Somewhere in its middle half.
    let breaks = size / 4 + rig.seed() % (size / 2).max(1);
    let file = rig.image().path(&updates.good.file);
    let beyond = !rig.board().is_emulated();
    let served = rig.depot().serve(&file, Some(breaks), beyond).await?;
    let path = format!("{}/hil-download", updates.folder);
    let command = fetch.replace("{url}", &served.url(&host)).replace("{path}", &path);

    let first = rig.run_in(&command, FETCH).await?;
    let sent = served.answers();
    if sent.is_empty() {
        let why = format!("nothing was asked for at {}: {}", served.url(&host), first.said());
        // An emulator's network leads to hil for certain; a lab's may have a firewall.
        return Err(match beyond {
            true => {
                Trouble::rack(format!("{why} (if the board cannot reach hil, see to the network)"))
            }
            false => Trouble::product(why),
        });
    }
    check!(!first.ok(), "the download broke off at {breaks} of {size} bytes, and was called done");

    let second = rig.run_in(&command, FETCH).await?;
    check!(second.ok(), "the second try ended with {}: {}", second.status, second.said());
    let got = rig.must(&format!("wc -c < '{path}'")).await?;
    check!(got == size.to_string(), "{got} bytes are there of {size}");
    let resumed = served.answers().last().is_some_and(|(from, _)| *from > 0);
    rig.journal().note(if resumed { "the download was resumed" } else { "it began anew" });

    bundles::must_install(rig, &path).await.or_fail("what was downloaded in two parts")?;
    discard(rig, &updates.good, &path).await?;
    boots_next(rig).await
}
