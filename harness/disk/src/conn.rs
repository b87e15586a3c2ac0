//! One connection's requests, from the end of the handshake to the end of the connection. Whatever a
//! client does wrong ends its own connection at most.

use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::pacer::{Pacer, Reply};
use crate::session::{Refused, Request, Session};
use crate::wire::{
    CHUNK_DATA, CHUNK_DONE, CHUNK_ERROR, CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE,
    CMD_WRITE_ZEROES, DATA_HEAD, FLAG_FAST_ZERO, FLAG_FUA, FLAG_NO_HOLE, Head, MAX_PAYLOAD,
    REQUEST, REQUEST_LEN, chunk_head, errno, simple_reply,
};

/// Payload bytes moved at a time: the one large buffer of a connection.
const CHUNK: usize = 64 << 10;

/// The sending side of a connection, shared by its reader and the pacer.
#[derive(Debug)]
pub(crate) struct Out {
    stream: Mutex<UnixStream>,
    /// For closing it while somebody is stuck in sending.
    closer: UnixStream,
    ended: AtomicBool,
}

impl Out {
    pub(crate) fn new(stream: &UnixStream) -> io::Result<Out> {
        Ok(Out {
            stream: Mutex::new(stream.try_clone()?),
            closer: stream.try_clone()?,
            ended: AtomicBool::new(false),
        })
    }

    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().try_for_each(|part| stream.write_all(part))
    }

    pub(crate) fn simple(&self, cookie: u64, result: Result<(), Refused>) -> io::Result<()> {
        self.send(&[&simple_reply(cookie, errno(result))])
    }

    /// The connection is over, as far as this side goes; its peer may see so only after this.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.close(Shutdown::Both);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self, how: Shutdown) {
        // It fails only if the peer has closed already.
        let _ = self.closer.shutdown(how);
    }
}

/// Why the requests of a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client left, in whatever order.
    Gone,
    /// The disk was frozen: nothing is answered any more.
    Frozen,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

/// A connection whose handshake is done.
pub(crate) struct Conn<'a> {
    pub(crate) reader: &'a mut BufReader<UnixStream>,
    pub(crate) out: Arc<Out>,
    pub(crate) session: Session,
    pub(crate) pacer: &'a Pacer,
    pub(crate) structured: bool,
    /// Whether FLUSH and FUA were offered.
    pub(crate) cache: bool,
}

impl Conn<'_> {
    /// Serves requests until the connection ends.
    pub(crate) fn serve(&mut self) -> End {
        let mut buf = Vec::new();
        loop {
            if let Err(end) = self.request(&mut buf) {
                return end;
            }
        }
    }

    fn request(&mut self, buf: &mut Vec<u8>) -> Result<(), End> {
        let mut raw = [0; REQUEST_LEN];
        self.reader.read_exact(&mut raw)?;
        let head = Head::decode(&raw);
        if head.magic != REQUEST {
            return Err(End::Gone);
        }
        buf.resize(buf.len().max((head.len as usize).min(CHUNK) + DATA_HEAD), 0);
        match head.command {
            CMD_READ => self.read(head, buf),
            CMD_WRITE => self.write(head, buf),
            CMD_DISC => Err(End::Gone),
            _ => self.change(head),
        }
    }

    /// Everything that comes without payload and gets a reply without.
    fn change(&mut self, head: Head) -> Result<(), End> {
        let Head { offset, flags, .. } = head;
        let len = u64::from(head.len);
        let fua = flags & FLAG_FUA != 0;
        let (known, request) = match head.command {
            CMD_FLUSH if self.cache => (FLAG_FUA, Request::Flush),
            CMD_TRIM => (FLAG_FUA, Request::Trim { offset, len, fua }),
            CMD_WRITE_ZEROES => {
                // Zeroing is fast in any case: at first it is only noted.
                let no_hole = flags & FLAG_NO_HOLE != 0;
                let known = FLAG_FUA | FLAG_NO_HOLE | FLAG_FAST_ZERO;
                (known, Request::Zeroes { offset, len, fua, no_hole })
            }
            _ => return self.refuse(head, Refused::Invalid),
        };
        if flags & !known != 0 || (fua && !self.cache) {
            return self.refuse(head, Refused::Invalid);
        }
        self.begin(head, request)
    }

    fn begin(&mut self, head: Head, request: Request) -> Result<(), End> {
        match self.session.begin(request) {
            Ok(ticket) => {
                let out = self.out.clone();
                self.pacer.submit(Reply { out, cookie: head.cookie, ticket });
                Ok(())
            }
            Err(refused) => self.refuse(head, refused),
        }
    }

    fn refuse(&mut self, head: Head, refused: Refused) -> Result<(), End> {
        if refused == Refused::Frozen {
            return Err(End::Frozen);
        }
        if head.command == CMD_READ && self.structured {
            let mut payload = [0; 6];
            payload[..4].copy_from_slice(&errno(Err(refused)).to_be_bytes());
            let chunk = chunk_head(head.cookie, CHUNK_DONE, CHUNK_ERROR, 6);
            return Ok(self.out.send(&[&chunk, &payload])?);
        }
        Ok(self.out.simple(head.cookie, Err(refused))?)
    }

    /// The payload comes in piece by piece, and is read to its end even if it is refused.
    fn write(&mut self, head: Head, buf: &mut [u8]) -> Result<(), End> {
        if head.len > MAX_PAYLOAD {
            return Err(End::Gone);
        }
        let fua = head.flags & FLAG_FUA != 0;
        let bad = head.flags & !FLAG_FUA != 0 || (fua && !self.cache);
        let checked = if bad {
            Err(Refused::Invalid)
        } else {
            self.session.check(head.offset, u64::from(head.len))
        };
        let mut content = checked.and_then(|()| self.session.content(u64::from(head.len)));
        let mut left = head.len as usize;
        while left > 0 {
            let part = &mut buf[..left.min(CHUNK)];
            self.reader.read_exact(part)?;
            left -= part.len();
            content = content.and_then(|mut content| {
                content.append(part)?;
                Ok(content)
            });
        }
        match content {
            Ok(content) => self.begin(head, Request::Write { offset: head.offset, content, fua }),
            Err(refused) => self.refuse(head, refused),
        }
    }

    fn read(&mut self, head: Head, buf: &mut [u8]) -> Result<(), End> {
        let known = head.flags & !FLAG_FUA == 0 && head.len <= MAX_PAYLOAD;
        let checked = if known { Ok(()) } else { Err(Refused::Invalid) };
        let begun = checked.and_then(|()| self.session.begin_read(head.offset, head.len.into()));
        if let Err(refused) = begun {
            return self.refuse(head, refused);
        }
        if self.structured { self.read_chunks(head, buf) } else { self.read_simple(head, buf) }
    }

    fn read_chunks(&mut self, head: Head, buf: &mut [u8]) -> Result<(), End> {
        let mut done = 0;
        while done < head.len as usize {
            let count = (head.len as usize - done).min(CHUNK);
            let offset = head.offset + done as u64;
            let (space, data) = buf.split_at_mut(DATA_HEAD);
            if let Err(refused) = self.session.read_at(offset, &mut data[..count]) {
                return self.refuse(head, refused);
            }
            done += count;
            let flags = if done == head.len as usize { CHUNK_DONE } else { 0 };
            let chunk = chunk_head(head.cookie, flags, CHUNK_DATA, count as u32 + 8);
            space[..20].copy_from_slice(&chunk);
            space[20..].copy_from_slice(&offset.to_be_bytes());
            self.out.send(&[&buf[..DATA_HEAD + count]])?;
        }
        Ok(())
    }

    /// A simple reply names its error before the data: past the first part, only hanging up is left.
    fn read_simple(&mut self, head: Head, buf: &mut [u8]) -> Result<(), End> {
        let out = self.out.clone();
        let mut stream = out.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < head.len as usize {
            let count = (head.len as usize - done).min(CHUNK);
            let data = &mut buf[..16 + count];
            match self.session.read_at(head.offset + done as u64, &mut data[16..]) {
                Ok(()) => {}
                Err(refused) if done == 0 => {
                    drop(stream);
                    return self.refuse(head, refused);
                }
                Err(Refused::Frozen) => return Err(End::Frozen),
                Err(_) => return Err(End::Gone),
            }
            data[..16].copy_from_slice(&simple_reply(head.cookie, 0));
            stream.write_all(if done == 0 { data } else { &data[16..] })?;
            done += count;
        }
        Ok(())
    }
}
