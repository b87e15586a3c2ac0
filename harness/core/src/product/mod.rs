//! What a case asks the product: its OS, its container engine, its updater.
//!
//! Traits here, one small adapter file each in hil-run, chosen by the image's manifest. Every
//! method runs commands through the rig, so it works the same over SSH and over a console.

mod engine;
mod os;
mod updater;

pub use engine::{Container, Engine, Ran, Setup, Standing};
pub use os::Os;
pub use updater::{Installed, Installing, SlotState, Updater};
