//! One SNMP request and its answer, repeated when the datagram is lost.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hil_core::deadline::Deadline;
use snmp2::{Error, Oid, Pdu, SyncSession, Value, v3};

use super::super::net;
use super::{Access, Auth, Cipher, Snmp, User};

const PORT: u16 = 161;
/// A PDU's agent answers within a few tens of milliseconds; a busy one takes a second.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// Writes an integer. Writing it twice, where the answer got lost, does no harm.
pub(super) fn write(
    device: &Snmp,
    oid: &str,
    value: i64,
    deadline: &Deadline,
) -> Result<(), String> {
    let name = parse(oid)?;
    repeated(device, deadline, &mut |session| {
        session.set(&[(&name, Value::Integer(value))]).map(|answer| granted(&answer, oid))
    })?
}

pub(super) fn read(device: &Snmp, oid: &str, deadline: &Deadline) -> Result<i64, String> {
    let name = parse(oid)?;
    repeated(device, deadline, &mut |session| {
        session.get(&name).map(|answer| {
            granted(&answer, oid)?;
            match answer.varbinds.clone().next() {
                Some((_, Value::Integer(value))) => Ok(value),
                Some((_, Value::Unsigned32(value) | Value::Counter32(value))) => Ok(value.into()),
                Some((_, Value::NoSuchObject | Value::NoSuchInstance)) => Err(absent(oid)),
                Some((_, other)) => Err(format!("{oid} is no integer but {other:?}")),
                None => Err(format!("the answer does not tell {oid}")),
            }
        })
    })?
}

fn parse(oid: &str) -> Result<Oid<'static>, String> {
    let wrong = || format!("`{oid}` is not an OID in numbers, like 1.3.6.1.4.1.318");
    let arcs: Result<Vec<u64>, _> = oid.trim_matches('.').split('.').map(str::parse).collect();
    Oid::from(&arcs.map_err(|_| wrong())?).map_err(|_| wrong())
}

/// Each try has a session and so a socket of its own: late answers to an earlier one do not
/// disturb it.
fn repeated<T>(
    device: &Snmp,
    deadline: &Deadline,
    request: &mut dyn FnMut(&mut SyncSession) -> Result<T, Error>,
) -> Result<T, String> {
    let peer =
        *net::resolve(&device.address, PORT, deadline)?.first().ok_or("it has no address")?;
    let mut why = String::new();
    while deadline.left() > Duration::from_millis(100) {
        let wait = ANSWER_WITHIN.min(deadline.left());
        let attempt = Deadline::within(wait);
        let answer = open(device, peer, wait).and_then(|mut session| {
            // Version 3 asks for the agent's clock first.
            session.init().map_err(Failure::Snmp)?;
            request(&mut session).map_err(Failure::Snmp)
        });
        match answer {
            Ok(answer) => return Ok(answer),
            // Not after the wait: the host itself refused, which comes back at once.
            Err(Failure::Snmp(Error::Receive)) if attempt.left() > wait / 4 => {
                why =
                    "nothing listens on that UDP port: is SNMP enabled, the address right?".into();
                break;
            }
            Err(Failure::Snmp(Error::Receive)) => why = silence(&device.access),
            Err(Failure::Snmp(error)) => return Err(meaning(&error, &device.access)),
            Err(Failure::Socket(error)) => return Err(net::meaning(&error)),
        }
    }
    Err(why)
}

enum Failure {
    Socket(std::io::Error),
    Snmp(Error),
}

fn open(device: &Snmp, peer: SocketAddr, wait: Duration) -> Result<SyncSession, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = i32::try_from(now.subsec_nanos() >> 1).unwrap_or(1);
    let session = match &device.access {
        Access::V1(community) => {
            SyncSession::new_v1(peer, community.reveal().as_bytes(), Some(wait), first)
        }
        Access::V2c(community) => {
            SyncSession::new_v2c(peer, community.reveal().as_bytes(), Some(wait), first)
        }
        Access::V3(user) => SyncSession::new_v3(peer, Some(wait), first, security(user)),
    };
    session.map_err(Failure::Socket)
}

fn security(user: &User) -> v3::Security {
    let auth = match user.auth {
        Auth::Md5 => v3::AuthProtocol::Md5,
        Auth::Sha1 => v3::AuthProtocol::Sha1,
        Auth::Sha224 => v3::AuthProtocol::Sha224,
        Auth::Sha256 => v3::AuthProtocol::Sha256,
        Auth::Sha384 => v3::AuthProtocol::Sha384,
        Auth::Sha512 => v3::AuthProtocol::Sha512,
    };
    let level = match &user.privacy {
        None => v3::Auth::AuthNoPriv,
        Some(privacy) => v3::Auth::AuthPriv {
            cipher: match privacy.cipher {
                Cipher::Des => v3::Cipher::Des,
                Cipher::Aes128 => v3::Cipher::Aes128,
                Cipher::Aes192 => v3::Cipher::Aes192,
                Cipher::Aes256 => v3::Cipher::Aes256,
            },
            privacy_password: privacy.password.reveal().as_bytes().to_vec(),
        },
    };
    v3::Security::new(user.user.as_bytes(), user.password.reveal().as_bytes())
        .with_auth_protocol(auth)
        .with_auth(level)
        .with_context_name(&user.context)
        .with_key_extension_method(v3::KeyExtension::Reeder)
}

/// The agent's verdict (RFC 3416, 4.2.5).
fn granted(answer: &Pdu<'_>, oid: &str) -> Result<(), String> {
    match answer.error_status {
        0 => match answer.varbinds.clone().next() {
            Some((_, Value::NoSuchObject | Value::NoSuchInstance)) => Err(absent(oid)),
            _ => Ok(()),
        },
        2 => Err(absent(oid)),
        3 | 7 | 10 => {
            Err(format!("{oid} does not take that value (SNMP error {})", status(answer)))
        }
        4 | 6 | 16 | 17 => Err(format!(
            "{oid} may not be written (SNMP error {}): use the write community, or give this \
             host the right to write",
            status(answer)
        )),
        5 => Err("the agent failed at it (SNMP error 5, genErr): see the PDU's own log".into()),
        _ => Err(format!("the agent refused {oid} with SNMP error {}", status(answer))),
    }
}

fn status(answer: &Pdu<'_>) -> u32 {
    answer.error_status
}

fn absent(oid: &str) -> String {
    format!("it has no object {oid}: is the outlet's number right, and the model?")
}

fn silence(access: &Access) -> String {
    let what = match access {
        Access::V1(_) | Access::V2c(_) => "community",
        Access::V3(_) => "user and passwords",
    };
    format!("no answer in time: is it on, and is the {what} right? Agents keep silent otherwise")
}

fn meaning(error: &Error, access: &Access) -> String {
    match (error, access) {
        (Error::AuthFailure(_) | Error::CommunityMismatch | Error::AsnWrongType, Access::V3(_)) => {
            format!("the agent refused ({error}): are user, passwords, `auth` and `privacy` right?")
        }
        (Error::Send, _) => "the request could not be sent: is there a way to that address?".into(),
        _ => format!("what answered is no SNMP agent, or not of this version ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_are_numbers() {
        let written = |oid| parse(oid).map(|oid| oid.to_string());
        assert_eq!(written("1.3.6.1.4.1.318"), Ok("1.3.6.1.4.1.318".into()));
        assert_eq!(written(".1.3.6.1"), Ok("1.3.6.1".into()));
        for wrong in ["", "iso.3.6", "1..3", "PowerNet-MIB::sPDUOutletCtl.1", "1.3.-6"] {
            assert!(parse(wrong).unwrap_err().contains("not an OID"), "{wrong}");
        }
    }
}
