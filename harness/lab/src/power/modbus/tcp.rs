//! Modbus over TCP (Modbus Messaging on TCP/IP Implementation Guide V1.0b): seven bytes of header
//! before each message. One connection a request, since many relay boards take only one client.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{PATIENCE, Switch, failure, net};
use super::Request;
use crate::error::DriverError;

const PORT: u16 = 502;
/// The guide's longest message, without the header.
const LONGEST: usize = 253;

/// `[power.modbus-tcp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusTcp {
    /// `host:port`; the port is 502 when left out.
    pub address: String,
    /// From 0.
    pub coil: u16,
    /// The unit's number: matters where a gateway passes requests on.
    #[serde(default = "one")]
    pub unit: u8,
}

fn one() -> u8 {
    1
}

impl ModbusTcp {
    fn ask(&self, request: Request) -> Result<bool, String> {
        let deadline = Deadline::within(PATIENCE);
        let mut stream = net::connect(&self.address, PORT, &deadline)?;
        // A number that a late answer to somebody else's request does not carry.
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let pdu = request.pdu();
        let mut message = vec![number[0], number[1], 0, 0, 0, 6, self.unit];
        message.extend_from_slice(&pdu);
        stream.write_all(&message).map_err(|error| net::meaning(&error))?;
        let answer = self.answer(&mut stream, number, &deadline)?;
        request.outcome(&answer)
    }

    fn answer(
        &self,
        stream: &mut TcpStream,
        number: [u8; 2],
        deadline: &Deadline,
    ) -> Result<Vec<u8>, String> {
        let mut header = [0; 7];
        net::read(stream, &mut header, deadline).map_err(|error| net::meaning(&error))?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // The unit's number, and a function code with at least one byte.
        if header[2..4] != [0, 0] || !(3..=LONGEST + 1).contains(&length) {
            return Err(format!(
                "expected a Modbus header, got {}: does that port speak Modbus TCP?",
                failure::hex(&header)
            ));
        }
        if header[..2] != number || header[6] != self.unit {
            return Err(format!(
                "the answer is another request's ({}): is `unit` right?",
                failure::hex(&header)
            ));
        }
        let mut answer = vec![0; length - 1];
        net::read(stream, &mut answer, deadline).map_err(|error| net::meaning(&error))?;
        Ok(answer)
    }
}

impl Switch for ModbusTcp {
    fn label(&self) -> String {
        format!("Modbus coil {} of unit {} at {}", self.coil, self.unit, self.address)
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let written = self.ask(Request::Write { coil: self.coil, on }).map(drop);
        failure::set(&self.label(), on, written)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.ask(Request::Read { coil: self.coil }).map(Some))
    }
}
