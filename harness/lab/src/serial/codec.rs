//! Telnet's bytes (RFC 854, 855, 856, 858, 1143): data escaped and unescaped, options agreed on.
//! Sockets are `nvt`'s business, what a subnegotiation means is `comport`'s.

use std::collections::BTreeMap;

pub(super) const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
pub(super) const IAC: u8 = 255;

/// Eight bits, no CR NUL.
pub(super) const BINARY: u8 = 0;
const ECHO: u8 = 1;
/// Suppress go ahead: both may speak at any time.
const SGA: u8 = 3;
/// RFC 2217.
pub(super) const COM_PORT: u8 = 44;

/// A subnegotiation of ours is a few bytes long; a longer one is cut.
const LONGEST: usize = 256;

/// Where an option stands on one side (RFC 1143, as far as we ask for options only at first).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Agreed {
    #[default]
    No,
    Asked,
    Yes,
    Refused,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Data,
    /// After a CR that was data, without BINARY: a NUL behind it belongs to it.
    Cr,
    Iac,
    /// After WILL, WONT, DO or DONT.
    Option(u8),
    Sub,
    SubIac,
}

/// One connection's both directions.
pub(super) struct Codec {
    state: State,
    us: BTreeMap<u8, Agreed>,
    them: BTreeMap<u8, Agreed>,
    /// Whether control of the port is asked for.
    com_port: bool,
    sub: Vec<u8>,
    /// What is to be sent as it stands: answers to options.
    pub(super) replies: Vec<u8>,
    /// Subnegotiations that came, each with its option first.
    pub(super) subs: Vec<Vec<u8>>,
}

impl Codec {
    /// Begins with our wishes in `replies`.
    pub(super) fn new(com_port: bool) -> Codec {
        let mut codec = Codec {
            state: State::Data,
            us: BTreeMap::new(),
            them: BTreeMap::new(),
            com_port,
            sub: Vec::new(),
            replies: Vec::new(),
            subs: Vec::new(),
        };
        for option in [BINARY, SGA] {
            codec.replies.extend([IAC, WILL, option, IAC, DO, option]);
            codec.us.insert(option, Agreed::Asked);
            codec.them.insert(option, Agreed::Asked);
        }
        if com_port {
            codec.replies.extend([IAC, WILL, COM_PORT]);
            codec.us.insert(COM_PORT, Agreed::Asked);
        }
        codec
    }

    /// Whether every wish of ours has been answered.
    pub(super) fn settled(&self) -> bool {
        let open = |agreed: &Agreed| *agreed == Agreed::Asked;
        !self.us.values().any(open) && !self.them.values().any(open)
    }

    /// Whether the other side lets us control its port.
    pub(super) fn controls(&self) -> bool {
        at(&self.us, COM_PORT) == Agreed::Yes
    }

    /// Takes what came and appends what of it is data.
    pub(super) fn decode(&mut self, bytes: &[u8], data: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == State::Data {
                let plain = self.plain(rest);
                data.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                if plain > 0 {
                    continue;
                }
            }
            rest = &rest[1..];
            self.step(byte, data);
        }
    }

    /// How many bytes are data and nothing else.
    fn plain(&self, bytes: &[u8]) -> usize {
        let binary = at(&self.them, BINARY) == Agreed::Yes;
        let special = |byte: &u8| *byte == IAC || (!binary && *byte == b'\r');
        bytes.iter().position(special).unwrap_or(bytes.len())
    }

    fn step(&mut self, byte: u8, data: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::Data | State::Cr, IAC) => State::Iac,
            (State::Cr, 0) => State::Data,
            (State::Data | State::Cr, _) => {
                data.push(byte);
                let binary = at(&self.them, BINARY) == Agreed::Yes;
                if byte == b'\r' && !binary { State::Cr } else { State::Data }
            }
            (State::Iac, IAC) => {
                data.push(IAC);
                State::Data
            }
            (State::Iac, WILL | WONT | DO | DONT) => State::Option(byte),
            (State::Iac, SB) => {
                self.sub.clear();
                State::Sub
            }
            // NOP, go ahead, data mark, …: nothing to a console.
            (State::Iac, _) => State::Data,
            (State::Option(verb), option) => {
                self.negotiate(verb, option);
                State::Data
            }
            (State::Sub, IAC) => State::SubIac,
            (State::Sub, _) | (State::SubIac, IAC) => {
                if self.sub.len() < LONGEST {
                    self.sub.push(byte);
                }
                State::Sub
            }
            (State::SubIac, SE) => {
                self.subs.push(std::mem::take(&mut self.sub));
                State::Data
            }
            // A subnegotiation that another command cuts off.
            (State::SubIac, _) => State::Data,
        };
    }

    /// Agrees to what serves, refuses the rest, and never answers what is agreed already, or
    /// both sides would go on for ever.
    fn negotiate(&mut self, verb: u8, option: u8) {
        let theirs = matches!(verb, WILL | WONT);
        let welcome = match (theirs, option) {
            // A server that echoes is a terminal's; we never echo ourselves.
            (true, ECHO) => true,
            (false, COM_PORT) => self.com_port,
            (_, BINARY | SGA) => true,
            _ => false,
        };
        let (side, yes, no) =
            if theirs { (&mut self.them, DO, DONT) } else { (&mut self.us, WILL, WONT) };
        let agreed = at(side, option);
        let (next, reply) = match (agreed, matches!(verb, WILL | DO)) {
            (Agreed::Yes, true) | (Agreed::Asked, true) => (Agreed::Yes, None),
            (Agreed::No | Agreed::Refused, true) if welcome => (Agreed::Yes, Some(yes)),
            (Agreed::No | Agreed::Refused, true) => (agreed, Some(no)),
            (Agreed::Yes, false) => (Agreed::No, Some(no)),
            (Agreed::Asked, false) => (Agreed::Refused, None),
            (Agreed::No | Agreed::Refused, false) => (agreed, None),
        };
        // An option that is refused for good must not fill the memory.
        if next != Agreed::No || agreed != Agreed::No {
            side.insert(option, next);
        }
        self.replies.extend(reply.into_iter().flat_map(|verb| [IAC, verb, option]));
    }

    /// Appends data as it goes over the wire.
    pub(super) fn encode(&self, data: &[u8], out: &mut Vec<u8>) {
        let binary = at(&self.us, BINARY) == Agreed::Yes;
        out.reserve(data.len());
        for byte in data {
            out.push(*byte);
            match byte {
                &IAC => out.push(IAC),
                b'\r' if !binary => out.push(0),
                _ => {}
            }
        }
    }
}

fn at(side: &BTreeMap<u8, Agreed>, option: u8) -> Agreed {
    side.get(&option).copied().unwrap_or_default()
}

/// A subnegotiation as it goes over the wire.
pub(super) fn subnegotiation(option: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend([IAC, SB, option]);
    for byte in body {
        out.push(*byte);
        if *byte == IAC {
            out.push(IAC);
        }
    }
    out.extend([IAC, SE]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(com_port: bool) -> Codec {
        let mut codec = Codec::new(com_port);
        codec.replies.clear();
        let answers = [WILL, DO]
            .into_iter()
            .flat_map(|verb| [BINARY, SGA].into_iter().flat_map(move |option| [IAC, verb, option]));
        codec.decode(&answers.collect::<Vec<_>>(), &mut Vec::new());
        codec
    }

    /// What is told of a stream that comes byte by byte.
    fn decoded(codec: &mut Codec, wire: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        wire.iter().for_each(|byte| codec.decode(&[*byte], &mut data));
        data
    }

    #[test]
    fn every_byte_goes_both_ways_with_and_without_binary() {
        let bytes: Vec<u8> = (0..=255).chain(*b"\r\n\r\0\xff\xff\r\r").collect();
        for mut codec in [agreed(false), Codec::new(false)] {
            let mut wire = Vec::new();
            codec.encode(&bytes, &mut wire);
            assert!(wire.len() > bytes.len());
            assert_eq!(decoded(&mut codec, &wire), bytes);
            let mut whole = Vec::new();
            codec.decode(&wire, &mut whole);
            assert_eq!(whole, bytes);
        }
        let mut wire = Vec::new();
        agreed(false).encode(b"a\rb\xff", &mut wire);
        assert_eq!(wire, b"a\rb\xff\xff");
        wire.clear();
        Codec::new(false).encode(b"a\rb", &mut wire);
        assert_eq!(wire, b"a\r\0b");
    }

    #[test]
    fn wishes_are_settled_by_their_answers_and_answered_once() {
        let mut codec = Codec::new(true);
        assert!(!codec.settled());
        let wishes = std::mem::take(&mut codec.replies);
        assert_eq!(wishes[..6], [IAC, WILL, BINARY, IAC, DO, BINARY]);
        let answers = [
            [IAC, DO, BINARY],
            [IAC, WILL, BINARY],
            [IAC, DO, SGA],
            [IAC, WILL, SGA],
            [IAC, DO, COM_PORT],
        ]
        .concat();
        assert_eq!(decoded(&mut codec, &answers), b"");
        assert!(codec.settled() && codec.controls() && codec.replies.is_empty());
        // Said again, as some servers do: no answer, or the two would never end.
        decoded(&mut codec, &answers);
        assert_eq!(codec.replies, b"");
        decoded(&mut codec, &[IAC, DONT, BINARY]);
        assert_eq!(codec.replies, [IAC, WONT, BINARY]);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let mut codec = agreed(false);
        const TERMINAL_TYPE: u8 = 24;
        let asked =
            [IAC, DO, TERMINAL_TYPE, IAC, WILL, TERMINAL_TYPE, IAC, DO, COM_PORT, IAC, WILL, ECHO];
        assert_eq!(decoded(&mut codec, &asked), b"");
        let want = [
            [IAC, WONT, TERMINAL_TYPE],
            [IAC, DONT, TERMINAL_TYPE],
            [IAC, WONT, COM_PORT],
            [IAC, DO, ECHO],
        ];
        assert_eq!(codec.replies, want.concat());
        let mut refused = Codec::new(true);
        decoded(&mut refused, &[IAC, DONT, COM_PORT]);
        assert!(!refused.controls());
    }

    #[test]
    fn subnegotiations_are_taken_out_of_the_data_and_bounded() {
        let mut codec = agreed(true);
        let mut wire = b"ab".to_vec();
        subnegotiation(COM_PORT, &[101, 0, IAC, 1], &mut wire);
        wire.extend_from_slice(b"cd");
        assert_eq!(decoded(&mut codec, &wire), b"abcd");
        assert_eq!(codec.subs, [vec![COM_PORT, 101, 0, IAC, 1]]);
        let mut endless = vec![IAC, SB];
        endless.resize(100_000, b'x');
        endless.extend([IAC, SE, b'!']);
        assert_eq!(decoded(&mut codec, &endless), b"!");
        assert_eq!(codec.subs[1].len(), LONGEST);
    }
}
