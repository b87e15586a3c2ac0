//! The NBD protocol's numbers and byte layouts (fixed newstyle, structured replies). What they are
//! answered with is `handshake`'s and `conn`'s.

use crate::session::Refused;

pub(crate) const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
pub(crate) const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST: u32 = 0x2560_9513;
pub(crate) const SIMPLE_REPLY: u32 = 0x6744_6698;
pub(crate) const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// Handshake flags, the server's and the client's.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 2;

/// Options.
pub(crate) const OPT_EXPORT_NAME: u32 = 1;
pub(crate) const OPT_ABORT: u32 = 2;
pub(crate) const OPT_LIST: u32 = 3;
pub(crate) const OPT_INFO: u32 = 6;
pub(crate) const OPT_GO: u32 = 7;
pub(crate) const OPT_STRUCTURED_REPLY: u32 = 8;

/// Replies to options.
pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_SERVER: u32 = 2;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
pub(crate) const REP_ERR_INVALID: u32 = 1 << 31 | 3;
pub(crate) const REP_ERR_UNKNOWN: u32 = 1 << 31 | 6;

pub(crate) const INFO_EXPORT: u16 = 0;
pub(crate) const INFO_NAME: u16 = 1;
pub(crate) const INFO_BLOCK_SIZE: u16 = 3;

/// Transmission flags.
pub(crate) const HAS_FLAGS: u16 = 1;
pub(crate) const SEND_FLUSH: u16 = 1 << 2;
pub(crate) const SEND_FUA: u16 = 1 << 3;
pub(crate) const SEND_TRIM: u16 = 1 << 5;
pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
pub(crate) const SEND_FAST_ZERO: u16 = 1 << 11;

/// Commands.
pub(crate) const CMD_READ: u16 = 0;
pub(crate) const CMD_WRITE: u16 = 1;
pub(crate) const CMD_DISC: u16 = 2;
pub(crate) const CMD_FLUSH: u16 = 3;
pub(crate) const CMD_TRIM: u16 = 4;
pub(crate) const CMD_WRITE_ZEROES: u16 = 6;

/// Command flags.
pub(crate) const FLAG_FUA: u16 = 1;
pub(crate) const FLAG_NO_HOLE: u16 = 1 << 1;
pub(crate) const FLAG_FAST_ZERO: u16 = 1 << 4;

/// Chunks of structured replies.
pub(crate) const CHUNK_DONE: u16 = 1;
pub(crate) const CHUNK_DATA: u16 = 1;
pub(crate) const CHUNK_ERROR: u16 = 1 << 15 | 1;

/// The longest read or write, as every NBD implementation has it.
pub(crate) const MAX_PAYLOAD: u32 = 32 << 20;
/// The longest option; names are at most 4096 bytes.
pub(crate) const MAX_OPTION: u32 = 8192;

/// Length of a request's header, and of a structured data chunk's.
pub(crate) const REQUEST_LEN: usize = 28;
pub(crate) const DATA_HEAD: usize = 28;

/// A request's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) magic: u32,
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Head {
    pub(crate) fn decode(raw: &[u8; REQUEST_LEN]) -> Head {
        Head {
            magic: number(&raw[0..4]) as u32,
            flags: number(&raw[4..6]) as u16,
            command: number(&raw[6..8]) as u16,
            cookie: number(&raw[8..16]),
            offset: number(&raw[16..24]),
            len: number(&raw[24..28]) as u32,
        }
    }
}

/// A big-endian number of up to eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The error number that a client is told. `Frozen` has none: it is silence.
pub(crate) fn errno(result: Result<(), Refused>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(Refused::Io | Refused::Frozen) => 5,
        Err(Refused::Invalid) => 22,
        Err(Refused::NoSpace) => 28,
    }
}

pub(crate) fn simple_reply(cookie: u64, errno: u32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&SIMPLE_REPLY.to_be_bytes());
    out[4..8].copy_from_slice(&errno.to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The head of a chunk whose payload has `len` bytes.
pub(crate) fn chunk_head(cookie: u64, flags: u16, kind: u16, len: u32) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&STRUCTURED_REPLY.to_be_bytes());
    out[4..6].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..].copy_from_slice(&len.to_be_bytes());
    out
}
