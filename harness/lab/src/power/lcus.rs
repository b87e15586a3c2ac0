//! Serial relays of the LCUS type: four-byte frames at 9600 baud.

use std::time::Duration;

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serialport::Parity;

use super::port::Port;
use super::{PATIENCE, Switch, failure};
use crate::error::DriverError;

/// The boards know no other.
const BAUD: u32 = 9600;
/// One byte, asks for every channel's state. LCUS-2, -4 and -8 answer, LCUS-1 says nothing.
const QUERY: u8 = 0xFF;
/// A board that answers begins within some 20 ms; an adapter holds bytes back for 16 ms more.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// Silence after which an answer is complete.
const QUIET: Duration = Duration::from_millis(60);
/// Longer than any board's answer: a port that streams is no relay.
const LONGEST: usize = 1024;

/// `[power.lcus]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lcus {
    /// Its serial port, by a stable name.
    pub port: std::path::PathBuf,
    /// From 1.
    #[schemars(range(min = 1, max = 95))]
    pub channel: u8,
    /// Whether this model answers the state query. Left out: it is asked, and silence means that
    /// it cannot tell. `true`: silence is a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
}

/// Start mark, channel, 1 to close and 0 to open the contact, and the sum of the three.
fn frame(channel: u8, on: bool) -> [u8; 4] {
    let op = u8::from(on);
    [0xA0, channel, op, 0xA0_u8.wrapping_add(channel).wrapping_add(op)]
}

/// The channels that an answer tells: `CH1: ON \r\nCH2: OFF\r\n`.
fn states(answer: &str) -> Vec<(u8, bool)> {
    let state = |line: &str| {
        let (channel, state) = line.trim().strip_prefix("CH")?.split_once(':')?;
        let on = match state.trim() {
            "ON" => true,
            "OFF" => false,
            _ => return None,
        };
        Some((channel.parse().ok()?, on))
    };
    answer.lines().filter_map(state).collect()
}

impl Lcus {
    fn open(&self, deadline: &Deadline) -> Result<Port, String> {
        // 95 keeps the sum in a byte.
        if !(1..=95).contains(&self.channel) {
            return Err(format!("`channel` is {}, but channels count from 1", self.channel));
        }
        Port::open(&self.port, BAUD, Parity::None, deadline)
    }

    fn ask(&self, port: &mut Port, deadline: &Deadline) -> Result<Vec<u8>, String> {
        port.send(&[QUERY], deadline)?;
        let mut answer = Vec::new();
        let mut wait = ANSWER_WITHIN;
        while answer.len() < LONGEST && !deadline.passed() && port.receive(&mut answer, wait)? {
            wait = QUIET;
        }
        Ok(answer)
    }

    fn state(&self) -> Result<Option<bool>, String> {
        if self.answers == Some(false) {
            return Ok(None);
        }
        let deadline = Deadline::within(PATIENCE);
        let mut port = self.open(&deadline)?;
        let mut answer = self.ask(&mut port, &deadline)?;
        if !answer.is_empty() {
            // Some boards answer the first query with the state before the last command
            // (seen by others on an LCUS-X2).
            answer = self.ask(&mut port, &deadline)?;
        }
        if answer.is_empty() {
            let silent = "sent FF, nothing came back: is it a board that answers the state query, \
                          and is this its port?";
            return if self.answers == Some(true) { Err(silent.into()) } else { Ok(None) };
        }
        let states = states(&String::from_utf8_lossy(&answer));
        if states.is_empty() {
            return Err(format!(
                "sent FF, expected lines like `CH1: ON`, got {}: is it a relay of the LCUS type?",
                failure::hex(&answer)
            ));
        }
        match states.iter().find(|(channel, _)| *channel == self.channel) {
            Some((_, on)) => Ok(Some(*on)),
            None => {
                let there: Vec<String> = states.iter().map(|state| state.0.to_string()).collect();
                Err(format!(
                    "it has no channel {}, only {}: correct `channel`",
                    self.channel,
                    there.join(", ")
                ))
            }
        }
    }
}

impl Switch for Lcus {
    fn label(&self) -> String {
        format!("LCUS relay {} on {}", self.channel, self.port.display())
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let deadline = Deadline::within(PATIENCE);
        let sent = self
            .open(&deadline)
            .and_then(|mut port| port.send(&frame(self.channel, on), &deadline));
        failure::set(&self.label(), on, sent)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.state())
    }

    /// Four bytes of ten bits.
    fn sending(&self) -> Duration {
        Duration::from_secs(40) / BAUD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_sellers_sheet() {
        assert_eq!(frame(1, true), [0xA0, 0x01, 0x01, 0xA2]);
        assert_eq!(frame(1, false), [0xA0, 0x01, 0x00, 0xA1]);
        assert_eq!(frame(2, true), [0xA0, 0x02, 0x01, 0xA3]);
        assert_eq!(frame(8, false), [0xA0, 0x08, 0x00, 0xA8]);
    }

    #[test]
    fn answers_are_read_with_and_without_padding() {
        assert_eq!(states("CH1: ON \r\nCH2: OFF\r\n"), [(1, true), (2, false)]);
        assert_eq!(states("CH1:ON\nCH10:OFF\n"), [(1, true), (10, false)]);
        assert_eq!(states("CH1: MAYBE\r\n\u{fffd}H2: ON\r\n"), []);
    }
}
