//! The parts of a physical rack: power switches, serial lines, storage, locks, and the lab file that
//! says which of them belongs to which board. It knows nothing of emulators, suites or the runner.
//!
//! Drivers block, each within its own deadline, and each instance's drivers run on a thread of
//! their own: a driver that hangs holds up nobody else.

pub mod calibrate;
pub mod error;
pub mod keeper;
pub mod labfile;
pub mod link;
pub mod lock;
pub mod places;
pub mod power;
pub mod quarantine;
pub mod serial;
pub mod stagger;
pub mod storage;
pub mod wired;
pub mod worker;

pub use error::DriverError;
pub use labfile::{Instance, Lab};
pub use link::KeeperLink;
pub use places::Places;
pub use wired::Wired;
pub use worker::Worker;
