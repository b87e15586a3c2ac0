//! Why a command ends without having done what was asked: a message and an exit code.

use std::fmt::Display;

use hil_core::located::ConfigError;
use hil_core::verdict::exit;
use hil_run::prepare::PrepareError;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    /// The command line or a file it names is wrong.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure { code: exit::USAGE, message: message.to_string() }
    }

    /// The host cannot do it.
    pub(crate) fn host(message: impl Display) -> Failure {
        Failure { code: exit::BROKEN, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::usage(error)
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Failure {
        match error {
            PrepareError::Image(error) => Failure::usage(error),
            host => Failure::host(format!("failed to {host}")),
        }
    }
}
