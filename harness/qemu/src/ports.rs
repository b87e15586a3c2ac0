//! Which host ports QEMU forwards to the guest, read from what its monitor says.
//!
//! QEMU is asked to forward host port 0, so that the kernel picks a free port while binding it:
//! two runs can never want the same one, and nobody can take it in between.

/// A guest TCP port and the port on 127.0.0.1 that leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub guest: u16,
    pub host: u16,
}

/// Reads the answer of `info usernet`, whose lines look like
/// `TCP[HOST_FORWARD]  3  127.0.0.1 34515  10.0.2.15  22  0  0`.
pub(crate) fn parse_usernet(said: &str) -> Vec<Forward> {
    said.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Forward> {
    let mut words = line.split_whitespace();
    if words.next()? != "TCP[HOST_FORWARD]" {
        return None;
    }
    // File descriptor and host address stand before, the guest's address between the two.
    let host = words.nth(2)?.parse().ok()?;
    let guest = words.nth(1)?.parse().ok()?;
    Some(Forward { guest, host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_told_from_connections() {
        let said = "Hub -1 (n0):\r\n  \
            Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[ESTABLISHED]   9       127.0.0.1 51234       10.0.2.15    22     0     0\r\n  \
            TCP[HOST_FORWARD]  4       127.0.0.1 40001       10.0.2.15    80     0     0\r\n  \
            TCP[HOST_FORWARD]  3       127.0.0.1 34515       10.0.2.15    22     0     0\r\n";
        let expected = [Forward { guest: 80, host: 40001 }, Forward { guest: 22, host: 34515 }];
        assert_eq!(parse_usernet(said), expected);
        assert_eq!(parse_usernet("TCP[HOST_FORWARD] 3 127.0.0.1 x 10.0.2.15 22"), []);
    }
}
