//! Reports folded from events: JUnit, HTML, GitHub, the terminal, and the view of a run at work.
//!
//! ```text
//! Journal -> EventsFile -> events.jsonl -> read_events -> fold -> Report -> junit.xml, …
//!         -> Live -> stderr
//! ```
//! Everything a report says comes from the events, so `hil report DIR` writes what the run wrote,
//! byte for byte. Nothing here touches a board, and nothing a guest printed is trusted.

pub mod events_file;
pub mod fold;
pub mod github;
pub mod html;
pub mod junit;
pub mod live;
mod live_view;
mod mask;
pub mod merge;
pub mod read;
pub mod rebuild;
pub mod report;
pub mod safe_text;
pub mod table;
mod verdicts;

pub use events_file::EventsFile;
pub use fold::{FoldError, fold};
pub use github::{annotations, github_summary};
pub use html::html;
pub use junit::junit;
pub use live::Live;
pub use read::{ReadError, Recorded, Torn, read_events};
pub use rebuild::{RebuildError, Rebuilt, rebuild, write_reports};
pub use report::{CaseReport, End, Merged, Placed, Report, Session, Standing, Totals};
pub use table::table;
