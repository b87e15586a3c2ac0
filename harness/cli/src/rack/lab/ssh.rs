//! SSH to a physical board: at the address the lab file gives, or at the one that the board tells
//! on its console.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use hil_console::{Aim, ConsoleShell, SshTarget};
use hil_core::address::{ADDRESSES, own_address};
use hil_core::deadline::Deadline;
use hil_core::parts::Shell;
use hil_core::trouble::{Outcome, Trouble};
use hil_lab::labfile::SshSpec;

use super::super::ssh::Account;

pub(super) struct Found {
    account: Account,
    port: u16,
    spec: Option<SshSpec>,
    asker: Option<ConsoleShell>,
}

impl Found {
    /// `port` is the image's own.
    pub(super) fn new(
        account: Account,
        port: u16,
        spec: Option<SshSpec>,
        asker: Option<ConsoleShell>,
    ) -> Found {
        Found { account, port, spec, asker }
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
}

async fn resolve(host: String, port: u16) -> Outcome<SocketAddr> {
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let mut found =
        found.map_err(|why| Trouble::rack(format!("failed to look up {host}: {why}")))?;
    found.next().ok_or_else(|| Trouble::rack(format!("{host} has no address")))
}

#[async_trait]
impl Aim for Found {
    async fn aim(&mut self, deadline: Deadline) -> Outcome<SshTarget> {
        let address = self.address(deadline).await?;
        Ok(self.account.at(address))
    }

    fn forget(&mut self) {
        if let Some(asker) = &mut self.asker {
            asker.forget();
        }
    }
}
