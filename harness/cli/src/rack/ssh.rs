//! SSH to an emulated board, whose port on this host is another one after each power-on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_trait::async_trait;
use hil_console::{SshShell, SshTarget};
use hil_core::deadline::Deadline;
use hil_core::parts::{Output, Progress, Shell};
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

/// An SSH shell that finds the board's present port when it is opened.
pub(super) struct PortedSsh {
    account: Account,
    port: SshPort,
    shell: Option<SshShell>,
}

impl PortedSsh {
    pub(super) fn new(account: Account, port: SshPort) -> PortedSsh {
        PortedSsh { account, port, shell: None }
    }

    fn opened(&mut self) -> Outcome<&mut SshShell> {
        self.shell.as_mut().ok_or_else(|| Trouble::rack("SSH was used before it was opened"))
    }
}

#[async_trait]
impl Shell for PortedSsh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    async fn open(&mut self, deadline: Deadline) -> Outcome {
        if self.shell.is_none() {
            let port = self.port.get();
            let port =
                port.ok_or_else(|| Trouble::transport("the board has no power, so no SSH"))?;
            let Account { user, key, password } = self.account.clone();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
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
    }
}
