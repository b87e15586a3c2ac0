//! The nouns of hil, and the traits a rig is made of.
//!
//! Values that can be printed and compared without touching a device (`Board`, `Image`, `Plan`,
//! `Event`) and the small traits that do touch one (`Power`, `Console`, `Shell`). No sockets, no
//! processes, no files: whoever implements a trait lives in another crate.

pub mod address;
pub mod arch;
pub mod board;
pub mod case;
pub mod cut;
pub mod deadline;
pub mod envelope;
pub mod event;
pub mod image;
pub mod located;
pub mod mask;
pub mod parts;
pub mod plan;
pub mod product;
pub mod rig;
pub mod rules;
pub mod shard;
pub mod stage;
pub mod trouble;
pub mod verdict;

/// What the author of a suite needs, in one `use`.
pub mod prelude {
    pub use crate::case::{Body, Case, Isolation, Need, Suite};
    pub use crate::check;
    pub use crate::cut::{Cuts, Mark};
    pub use crate::deadline::{Deadline, secs};
    pub use crate::rig::Rig;
    pub use crate::stage::Stage;
    pub use crate::trouble::{OrFail, Outcome, Trouble};
}
