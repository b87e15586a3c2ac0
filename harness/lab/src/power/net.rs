//! Devices on the network: addresses with a default port, names looked up and connections made
//! before a deadline, and what the usual failures mean.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use hil_core::deadline::Deadline;

use super::lane::Lane;

/// `host`, `host:port`, `[v6]:port` or a bare v6 address, as host and port.
fn split(address: &str, default: u16) -> Result<(String, u16), String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("`{text}` is not a port number in `{address}`"))
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) =
                rest.split_once(']').ok_or_else(|| format!("`{address}` lacks a `]`"))?;
            (host, port.strip_prefix(':'))
        }
        None if address.matches(':').count() == 1 => {
            let (host, port) = address.split_once(':').unwrap_or((address, ""));
            (host, Some(port))
        }
        None => (address, None),
    };
    if host.is_empty() || host.contains(['/', ' ']) {
        return Err(format!("`{address}` is not an address: write `host` or `host:port`"));
    }
    Ok((host.to_string(), port.map_or(Ok(default), number)?))
}

/// An address with its port written out, as a URL wants it.
pub(super) fn host_and_port(address: &str, default: u16) -> Result<String, String> {
    let (host, port) = split(address, default)?;
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The addresses behind a name. The system's resolver knows no deadline, so it gets a thread.
pub(super) fn resolve(
    address: &str,
    default: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = split(address, default)?;
    let name = host.clone();
    let found = Lane::default().run(deadline, &format!("the look-up of `{host}`"), move || {
        let found = (name.as_str(), port).to_socket_addrs();
        found.map(Iterator::collect::<Vec<_>>).map_err(|error| {
            format!("`{name}` is not known to this host's resolver ({error}): check its spelling")
        })
    })?;
    if found.is_empty() { Err(format!("`{host}` has no address")) } else { Ok(found) }
}

/// A connection that gives up reading or writing at the deadline; see [`read`].
pub(super) fn connect(
    address: &str,
    default: u16,
    deadline: &Deadline,
) -> Result<TcpStream, String> {
    let mut why = String::new();
    let found = resolve(address, default, deadline)?;
    for (tried, peer) in found.iter().enumerate() {
        // An address that swallows packets must leave time for the next one.
        let share = deadline.left() / u32::try_from(found.len() - tried).unwrap_or(1);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(peer, share) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                let left = Some(deadline.left().max(std::time::Duration::from_millis(1)));
                stream
                    .set_read_timeout(left)
                    .and_then(|()| stream.set_write_timeout(left))
                    .map_err(|error| format!("{peer}: {error}"))?;
                return Ok(stream);
            }
            Err(error) => why = format!("{peer}: {}", meaning(&error)),
        }
    }
    if why.is_empty() { Err(format!("{address}: no time was left to connect")) } else { Err(why) }
}

/// Fills `buffer` before the deadline. A peer that sends a byte now and then cannot stretch it.
pub(super) fn read(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    deadline: &Deadline,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        if deadline.passed() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(deadline.left().max(std::time::Duration::from_millis(1))))?;
        match io::Read::read(stream, &mut buffer[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What an error of a socket means, and what to do about it.
pub(super) fn meaning(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: the host is up, but nothing listens \
            on that port (is the service on, the port right?)"
            .into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer in time: is it on, and is \
            nothing in between dropping packets?"
            .into(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("{error}: this host has no way there (address, cable, VLAN?)")
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "it closed the connection without an answer (another client may hold its only one)"
                .into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let both = |host: &str, port| Ok((host.to_string(), port));
        assert_eq!(split("pdu.lab", 502), both("pdu.lab", 502));
        assert_eq!(split("pdu.lab:5020", 502), both("pdu.lab", 5020));
        assert_eq!(split("fe80::1", 502), both("fe80::1", 502));
        assert_eq!(split("[fe80::1]:5020", 502), both("fe80::1", 5020));
        assert_eq!(split("[fe80::1]", 502), both("fe80::1", 502));
        for bad in ["", ":502", "pdu:", "pdu:http", "pdu:0", "pdu:70000", "[::1", "http://pdu"] {
            assert!(split(bad, 502).is_err(), "{bad}");
        }
    }
}
