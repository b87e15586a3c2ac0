//! The messages of RFC 2217 (Telnet Com Port Control Option), as a client sends and reads them.

use super::codec::COM_PORT;
use super::revive::Faults;

pub(super) const SET_BAUDRATE: u8 = 1;
pub(super) const SET_DATASIZE: u8 = 2;
pub(super) const SET_PARITY: u8 = 3;
pub(super) const SET_STOPSIZE: u8 = 4;
pub(super) const SET_CONTROL: u8 = 5;
const NOTIFY_LINESTATE: u8 = 6;
const FLOWCONTROL_SUSPEND: u8 = 8;
const FLOWCONTROL_RESUME: u8 = 9;
pub(super) const SET_LINESTATE_MASK: u8 = 10;
pub(super) const SET_MODEMSTATE_MASK: u8 = 11;

/// The server's messages carry the client's numbers and this.
const SERVER: u8 = 100;

/// Values of SET-CONTROL.
pub(super) const NO_FLOW: u8 = 1;
pub(super) const HARDWARE_FLOW: u8 = 3;
pub(super) const DTR_ON: u8 = 8;
pub(super) const DTR_OFF: u8 = 9;
pub(super) const RTS_ON: u8 = 11;
pub(super) const RTS_OFF: u8 = 12;

/// Bits of a line state, and of the mask that asks for them.
const OVERRUN: u8 = 1 << 1;
const PARITY: u8 = 1 << 2;
const FRAMING: u8 = 1 << 3;
const BREAK: u8 = 1 << 4;
pub(super) const ALL_FAULTS: u8 = OVERRUN | PARITY | FRAMING | BREAK;

/// What a server tells.
#[derive(Debug, PartialEq)]
pub(super) enum Notice {
    /// The value of a setting that holds now.
    Confirmed(u8, Vec<u8>),
    Faults(Faults),
    Suspend,
    Resume,
}

/// Reads a subnegotiation; `None` where it is of no concern here.
pub(super) fn read(sub: &[u8]) -> Option<Notice> {
    let (&COM_PORT, [command, value @ ..]) = sub.split_first()? else { return None };
    match command.checked_sub(SERVER)? {
        NOTIFY_LINESTATE => {
            let state = *value.first()?;
            let bit = |bit: u8| u64::from(state & bit != 0);
            Some(Notice::Faults(Faults {
                overruns: bit(OVERRUN),
                framing: bit(FRAMING),
                parity: bit(PARITY),
                breaks: bit(BREAK),
            }))
        }
        FLOWCONTROL_SUSPEND => Some(Notice::Suspend),
        FLOWCONTROL_RESUME => Some(Notice::Resume),
        command @ (SET_BAUDRATE..=SET_CONTROL | SET_LINESTATE_MASK | SET_MODEMSTATE_MASK) => {
            Some(Notice::Confirmed(command, value.to_vec()))
        }
        _ => None,
    }
}

/// For people: finishes "set the port's …".
pub(super) fn name(command: u8) -> &'static str {
    match command {
        SET_BAUDRATE => "baud rate",
        SET_DATASIZE => "data bits",
        SET_PARITY => "parity",
        SET_STOPSIZE => "stop bits",
        SET_CONTROL => "control lines",
        SET_LINESTATE_MASK => "error reports",
        _ => "modem line reports",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_the_rfc_writes_them() {
        let baud = read(&[44, 101, 0, 1, 0xc2, 0]);
        assert_eq!(baud, Some(Notice::Confirmed(SET_BAUDRATE, vec![0, 1, 0xc2, 0])));
        // Bits 1 and 3: overrun and framing; bit 0 and 5, 6 are data ready and empty registers.
        let faults = read(&[44, 106, 0b0110_1011]);
        let want = Faults { overruns: 1, framing: 1, ..Faults::default() };
        assert_eq!(faults, Some(Notice::Faults(want)));
        assert_eq!(read(&[44, 108]), Some(Notice::Suspend));
        assert_eq!(read(&[44, 109]), Some(Notice::Resume));
        for nothing in [&[][..], &[44], &[44, 1], &[44, 107, 3], &[24, 101, 0], &[44, 106]] {
            assert_eq!(read(nothing), None, "{nothing:?}");
        }
    }
}
