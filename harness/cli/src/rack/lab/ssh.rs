//! SSH to a physical board: at the address the lab file gives, or at the one that the board tells
//! on its console.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use async_trait::async_trait;
use hil_console::{ConsoleShell, SshShell, SshTarget};
use hil_core::address::{ADDRESSES, own_address};
use hil_core::deadline::Deadline;
use hil_core::parts::{Output, Progress, Shell};
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::labfile::SshSpec;

use super::super::ssh::Account;

pub(super) struct FoundSsh {
    account: Account,
    port: u16,
    spec: Option<SshSpec>,
    asker: Option<ConsoleShell>,
    shell: Option<SshShell>,
}

impl FoundSsh {
    /// `port` is the image's own.
    pub(super) fn new(
        account: Account,
        port: u16,
        spec: Option<SshSpec>,
        asker: Option<ConsoleShell>,
    ) -> FoundSsh {
        FoundSsh { account, port, spec, asker, shell: None }
    }

    async fn address(&mut self, deadline: Deadline) -> Outcome<SocketAddr> {
        let own = self.spec.as_ref().and_then(|spec| spec.port);
        let port = own.unwrap_or(self.port);
        match self.spec.as_ref().and_then(|spec| spec.host.clone()) {
            Some(host) => deadline.bound(format!("look up {host}"), resolve(host, port)).await,
            None => Ok(SocketAddr::new(self.ask(deadline).await?, port)),
        }
    }

    /// The address that the board itself names on its console.
    async fn ask(&mut self, deadline: Deadline) -> Outcome<IpAddr> {
        let Some(asker) = &mut self.asker else {
            let why = "nothing tells the board's address: give [instance.NAME.ssh] host in the \
                       lab file, or [login] in image.toml";
            return Err(Trouble::rack(why));
        };
        asker.open(deadline).await?;
        let said = asker.exec(ADDRESSES, deadline).await?.text();
        own_address(&said).ok_or_else(|| {
            Trouble::transport("the board has no network address by its own word (`ip addr`)")
        })
    }

    fn opened(&mut self) -> Outcome<&mut SshShell> {
        self.shell.as_mut().ok_or_else(|| Trouble::rack("SSH was used before it was opened"))
    }
}

async fn resolve(host: String, port: u16) -> Outcome<SocketAddr> {
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let mut found =
        found.map_err(|why| Trouble::rack(format!("failed to look up {host}: {why}")))?;
    found.next().ok_or_else(|| Trouble::rack(format!("{host} has no address")))
}

#[async_trait]
impl Shell for FoundSsh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        if self.shell.is_none() {
            let address = self.address(deadline).await?;
            let Account { user, key, password } = self.account.clone();
            self.shell = Some(SshShell::new(SshTarget { address, user, key, password }));
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

    fn forget(&mut self) {
        self.shell = None;
        if let Some(asker) = &mut self.asker {
            asker.forget();
        }
    }
}
