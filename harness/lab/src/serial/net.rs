//! Connections to terminal servers: bounded in time, kept alive, tried again more and more rarely.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::DriverError;

/// How long a name and a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to `host:port`. A server that vanishes is noticed within half a minute, asked or not.
pub(super) async fn connect(address: &str) -> Result<TcpStream, DriverError> {
    let failed = |why: &dyn std::fmt::Display| {
        DriverError::new(format!("connect to the console at {address}: {why}"))
    };
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|n| n > 0));
    if !has_port {
        return Err(failed(&"write it as `host:port`"));
    }
    let stream = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&format_args!("no answer within {} s", PATIENCE.as_secs()))),
    };
    tune(&stream).map_err(|error| failed(&error))?;
    Ok(stream)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    // What was typed and never acknowledged counts as a loss, too. Milliseconds.
    sockopt::set_tcp_user_timeout(stream, 25_000)?;
    Ok(())
}

/// 0.1 s, doubled up to 5 s.
pub(super) fn pause(nth: u32) -> Duration {
    let doubled = Duration::from_millis(100) * 2_u32.saturating_pow(nth.min(10));
    doubled.min(Duration::from_secs(5))
}

pub(super) fn why(address: &str, error: Option<&io::Error>, said: &str) -> String {
    match error {
        Some(error) => format!("the connection to {address} was lost: {error}"),
        None if said.is_empty() => format!("{address} closed the connection"),
        None => format!("{address} closed the connection, saying only `{said}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let ms: Vec<u128> = [0, 1, 3, 5, 6, 99].map(|nth| pause(nth).as_millis()).into();
        assert_eq!(ms, [100, 200, 800, 3200, 5000, 5000]);
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_told() {
        for wrong in ["rack-3", "rack-3:", ":2000", "rack-3:0"] {
            let told = connect(wrong).await.unwrap_err().to_string();
            assert!(told.contains("write it as `host:port`"), "{told}");
        }
    }
}
