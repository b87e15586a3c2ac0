//! What a driver of the rack says when it fails. It is always the rack's fault, never the product's.

use hil_core::trouble::Trouble;

/// Finishes the sentence "failed to …": what was attempted, on which device, what came instead,
/// and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct DriverError(pub String);

impl DriverError {
    pub fn new(what: impl std::fmt::Display) -> DriverError {
        DriverError(what.to_string())
    }
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Trouble {
        Trouble::rack(format!("failed to {error}"))
    }
}
