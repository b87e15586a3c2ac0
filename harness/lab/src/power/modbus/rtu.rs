//! Modbus over a serial line (MODBUS over Serial Line V1.02, RTU): unit, message, CRC.

use std::thread::sleep;
use std::time::Duration;

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::port::Port;
use super::super::{PATIENCE, Switch, failure};
use super::{REFUSED, Request, WRITE_SINGLE_COIL};
use crate::error::DriverError;

/// An RS-485 line loses a frame now and then; setting a coil twice does no harm.
const TRIES: usize = 3;
const ANSWER_WITHIN: Duration = Duration::from_millis(1000);

/// `[power.modbus-rtu]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModbusRtu {
    /// Its serial port, by a stable name.
    pub port: std::path::PathBuf,
    /// Bits per second.
    #[serde(default = "usual_baud")]
    #[schemars(range(min = 300))]
    pub baud: u32,
    /// Relay boards mostly use none, though the specification asks for even.
    #[serde(default)]
    pub parity: RtuParity,
    /// From 0.
    pub coil: u16,
    /// The unit's number.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 247))]
    pub unit: u8,
}

/// The ninth bit of each byte on the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RtuParity {
    #[default]
    None,
    Even,
    Odd,
}

fn usual_baud() -> u32 {
    9600
}

fn one() -> u8 {
    1
}

/// CRC-16/MODBUS, low byte first on the line (V1.02, 6.2.2).
fn crc(bytes: &[u8]) -> [u8; 2] {
    let step = |crc: u16, byte: &u8| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 }
        })
    };
    bytes.iter().fold(0xFFFF, step).to_le_bytes()
}

/// How long the frame is that begins so; `None` until that can be told.
fn length(frame: &[u8]) -> Option<usize> {
    match frame {
        [_, function, ..] if function & REFUSED != 0 => Some(5),
        [_, WRITE_SINGLE_COIL, ..] => Some(8),
        [_, _, count, ..] => Some(5 + usize::from(*count)),
        _ => None,
    }
}

impl ModbusRtu {
    fn ask(&self, request: Request) -> Result<bool, String> {
        if !(1..=247).contains(&self.unit) {
            return Err(format!("`unit` is {}, but units count from 1 to 247", self.unit));
        }
        let deadline = Deadline::within(PATIENCE);
        let parity = match self.parity {
            RtuParity::None => serialport::Parity::None,
            RtuParity::Even => serialport::Parity::Even,
            RtuParity::Odd => serialport::Parity::Odd,
        };
        let mut port = Port::open(&self.port, self.baud, parity, &deadline)?;
        let mut why = String::new();
        for _ in 0..TRIES {
            if deadline.left() < ANSWER_WITHIN / 4 {
                break;
            }
            match self.exchange(&mut port, request, &deadline) {
                Ok(answer) => return request.outcome(&answer),
                Err(Lost::Line(noise)) => why = noise,
                Err(Lost::Port(gone)) => return Err(gone),
            }
        }
        Err(why)
    }

    fn exchange(
        &self,
        port: &mut Port,
        request: Request,
        deadline: &Deadline,
    ) -> Result<Vec<u8>, Lost> {
        let mut frame = vec![self.unit];
        frame.extend_from_slice(&request.pdu());
        frame.extend_from_slice(&crc(&frame));
        // Frames are told apart by 3.5 characters of silence, 1.75 ms at least.
        let silence = Duration::from_secs_f64(3.5 * 11.0 / f64::from(self.baud.max(1)));
        sleep(silence.clamp(Duration::from_micros(1750), Duration::from_millis(150)));
        port.send(&frame, deadline).map_err(Lost::Port)?;

        let wait = Deadline::within(ANSWER_WITHIN.min(deadline.left()));
        let mut answer = Vec::new();
        while length(&answer).is_none_or(|length| answer.len() < length) && !wait.passed() {
            port.receive(&mut answer, wait.left()).map_err(Lost::Port)?;
        }
        self.checked(&answer)
            .map_err(|why| Lost::Line(format!("sent {}, {why}", failure::hex(&frame))))
    }

    /// The message within a frame, if the frame is whole and from this unit.
    fn checked(&self, frame: &[u8]) -> Result<Vec<u8>, String> {
        let Some(length) = length(frame).filter(|length| frame.len() >= *length) else {
            let came = failure::hex(frame);
            return Err(match frame {
                [] => "nothing came back: are unit, baud rate, parity and A/B wires right?".into(),
                _ => format!("only {came} came back: are baud rate and parity right?"),
            });
        };
        let (message, sum) = frame[..length].split_at(length - 2);
        if sum != crc(message) {
            let came = failure::hex(frame);
            return Err(format!(
                "{came} came back, whose CRC is wrong: noise, or a wrong baud rate"
            ));
        }
        if message[0] != self.unit {
            return Err(format!(
                "unit {} answered instead: is the number taken twice?",
                message[0]
            ));
        }
        Ok(message[1..].to_vec())
    }
}

/// Why an exchange brought no answer.
enum Lost {
    /// On the line: worth another try.
    Line(String),
    /// The port is not there any more.
    Port(String),
}

impl Switch for ModbusRtu {
    fn label(&self) -> String {
        format!("Modbus coil {} of unit {} on {}", self.coil, self.unit, self.port.display())
    }

    fn set(&mut self, on: bool) -> Result<(), DriverError> {
        let written = self.ask(Request::Write { coil: self.coil, on }).map(drop);
        failure::set(&self.label(), on, written)
    }

    fn get(&mut self) -> Result<Option<bool>, DriverError> {
        failure::get(&self.label(), self.ask(Request::Read { coil: self.coil }).map(Some))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_crc_16_modbus() {
        // The check value of the CRC catalogues, and the specification's example (6.2.2).
        assert_eq!(crc(b"123456789"), [0x37, 0x4B]);
        assert_eq!(crc(&[0x02, 0x07]), [0x41, 0x12]);
    }

    #[test]
    fn frames_that_are_not_whole_or_not_ours_are_refused() {
        let relay = ModbusRtu {
            port: "/dev/null".into(),
            baud: 9600,
            parity: RtuParity::None,
            coil: 0,
            unit: 2,
        };
        let whole = |message: &[u8]| [message, &crc(message)].concat();
        assert_eq!(relay.checked(&whole(&[2, 1, 1, 1])), Ok(vec![1, 1, 1]));
        assert_eq!(relay.checked(&whole(&[2, 0x85, 2])), Ok(vec![0x85, 2]));
        let why = |frame: &[u8]| relay.checked(frame).unwrap_err();
        assert!(why(&[]).contains("nothing came back"));
        assert!(why(&[2, 5, 0]).contains("only 02 05 00"));
        assert!(why(&whole(&[3, 1, 1, 1])).contains("unit 3 answered"));
        let mut noisy = whole(&[2, 1, 1, 1]);
        noisy[3] ^= 1;
        assert!(why(&noisy).contains("CRC is wrong"));
    }
}
