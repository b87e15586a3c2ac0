//! A file onto the board: fetched by an emulated one from this host, carried over its shell to others.

use std::path::Path;

use super::Rig;
use crate::deadline::Deadline;
use crate::parts::{Served, quoted};
use crate::trouble::{Outcome, Trouble};

/// A smaller file is not worth a fetch, in bytes.
const SMALL: u64 = 256 << 10;

impl Rig {
    /// Brings the local file onto the board, to `remote`, before `deadline`; `doing` is what those who
    /// watch read meanwhile.
    ///
    /// What an SSH server decrypts under TCG costs four times the CPU of the same bytes by plain HTTP,
    /// so an emulated board is asked to fetch the file from this host. Where it cannot, for want of wget
    /// and curl or of a network that leads out, and on all other boards, the shell carries it; such a
    /// board is not asked a second time.
    pub async fn put(
        &mut self,
        local: &Path,
        remote: &str,
        doing: &str,
        deadline: Deadline,
    ) -> Outcome {
        let is_ssh = self.open_shell(deadline).await?.name() == "ssh";
        if is_ssh && self.board().is_emulated() && !self.cannot_fetch {
            let served = self.depot().serve(local, None, false).await?;
            if served.size() >= SMALL {
                let Err(why) = self.fetch(&*served, remote, doing, deadline).await? else {
                    return Ok(());
                };
                drop(served);
                self.cannot_fetch = true;
                self.journal().note(format!(
                    "files go over SSH, which is slower: the board cannot fetch one from hil: {why}"
                ));
                // Whatever may still write there shall not write into what comes now.
                self.run(&format!("rm -f {}", quoted(remote))).await?;
            }
        }
        let journal = self.journal().clone();
        let told = |done, total| journal.doing(doing, Some((done, total)));
        self.open_shell(deadline).await?.upload(local, remote, &told, deadline).await
    }

    /// Has the board fetch all of it; or why it did not. That leaves time for another way.
    async fn fetch(
        &mut self,
        served: &dyn Served,
        remote: &str,
        doing: &str,
        deadline: Deadline,
    ) -> Outcome<Result<(), String>> {
        let deadline = deadline.or_sooner(deadline.left() / 3);
        let (size, mut sent) = (served.size(), served.sent());
        let command = fetch_command(&served.url("$host"), remote, size);
        let journal = self.journal().clone();
        let shell = self.open_shell(deadline).await?;
        let mut fetched = shell.exec(&command, deadline);
        let output = loop {
            tokio::select! {
                output = &mut fetched => break output,
                Ok(()) = sent.changed() => journal.doing(doing, Some((*sent.borrow(), size))),
            }
        };
        match output {
            Ok(output) if output.ok() => Ok(Ok(())),
            Ok(output) => Ok(Err(format!("status {}, {}", output.status, output.said()))),
            Err(Trouble::Unmet(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }
}

/// The command that fetches `size` bytes from `url`, in which `$host` is whoever has called by SSH. Only
/// whole is good. wget has no option for a silent peer (a BusyBox that was built without timeouts, as
/// Debian's is, crashes at `-T`): the deadline of the command is for that.
fn fetch_command(url: &str, remote: &str, size: u64) -> String {
    let remote = quoted(remote);
    format!(
        "host=${{SSH_CONNECTION%% *}}; unset http_proxy; \
         if command -v wget >/dev/null; then wget -q -t 1 -O {remote} \"{url}\"; \
         else curl -sSf --connect-timeout 10 -y 10 -o {remote} \"{url}\"; fi && \
         [ \"$(wc -c <{remote})\" -eq {size} ]"
    )
}
