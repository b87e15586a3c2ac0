//! Emulated machines: found, probed, started, watched, and never left behind.
//!
//! `Machine` is data from `qemu-configs/`; [`launch`] makes a command line of it; [`Qemu`] is the
//! live process, which [`save`] can make others of; [`probe`] says whether KVM can be trusted;
//! [`keeper`] ends what hil could not. Disks are NBD sockets that somebody else serves.

pub mod catalogue;
pub mod emulator;
pub mod error;
pub mod facts;
pub mod keeper;
pub mod launch;
pub mod live;
pub mod loss;
pub mod machine;
pub mod ports;
pub mod probe;
pub mod qemuboot;
pub mod qmp;
pub mod rundir;
pub mod save;

mod guest;
mod serial;
mod spawn;

pub use emulator::Emulator;
pub use error::{QemuError, QmpError};
pub use launch::{Begin, BootWith, LaunchSpec, command_line};
pub use live::{Qemu, RUN_VARIABLE, Started};
pub use loss::Loss;
pub use machine::{AccelKind, BootKind, Machine};
pub use ports::Forward;
pub use rundir::RunDir;
pub use save::SaveKind;
