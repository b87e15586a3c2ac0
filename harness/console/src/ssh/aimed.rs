//! An SSH shell whose server is looked for when it is opened: the address of a board changes.

use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use hil_core::deadline::Deadline;
use hil_core::parts::{Output, Progress, Shell};
use hil_core::trouble::{Outcome, Trouble};

use super::{SshShell, SshTarget};

/// Knows where the board's SSH server is now.
#[async_trait]
pub trait Aim: Send {
    async fn aim(&mut self, deadline: Deadline) -> Outcome<SshTarget>;
    /// The board lost power or was reset.
    fn forget(&mut self) {}
}

/// SSH to wherever `aim` says; it is asked once, until the session is forgotten.
pub struct AimedSsh<A> {
    aim: A,
    shell: Option<SshShell>,
}

impl<A: Aim> AimedSsh<A> {
    pub fn new(aim: A) -> AimedSsh<A> {
        AimedSsh { aim, shell: None }
    }

    fn opened(&mut self) -> Outcome<&mut SshShell> {
        self.shell.as_mut().ok_or_else(|| Trouble::rack("SSH was used before it was opened"))
    }
}

#[async_trait]
impl<A: Aim> Shell for AimedSsh<A> {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        if self.shell.is_none() {
            self.shell = Some(SshShell::new(self.aim.aim(deadline).await?));
        }
        self.opened()?.open(deadline).await
    }

    async fn exec(&mut self, command: &str, deadline: Deadline) -> Outcome<Output> {
        self.opened()?.exec(command, deadline).await
    }

    async fn upload(
        &mut self,
        local: &Path,
        remote: &str,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        self.opened()?.upload(local, remote, progress, deadline).await
    }

    async fn download(
        &mut self,
        remote: &str,
        local: &Path,
        progress: Progress<'_>,
        deadline: Deadline,
    ) -> Outcome {
        self.opened()?.download(remote, local, progress, deadline).await
    }

    async fn dial(
        &mut self,
        to: SocketAddr,
        request: &[u8],
        deadline: Deadline,
    ) -> Outcome<Vec<u8>> {
        self.opened()?.dial(to, request, deadline).await
    }

    async fn reached(&mut self) -> Outcome {
        match &mut self.shell {
            Some(shell) => shell.reached().await,
            // Where the board is was never learnt.
            None => Ok(()),
        }
    }

    fn forget(&mut self) {
        self.shell = None;
        self.aim.forget();
    }
}

#[cfg(test)]
mod tests {
    use hil_core::deadline::secs;

    use super::*;

    /// Where nobody listens.
    struct Nowhere(SocketAddr);

    #[async_trait]
    impl Aim for Nowhere {
        async fn aim(&mut self, _: Deadline) -> Outcome<SshTarget> {
            Ok(SshTarget { address: self.0, user: "root".into(), key: None, password: None })
        }
    }

    #[tokio::test]
    async fn a_board_that_takes_no_connection_is_not_reached() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut shell = AimedSsh::new(Nowhere(address));
        assert_eq!(shell.reached().await, Ok(()), "where it is was never learnt");
        assert!(shell.open(Deadline::within(secs(2))).await.is_err());
        assert!(matches!(shell.reached().await, Err(Trouble::Transport(_))));
    }
}
