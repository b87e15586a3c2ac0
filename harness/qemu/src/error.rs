//! Everything that can go wrong with an emulated machine, in words that fit after "failed to …".

use std::path::PathBuf;
use std::time::Duration;

use hil_core::deadline::Span;
use hil_core::trouble::Trouble;

/// Trouble with QEMU or its surroundings. None of it is ever the product's fault.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("find {binary} on PATH: install it with `apt install {package}`")]
    NoEmulator { binary: String, package: &'static str },
    #[error("start {binary}: {why}")]
    Spawn { binary: String, why: std::io::Error },
    #[error("start the machine: {binary} {ended}: {said}")]
    EndedEarly { binary: String, ended: String, said: String },
    #[error(
        "start the machine: {binary} opened no {channel} within {}: {said}; \
         the host may be overloaded, or a disk server does not answer",
        Span(*.within)
    )]
    Mute { binary: String, channel: &'static str, within: Duration, said: String },
    #[error(
        "boot by {kind} on machine `{machine}`, which can {can}: choose another board or image"
    )]
    CannotBoot { machine: String, kind: &'static str, can: String },
    #[error("give machine `{machine}` {asked} MiB of memory: it always has {has} MiB")]
    FixedMemory { machine: String, asked: u32, has: u32 },
    #[error("attach {disks} disks to machine `{machine}`: it has one card slot")]
    TooManyDisks { machine: String, disks: usize },
    #[error("run machine `{machine}` under KVM: its file has no [kvm] table")]
    NoKvm { machine: String },
    #[error(
        "use {} as a unix socket: its name has {length} bytes and {limit} are the limit; \
         point XDG_RUNTIME_DIR or TMPDIR at a folder with a shorter name",
        path.display()
    )]
    SocketPathTooLong { path: PathBuf, length: usize, limit: usize },
    #[error("{doing} {}: {why}", path.display())]
    Io { doing: &'static str, path: PathBuf, why: std::io::Error },
    #[error("talk to QEMU's monitor: {0}")]
    Qmp(#[from] QmpError),
    #[error("find the forwarded port for guest port {guest_port}: `info usernet` said: {said}")]
    NoForward { guest_port: u16, said: String },
    #[error("end QEMU (pid {pid}): it is still there {} after SIGKILL", Span(*.after))]
    Unkillable { pid: u32, after: Duration },
    #[error("start the keeper: {0}")]
    Keeper(String),
    #[error("name a run `{0}`: use 1 to 64 letters, digits, `-`, `_` or `.`")]
    RunId(String),
}

/// Trouble on the monitor connection.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QmpError {
    #[error("`{command}` was not answered within {}", Span(*.within))]
    Deadline { command: String, within: Duration },
    #[error("`{command}` was refused: {class}: {description}")]
    Refused { command: String, class: String, description: String },
    #[error("the connection is gone: {0}")]
    Closed(String),
}

impl QemuError {
    /// For a closure over `io::Error`.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> QemuError {
        let path = path.into();
        move |why| QemuError::Io { doing, path, why }
    }
}

/// A machine that fails is a broken rack; the sentence is finished here.
impl From<QemuError> for Trouble {
    fn from(error: QemuError) -> Trouble {
        Trouble::rack(format!("failed to {error}"))
    }
}
