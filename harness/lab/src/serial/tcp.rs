//! Raw bytes over TCP: ser2net `raw`, an emulator's socket.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::revive::{self, Port};
use super::{Line, net};
use crate::error::DriverError;

/// `[console.tcp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `address`")]
pub struct Tcp {
    /// `host:port`
    pub address: String,
}

impl Tcp {
    pub fn label(&self) -> String {
        format!("tcp {}", self.address)
    }

    pub async fn open(&self) -> Result<Line, DriverError> {
        revive::open(self.clone()).await
    }
}

#[async_trait]
impl Port for Tcp {
    type Io = TcpStream;

    async fn open(&self, _again: bool) -> Result<TcpStream, DriverError> {
        net::connect(&self.address).await
    }

    fn pause(&self, nth: u32) -> Duration {
        net::pause(nth)
    }

    fn why(&self, error: Option<&io::Error>, said: &str) -> String {
        net::why(&self.address, error, said)
    }
}
