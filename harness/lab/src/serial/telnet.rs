//! Telnet (RFC 854, 856, 858): bytes escaped, options refused that a console has no use for.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nvt::Nvt;
use super::revive::{self, Port};
use super::{Line, net};
use crate::error::DriverError;

/// `[console.telnet]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `address`")]
pub struct Telnet {
    /// `host:port`
    pub address: String,
}

impl Telnet {
    pub fn label(&self) -> String {
        format!("telnet {}", self.address)
    }

    pub async fn open(&self) -> Result<Line, DriverError> {
        revive::open(self.clone()).await
    }
}

#[async_trait]
impl Port for Telnet {
    type Io = Nvt;

    async fn open(&self, _again: bool) -> Result<Nvt, DriverError> {
        let agreed = Nvt::agree(net::connect(&self.address).await?, false).await;
        agreed
            .map_err(|error| DriverError::new(format!("open {}: failed to {error}", self.label())))
    }

    fn pause(&self, nth: u32) -> Duration {
        net::pause(nth)
    }

    fn why(&self, error: Option<&io::Error>, said: &str) -> String {
        net::why(&self.address, error, said)
    }
}
