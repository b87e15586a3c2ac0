//! What can go wrong on the host's side, as fragments that fit after "failed to". What a *client*
//! does wrong is answered on the wire and never gets here.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// An error of setting up or preparing a disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open the {what} {}: {source}", path.display())]
    Open { what: &'static str, path: PathBuf, source: io::Error },
    #[error("use {} as a disk image: {why}", path.display())]
    NotAnImage { path: PathBuf, why: &'static str },
    #[error("create the {what} in {}: {source}", path.display())]
    Create { what: &'static str, path: PathBuf, source: io::Error },
    #[error("use a disk of {size} bytes: {why}")]
    Size { size: u64, why: String },
    #[error("use an atomic unit of {0} bytes: it must be a power of two, 512 or more")]
    AtomicUnit(u64),
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("read the write log {}: {why}", path.display())]
    Log { path: PathBuf, why: String },
    #[error("listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
}

/// Whose fault a [`Fault`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The file system, a quota or a limit of the process leaves no room for the layer.
    NoSpace,
    /// The host could not read or write a file of the disk.
    Io,
}

/// The rack broke, not the product: a file behind a disk could not be read or written. The guest
/// saw the error, too, so nothing it does afterwards says anything about the product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing} in {}: {why}", place.display())]
pub struct Fault {
    pub kind: FaultKind,
    /// What was tried, e.g. "write the disk layer".
    pub doing: &'static str,
    /// The directory or file that it concerns.
    pub place: PathBuf,
    /// The reason, with the next step.
    pub why: String,
}

impl Fault {
    pub(crate) fn new(doing: &'static str, place: &Path, error: &io::Error) -> Fault {
        let kind = kind_of(error);
        let why = match kind {
            FaultKind::NoSpace => {
                format!("no space for it ({error}); free some there or choose another place")
            }
            FaultKind::Io => error.to_string(),
        };
        Fault { kind, doing, place: place.to_owned(), why }
    }
}

/// A quota and a file size limit are a lack of space, as far as the owner of the disk can tell.
fn kind_of(error: &io::Error) -> FaultKind {
    let space = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].map(|e| Some(e.raw_os_error()));
    if space.contains(&error.raw_os_error()) { FaultKind::NoSpace } else { FaultKind::Io }
}
