//! SSH to an emulated board, whose port on this host is another one after each power-on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_trait::async_trait;
use hil_console::{Aim, SshTarget};
use hil_core::deadline::Deadline;
use hil_core::trouble::{Outcome, Trouble};

/// The host port that leads to the guest's SSH server, while the board has power.
#[derive(Clone, Debug, Default)]
pub(super) struct SshPort(Arc<AtomicU16>);

impl SshPort {
    pub(super) fn get(&self) -> Option<u16> {
        Some(self.0.load(Ordering::Acquire)).filter(|port| *port != 0)
    }

    pub(super) fn set(&self, port: Option<u16>) {
        self.0.store(port.unwrap_or(0), Ordering::Release);
    }
}

/// How one logs in, apart from the port.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) key: Option<PathBuf>,
    pub(super) password: Option<String>,
}

impl Account {
    pub(super) fn at(&self, address: SocketAddr) -> SshTarget {
        let Account { user, key, password } = self.clone();
        SshTarget { address, user, key, password }
    }

    /// What a person types to log in.
    pub(super) fn words(&self, port: u16) -> String {
        self.words_for("127.0.0.1", port)
    }

    pub(super) fn words_for(&self, host: &str, port: u16) -> String {
        let key = self.key.as_ref().map(|key| format!(" -i {}", key.display())).unwrap_or_default();
        format!(
            "ssh -p {port}{key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR {}@{host}",
            self.user
        )
    }
}

/// Where a board is whose port is known while it has power.
pub(super) struct Ported {
    account: Account,
    port: SshPort,
}

impl Ported {
    pub(super) fn new(account: Account, port: SshPort) -> Ported {
        Ported { account, port }
    }
}

#[async_trait]
impl Aim for Ported {
    async fn aim(&mut self, _: Deadline) -> Outcome<SshTarget> {
        let port = self.port.get();
        let port = port.ok_or_else(|| Trouble::transport("the board has no power, so no SSH"))?;
        Ok(self.account.at(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }
}
