//! NBD's fixed-newstyle handshake for one export. It ends where requests begin, or with the client
//! gone; it does not serve requests.

use std::io::{self, ErrorKind, Read, Write};

use crate::profile::Profile;
use crate::wire::{
    FIXED_NEWSTYLE, HAS_FLAGS, IHAVEOPT, INFO_BLOCK_SIZE, INFO_EXPORT, INFO_NAME, MAX_OPTION,
    MAX_PAYLOAD, NBDMAGIC, NO_ZEROES, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST,
    OPT_STRUCTURED_REPLY, OPTION_REPLY, REP_ACK, REP_ERR_INVALID, REP_ERR_UNKNOWN, REP_ERR_UNSUP,
    REP_INFO, REP_SERVER, SEND_FAST_ZERO, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES,
    number,
};

/// What is offered.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) profile: Profile,
}

impl Export {
    fn flags(&self) -> u16 {
        let cache = if self.profile.has_cache() { SEND_FLUSH | SEND_FUA } else { 0 };
        HAS_FLAGS | SEND_TRIM | SEND_WRITE_ZEROES | SEND_FAST_ZERO | cache
    }

    /// Clients may ask for the default export by an empty name.
    fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }
}

/// What a handshake agreed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Agreed {
    pub(crate) structured: bool,
}

/// Talks to a client until it wants to send requests; `None` means that it left in good order.
pub(crate) fn handshake(
    reader: &mut impl Read,
    writer: &mut impl Write,
    export: &Export,
) -> io::Result<Option<Agreed>> {
    let mut hello = Vec::new();
    hello.extend(NBDMAGIC.to_be_bytes());
    hello.extend(IHAVEOPT.to_be_bytes());
    hello.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    writer.write_all(&hello)?;
    let flags = read_number::<4>(reader)?;
    if flags & !u64::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(garbage("unknown client flags"));
    }
    let no_zeroes = flags & u64::from(NO_ZEROES) != 0;
    let mut agreed = Agreed::default();
    loop {
        if read_number::<8>(reader)? != IHAVEOPT {
            return Err(garbage("not an option"));
        }
        let option = read_number::<4>(reader)? as u32;
        let len = read_number::<4>(reader)? as u32;
        if len > MAX_OPTION {
            return Err(garbage("oversize option"));
        }
        let mut data = vec![0; len as usize];
        reader.read_exact(&mut data)?;
        let mut answer = Answer { writer, option };
        match option {
            OPT_EXPORT_NAME => {
                return if export.is_named(&data) {
                    old_style(writer, export, no_zeroes).map(|()| Some(agreed))
                } else {
                    Err(garbage("unknown export"))
                };
            }
            OPT_ABORT => {
                // The client may have closed already, and need not read this.
                let _ = answer.send(REP_ACK, &[]);
                return Ok(None);
            }
            OPT_LIST if data.is_empty() => {
                let mut entry = (export.name.len() as u32).to_be_bytes().to_vec();
                entry.extend(export.name.as_bytes());
                answer.send(REP_SERVER, &entry)?;
                answer.send(REP_ACK, &[])?;
            }
            OPT_STRUCTURED_REPLY if data.is_empty() => {
                agreed.structured = true;
                answer.send(REP_ACK, &[])?;
            }
            OPT_LIST | OPT_STRUCTURED_REPLY => answer.send(REP_ERR_INVALID, &[])?,
            OPT_INFO | OPT_GO => {
                if inform(&mut answer, export, &data)? && option == OPT_GO {
                    return Ok(Some(agreed));
                }
            }
            _ => answer.send(REP_ERR_UNSUP, &[])?,
        }
    }
}

/// Answers INFO and GO; says whether the export was found.
fn inform(answer: &mut Answer<impl Write>, export: &Export, data: &[u8]) -> io::Result<bool> {
    let Some((name, wanted)) = parse_info(data) else {
        return answer.send(REP_ERR_INVALID, &[]).map(|()| false);
    };
    if !export.is_named(name) {
        return answer.send(REP_ERR_UNKNOWN, &[]).map(|()| false);
    }
    let mut info = INFO_EXPORT.to_be_bytes().to_vec();
    info.extend(export.size.to_be_bytes());
    info.extend(export.flags().to_be_bytes());
    answer.send(REP_INFO, &info)?;
    if wanted.contains(&INFO_NAME) {
        let mut info = INFO_NAME.to_be_bytes().to_vec();
        info.extend(export.name.as_bytes());
        answer.send(REP_INFO, &info)?;
    }
    // Told even when not asked for: a client that heeds it saves itself an error.
    let mut info = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
    for size in [512, 4096, MAX_PAYLOAD] {
        info.extend(size.to_be_bytes());
    }
    answer.send(REP_INFO, &info)?;
    answer.send(REP_ACK, &[]).map(|()| true)
}

/// The name and the kinds of information in INFO's or GO's data.
fn parse_info(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let (len, rest) = data.split_at_checked(4)?;
    let (name, rest) = rest.split_at_checked(usize::try_from(number(len)).ok()?)?;
    let (count, rest) = rest.split_at_checked(2)?;
    if rest.len() as u64 != number(count) * 2 {
        return None;
    }
    Some((name, rest.chunks_exact(2).map(|kind| number(kind) as u16).collect()))
}

/// The answer to EXPORT_NAME has no header.
fn old_style(writer: &mut impl Write, export: &Export, no_zeroes: bool) -> io::Result<()> {
    let mut out = export.size.to_be_bytes().to_vec();
    out.extend(export.flags().to_be_bytes());
    if !no_zeroes {
        out.extend([0; 124]);
    }
    writer.write_all(&out)
}

struct Answer<'a, W> {
    writer: &'a mut W,
    option: u32,
}

impl<W: Write> Answer<'_, W> {
    fn send(&mut self, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut out = OPTION_REPLY.to_be_bytes().to_vec();
        out.extend(self.option.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
        self.writer.write_all(&out)
    }
}

fn read_number<const N: usize>(reader: &mut impl Read) -> io::Result<u64> {
    let mut raw = [0; N];
    reader.read_exact(&mut raw)?;
    Ok(number(&raw))
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
