//! Ports that a PDUDaemon switches, by its HTTP or its TCP listener
//! (<https://github.com/pdudaemon/pdudaemon>). It does not tell states.

use std::io::{ErrorKind, Read, Write};

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PATIENCE, Switch, failure, http, net};
use crate::error::DriverError;

const PORT: u16 = 16421;

/// `[power.pdudaemon]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pdudaemon {
    /// `host[:port]`; the port is 16421 when left out.
    pub address: String,
    /// The PDU's name in the daemon's configuration.
    pub pdu: String,
    /// The port at the PDU.
    pub port: u32,
    /// Which listener the daemon runs.
    #[serde(default)]
    pub listener: Listener,
}

/// `daemon.listener` in the daemon's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Listener {
    #[default]
    Http,
    Tcp,
}

impl Pdudaemon {
    /// Asks for it. The daemon answers when its driver is done, or has given up.
    fn request(&self, on: bool) -> Result<(), String> {
        let deadline = Deadline::within(PATIENCE);
        match self.listener {
            Listener::Http => self.over_http(on, &deadline),
            Listener::Tcp => self.over_tcp(on, &deadline),
        }
    }

    fn over_http(&self, on: bool, deadline: &Deadline) -> Result<(), String> {
        let base = format!("http://{}", net::host_and_port(&self.address, PORT)?);
        let (word, pdu) = (failure::word(on), http::encode(&self.pdu));
        let path = format!("/power/control/{word}?hostname={pdu}&port={}", self.port);
        let answer = http::get(&base, &path, None, deadline)?;
        match answer.status {
            200 if answer.body.starts_with("OK") => Ok(()),
            500 if answer.body.starts_with("Invalid request") => Err(self.refused()),
            _ => Err(answer.unexpected("`OK`")),
        }
    }

    fn over_tcp(&self, on: bool, deadline: &Deadline) -> Result<(), String> {
        if self.pdu.contains(char::is_whitespace) {
            return Err("`pdu` has a space, which the TCP listener cannot take".into());
        }
        let mut stream = net::connect(&self.address, PORT, deadline)?;
        let line = format!("{} {} {}\n", self.pdu, self.port, failure::word(on));
        stream.write_all(line.as_bytes()).map_err(|error| net::meaning(&error))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 256];
        // The listener closes after its word.
        while answer.len() < 4096 {
            let left = deadline.left();
            if left.is_zero() {
                return Err(net::meaning(&ErrorKind::TimedOut.into()));
            }
            stream.set_read_timeout(Some(left)).map_err(|error| net::meaning(&error))?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(net::meaning(&error)),
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        match answer.trim() {
            "ack" => Ok(()),
            "nack" => Err(self.refused()),
            other if other.contains("HTTP/") => {
                Err("it speaks HTTP: write `listener = \"http\"`".into())
            }
            other => Err(format!("expected `ack`, got {}", failure::quote(other))),
        }
    }

    fn refused(&self) -> String {
        format!(
            "the daemon refused, or failed to do it: does its configuration have a PDU `{}`? Its \
             log says more",
            self.pdu
        )
    }
}

impl Switch for Pdudaemon {
    fn label(&self) -> String {
        format!("port {} of PDU {} by the PDUDaemon at {}", self.port, self.pdu, self.address)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        failure::set(&self.label(), on, self.request(on))
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        Ok(None)
    }
}
