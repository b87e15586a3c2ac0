//! A hand-made NBD client that can say anything, also what no sane client says.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::DEADLINE;

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
}

/// A reply that is not a read's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Simple {
    pub(crate) errno: u32,
    pub(crate) cookie: u64,
}

impl Client {
    /// Connects and reads the server's hello.
    pub(crate) fn hello(path: &Path) -> Client {
        Client::try_hello(path).unwrap()
    }

    /// As [`Client::hello`], unless the server hangs up at once.
    pub(crate) fn try_hello(path: &Path) -> Option<Client> {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut hello = [0; 18];
        stream.read_exact(&mut hello).ok()?;
        assert_eq!(&hello, b"NBDMAGICIHAVEOPT\0\x03");
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        Some(Client { stream })
    }

    /// Connects up to the point where requests are served, by the oldest way.
    pub(crate) fn connect(path: &Path) -> Client {
        let mut client = Client::hello(path);
        client.option(1, b"");
        client.take(10);
        client
    }

    /// As [`Client::connect`], with structured replies.
    pub(crate) fn structured(path: &Path) -> Client {
        let mut client = Client::hello(path);
        client.option(8, b"");
        assert_eq!(client.option_reply(), (8, 1, vec![]));
        client.option(1, b"");
        client.take(10);
        client
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.stream.read_exact(&mut out).unwrap();
        out
    }

    /// Whether the server has hung up (having said nothing more).
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0))
            || self.stream.take_error().unwrap().is_some()
    }

    pub(crate) fn option(&mut self, option: u32, data: &[u8]) {
        let mut out = b"IHAVEOPT".to_vec();
        out.extend(option.to_be_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
        self.stream.write_all(&out).unwrap();
    }

    /// Option, type and data of a reply.
    pub(crate) fn option_reply(&mut self) -> (u32, u32, Vec<u8>) {
        let head = self.take(20);
        assert_eq!(head[..8], 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        (word(8), word(12), self.take(word(16) as usize))
    }

    pub(crate) fn send(&mut self, flags: u16, command: u16, cookie: u64, offset: u64, len: u32) {
        let mut out = 0x2560_9513_u32.to_be_bytes().to_vec();
        out.extend(flags.to_be_bytes());
        out.extend(command.to_be_bytes());
        out.extend(cookie.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(len.to_be_bytes());
        self.stream.write_all(&out).unwrap();
    }

    pub(crate) fn send_write(&mut self, cookie: u64, offset: u64, data: &[u8]) {
        self.send(0, 1, cookie, offset, data.len() as u32);
        self.stream.write_all(data).unwrap();
    }

    pub(crate) fn simple(&mut self) -> Simple {
        let raw = self.take(16);
        assert_eq!(raw[..4], 0x6744_6698_u32.to_be_bytes(), "not a simple reply: {raw:x?}");
        Simple {
            errno: u32::from_be_bytes(raw[4..8].try_into().unwrap()),
            cookie: u64::from_be_bytes(raw[8..].try_into().unwrap()),
        }
    }

    /// Flags, type, cookie and payload of a chunk.
    pub(crate) fn chunk(&mut self) -> (u16, u16, u64, Vec<u8>) {
        let raw = self.take(20);
        assert_eq!(raw[..4], 0x668e_33ef_u32.to_be_bytes(), "not a chunk: {raw:x?}");
        let short = |at: usize| u16::from_be_bytes(raw[at..at + 2].try_into().unwrap());
        let len = u32::from_be_bytes(raw[16..].try_into().unwrap());
        let cookie = u64::from_be_bytes(raw[8..16].try_into().unwrap());
        (short(4), short(6), cookie, self.take(len as usize))
    }

    /// Sends a request without payload and returns the error number of its reply.
    pub(crate) fn ask(&mut self, flags: u16, command: u16, offset: u64, len: u32) -> u32 {
        self.send(flags, command, 77, offset, len);
        let reply = self.simple();
        assert_eq!(reply.cookie, 77);
        reply.errno
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.send_write(78, offset, data);
        self.simple().errno
    }

    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        assert_eq!(self.ask(0, 0, offset, len), 0);
        self.take(len as usize)
    }
}
