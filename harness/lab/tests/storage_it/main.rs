//! Storage: the guard, writing and reading back, muxes, loaders, and all of it together.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod block;
mod guard;
mod loader;
mod loops;
mod mux;
mod provision;
mod rig;
