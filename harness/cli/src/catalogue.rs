//! The boards and machines of this run: the built-in ones, and the user's folders over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::located::nearest;
use hil_qemu::catalogue::Catalogue;

use crate::failure::Failure;

/// The folder beside the user's project that is read unasked.
const USUAL: &str = "boards";

/// The catalogue with the asked folder, or `./boards` if there is one.
pub(crate) fn load(asked: Option<&Path>) -> Result<Catalogue, Failure> {
    let folder = match asked {
        Some(folder) => Some(folder.to_path_buf()),
        None => Some(PathBuf::from(USUAL)).filter(|folder| folder.is_dir()),
    };
    Ok(Catalogue::load(folder.as_slice())?)
}

/// A board by name, or an error that says what there is.
pub(crate) fn board(catalogue: &Catalogue, name: &str) -> Result<Arc<Board>, Failure> {
    if let Some(board) = catalogue.board(name) {
        return Ok(Arc::new(board.clone()));
    }
    let names: Vec<&str> = catalogue.boards().map(|board| board.name.as_str()).collect();
    let emulated = format!("qemu-{name}");
    let help = match nearest(name, names.iter().copied()) {
        _ if names.contains(&emulated.as_str()) => {
            format!("a bare type name means the physical board; its emulation is `{emulated}`")
        }
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names.join(", ")),
    };
    Err(Failure::usage(format!("there is no board `{name}`\nhelp: {help}")))
}
