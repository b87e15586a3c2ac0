//! The serial console and SSH: the capture of a console, expecting patterns in it, a shell on it,
//! and a shell over SSH. It implements `Console` and `Shell` of hil-core, and knows nothing of
//! emulators, suites or the runner.

mod alarms;
mod ansi;
mod capture;
mod login;
mod shell;
mod ssh;
mod stars;
mod transfer;
pub mod uboot;

pub use capture::{Capture, CaptureOptions};
pub use shell::ConsoleShell;
pub use ssh::{Aim, AimedSsh, SshShell, SshTarget};
