//! The runner: prepares images, brings rigs up, runs cases and records what happened.
//!
//! It knows traits only: which machine or relay stands behind a rig is the rack's affair.

pub mod adapters;
mod case;
mod depot;
pub mod interrupt;
pub mod prepare;
pub mod rack;
pub mod runner;
mod session;
mod start;
