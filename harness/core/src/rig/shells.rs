//! The board's shells: commands, and ports, over SSH or the console.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Rig, lacking};
use crate::address::{ADDRESSES, own_address};
use crate::case::Need;
use crate::deadline::{Deadline, secs};
use crate::event::What;
use crate::parts::{Output, Shell};
use crate::trouble::{OrFail, Outcome, Trouble};

impl Rig {
    /// SSH where there is one, the console otherwise.
    pub fn shell(&mut self) -> Option<&mut (dyn Shell + 'static)> {
        match (&mut self.parts.ssh, &mut self.parts.login) {
            (Some(shell), _) if self.parts.board.network.works => Some(&mut **shell),
            (_, Some(shell)) => Some(&mut **shell),
            _ => None,
        }
    }

    /// Why the board cannot be reached, where its console can tell whether that is its own fault.
    pub async fn cut_off(&mut self) -> Option<Trouble> {
        self.parts.login.as_ref()?;
        self.shell()?.reached().await.err()
    }

    /// The shell of [`Rig::shell`], logged in.
    pub async fn open_shell(&mut self, deadline: Deadline) -> Outcome<&mut (dyn Shell + 'static)> {
        self.awaits_ssh = false;
        let shell = self.shell().ok_or_else(|| lacking(Need::Shell))?;
        shell.open(deadline).await?;
        Ok(shell)
    }

    pub fn console_shell(&mut self) -> Outcome<&mut (dyn Shell + 'static)> {
        match &mut self.parts.login {
            Some(shell) => Ok(&mut **shell),
            None => Err(lacking(Need::ConsoleShell)),
        }
    }

    /// Sends `request` to a TCP port of the board, over its network, and reads until the board
    /// closes. Over SSH's own connection, so that it works wherever SSH does.
    pub async fn dial(&mut self, port: u16, request: &str) -> Outcome<String> {
        let said = self.must(ADDRESSES).await?;
        let ip = own_address(&said).or_fail(format!("the board has no address: `{said}`"))?;
        let deadline = self.within(secs(10));
        let shell = self.shell().ok_or_else(|| lacking(Need::Shell))?;
        let answer = shell.dial(SocketAddr::new(ip, port), request.as_bytes(), deadline).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Runs a command; its exit status is the caller's to judge.
    pub async fn run(&mut self, command: &str) -> Outcome<Output> {
        self.run_in(command, secs(30)).await
    }

    /// Runs a command that may take `span` on a fast host. How long the first one over SSH takes on a
    /// fresh fork, login included, is an event.
    pub async fn run_in(&mut self, command: &str, span: Duration) -> Outcome<Output> {
        let waiting = self.begin();
        match self.run_within(command, self.within(span)).await {
            Err(trouble) => Err(self.unless_starved(trouble, &waiting).await),
            ran => ran,
        }
    }

    async fn run_within(&mut self, command: &str, deadline: Deadline) -> Outcome<Output> {
        let (clock, first) = (self.journal.clock(), self.awaits_ssh);
        let begun = clock.now();
        let shell = self.open_shell(deadline).await?;
        let is_ssh = shell.name() == "ssh";
        let output = shell.exec(command, deadline).await?;
        if first && is_ssh {
            let took = (clock.now() - begun).as_secs_f64();
            self.journal.record(What::SshAnswered { took });
        }
        Ok(output)
    }

    /// Runs a command that must succeed; its stdout, trimmed.
    pub async fn must(&mut self, command: &str) -> Outcome<String> {
        let output = self.run(command).await?;
        if !output.ok() {
            let said = output.said();
            return Err(Trouble::product(format!(
                "`{command}` ended with status {}: {said}",
                output.status
            )));
        }
        Ok(output.text())
    }
}
