//! A file onto the board: fetched by an emulated one from this host, carried over its shell to others.

use std::path::Path;

use super::Rig;
use crate::deadline::Deadline;
use crate::parts::{Served, quoted};
use crate::trouble::Outcome;

/// A smaller file is not worth a fetch, in bytes.
const SMALL: u64 = 256 << 10;

impl Rig {
    /// Brings the local file onto the board, to `remote`, before `deadline`; `doing` is what those who
    /// watch read meanwhile.
    ///
    /// What an SSH server decrypts under TCG costs four times the CPU of the same bytes by plain HTTP,
    /// so an emulated board is asked to fetch the file from this host. Where it cannot, for want of wget
    /// and curl or of a network that leads out, and on all other boards, the shell carries it.
    pub async fn put(
        &mut self,
        local: &Path,
        remote: &str,
        doing: &str,
        deadline: Deadline,
    ) -> Outcome {
        let is_ssh = self.open_shell(deadline).await?.name() == "ssh";
        if is_ssh && self.board().is_emulated() {
            let served = self.depot().serve(local, None, false).await?;
            if served.size() >= SMALL && self.fetches(&*served, remote, doing, deadline).await? {
                return Ok(());
            }
        }
        let journal = self.journal().clone();
        let told = |done, total| journal.doing(doing, Some((done, total)));
        self.open_shell(deadline).await?.upload(local, remote, &told, deadline).await
    }

    /// Whether the board has fetched all of it.
    async fn fetches(
        &mut self,
        served: &dyn Served,
        remote: &str,
        doing: &str,
        deadline: Deadline,
    ) -> Outcome<bool> {
        let (size, mut sent) = (served.size(), served.sent());
        let command = fetch(&served.url("$host"), remote, size);
        let journal = self.journal().clone();
        let shell = self.open_shell(deadline).await?;
        let mut fetched = shell.exec(&command, deadline);
        loop {
            tokio::select! {
                output = &mut fetched => return Ok(output?.ok()),
                Ok(()) = sent.changed() => journal.doing(doing, Some((*sent.borrow(), size))),
            }
        }
    }
}

/// The command that fetches `size` bytes from `url`, in which `$host` is whoever has called by SSH. Only
/// whole is good; a peer that is silent for 20 s is not waited for.
fn fetch(url: &str, remote: &str, size: u64) -> String {
    let remote = quoted(remote);
    format!(
        "host=${{SSH_CONNECTION%% *}}; unset http_proxy; \
         {{ wget -q -t 1 -T 20 -O {remote} \"{url}\" || curl -sf --connect-timeout 20 -y 20 -o {remote} \"{url}\"; }} 2>&1 && \
         [ \"$(wc -c <{remote})\" -eq {size} ]"
    )
}
