//! Relays that are Modbus coils, over TCP or a serial line: the two requests that a relay needs,
//! of the Modbus application protocol V1.1b3. How they travel is in [`tcp`] and [`rtu`].

mod rtu;
mod tcp;

pub use rtu::{ModbusRtu, RtuParity};
pub use tcp::ModbusTcp;

use super::failure::hex;

const READ_COILS: u8 = 0x01;
const WRITE_SINGLE_COIL: u8 = 0x05;
/// Set in the function code of an answer that is a refusal.
const REFUSED: u8 = 0x80;

/// What is asked of a unit about one coil.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    Write { coil: u16, on: bool },
    Read { coil: u16 },
}

impl Request {
    /// Function code and data (V1.1b3, 6.1 and 6.5).
    fn pdu(self) -> [u8; 5] {
        let (function, coil, value) = match self {
            Request::Write { coil, on: true } => (WRITE_SINGLE_COIL, coil, 0xFF00_u16),
            Request::Write { coil, on: false } => (WRITE_SINGLE_COIL, coil, 0x0000),
            Request::Read { coil } => (READ_COILS, coil, 1),
        };
        let ([c1, c0], [v1, v0]) = (coil.to_be_bytes(), value.to_be_bytes());
        [function, c1, c0, v1, v0]
    }

    /// What the unit's answer says of the coil: a write is echoed, a read brings a bit.
    fn outcome(self, answer: &[u8]) -> Result<bool, String> {
        let asked = self.pdu();
        match (self, answer) {
            (_, [function, code]) if *function == asked[0] | REFUSED => Err(refusal(self, *code)),
            (Request::Write { on, .. }, _) if answer == asked => Ok(on),
            // Some relays pad the answer; the bit is the first one all the same.
            (Request::Read { .. }, [READ_COILS, count, bits @ ..])
                if *count >= 1 && bits.len() == usize::from(*count) =>
            {
                Ok(bits[0] & 1 == 1)
            }
            _ => Err(format!("sent {}, which {} does not answer", hex(&asked), hex(answer))),
        }
    }
}

fn refusal(request: Request, code: u8) -> String {
    let coil = match request {
        Request::Write { coil, .. } | Request::Read { coil } => coil,
    };
    match code {
        1 => "it knows no such function (exception 1): is this output a coil?".into(),
        2 => format!("it has no coil {coil} (exception 2): `coil` counts from 0"),
        3 => "it takes no such value (exception 3)".into(),
        4 => "it failed to do it (exception 4): the device itself is at fault".into(),
        5 | 6 => format!("it is busy (exception {code}): another master may be writing"),
        10 | 11 => format!("the gateway does not reach this unit (exception {code}): `unit`?"),
        _ => format!("it refused with exception {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_specification() {
        // V1.1b3, 6.5: turn coil 173 on; 6.1's request, for one coil.
        let write = Request::Write { coil: 172, on: true };
        assert_eq!(write.pdu(), [0x05, 0x00, 0xAC, 0xFF, 0x00]);
        assert_eq!(Request::Read { coil: 19 }.pdu(), [0x01, 0x00, 0x13, 0x00, 0x01]);
    }

    #[test]
    fn only_the_right_answer_is_taken() {
        let write = Request::Write { coil: 1, on: true };
        assert_eq!(write.outcome(&[5, 0, 1, 0xFF, 0]), Ok(true));
        for wrong in [&[5, 0, 2, 0xFF, 0][..], &[5, 0, 1, 0, 0], &[1, 1, 1], &[], &[5]] {
            assert!(write.outcome(wrong).unwrap_err().contains("does not answer"), "{wrong:?}");
        }
        let read = Request::Read { coil: 1 };
        assert_eq!(read.outcome(&[1, 1, 0b1]), Ok(true));
        assert_eq!(read.outcome(&[1, 1, 0b1111_1110]), Ok(false));
        for wrong in [&[1, 0][..], &[1, 2, 1], &[1, 1], &[5, 0, 1, 0xFF, 0]] {
            assert!(read.outcome(wrong).is_err(), "{wrong:?}");
        }
        assert!(read.outcome(&[0x81, 2]).unwrap_err().contains("no coil 1"));
        assert!(write.outcome(&[0x85, 11]).unwrap_err().contains("does not reach this unit"));
    }
}
