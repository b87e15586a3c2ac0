//! Network sockets with an HTTP interface. Here is what they share: one bounded request, with a
//! login where one is asked for. https is not spoken: no such socket has a certificate that could
//! be checked, and a TLS library would be the largest part of hil.

mod digest;
mod shelly;
mod tasmota;

pub use shelly::Shelly;
pub use tasmota::Tasmota;

use hil_core::deadline::Deadline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ureq::http::Response;

use super::net;
use super::secret::Secret;

/// Longer than any socket's answer.
const LONGEST: u64 = 64 * 1024;

/// Who asks: `login = { user = "admin", password = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `password`, and maybe `user`")]
pub struct Login {
    #[serde(default = "admin")]
    pub user: String,
    pub password: Secret,
}

fn admin() -> String {
    "admin".into()
}

/// What a socket said.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// How it wants a login, when it does.
    challenge: Option<String>,
}

impl Answer {
    /// The answer as JSON, or what came instead.
    fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_str(&self.body).map_err(|_| self.unexpected("JSON"))
    }

    pub(super) fn unexpected(&self, what: &str) -> String {
        let came = super::failure::quote(&self.body);
        format!("expected {what}, got {came} (HTTP status {})", self.status)
    }
}

/// A GET of `path` at `base` (`http://host[:port]`). An answer of any status is an answer.
pub(super) fn get(
    base: &str,
    path: &str,
    authorization: Option<&str>,
    deadline: &Deadline,
) -> Result<Answer, String> {
    let base = checked(base)?;
    // No proxy from the environment: the socket is on this host's own network.
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(deadline.left().max(std::time::Duration::from_millis(1))))
        .build()
        .new_agent();
    let mut request = agent.get(format!("{base}{path}")).header("Connection", "close");
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    let response = request.call().map_err(|error| meaning(&error))?;
    answer(response)
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer, String> {
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.and_then(|value| value.to_str().ok()).map(str::to_string);
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(LONGEST).read_to_vec();
    let body = body.map_err(|error| meaning(&error))?;
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), challenge })
}

/// A GET that logs in when it is asked to: basic or digest, as the socket wants.
pub(super) fn get_logged_in(
    base: &str,
    path: &str,
    login: Option<&Login>,
    deadline: &Deadline,
) -> Result<Answer, String> {
    let answer = get(base, path, None, deadline)?;
    if answer.status != 401 {
        return Ok(answer);
    }
    let Some(login) = login else {
        return Err("it wants a password: add `login = { password = \"…\" }`".into());
    };
    let challenge = answer.challenge.unwrap_or_default();
    let authorization = digest::authorization(&challenge, login, path)?;
    let answer = get(base, path, Some(&authorization), deadline)?;
    match answer.status {
        401 => Err(format!("it refuses the password of `{}`", login.user)),
        _ => Ok(answer),
    }
}

/// An address without anything that does not belong there.
fn checked(base: &str) -> Result<&str, String> {
    let Some(host) = base.strip_prefix("http://") else {
        let why = if base.starts_with("https://") {
            "https is not supported"
        } else {
            "it does not begin with http://"
        };
        return Err(format!("`url` is of no use: {why}; write http://host[:port]"));
    };
    if host.contains('@') {
        return Err("`url` holds a password: write it as `login = { … }` instead".into());
    }
    Ok(base.trim_end_matches('/'))
}

fn meaning(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => net::meaning(error),
        ureq::Error::Timeout(_) => net::meaning(&std::io::ErrorKind::TimedOut.into()),
        ureq::Error::HostNotFound => {
            "its name is not known to this host's resolver: check its spelling".into()
        }
        ureq::Error::Protocol(error) => {
            format!("what answered does not speak HTTP ({error}): is the port right?")
        }
        ureq::Error::BodyExceedsLimit(_) => "its answer does not end: is it such a socket?".into(),
        other => other.to_string(),
    }
}

/// Text as a part of a query.
pub(super) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_work_are_told_before_anything_is_sent() {
        assert_eq!(checked("http://plug.lab:8080/"), Ok("http://plug.lab:8080"));
        assert!(checked("https://plug.lab").unwrap_err().contains("https is not supported"));
        assert!(checked("plug.lab").unwrap_err().contains("write http://host"));
        let why = checked("http://admin:hunter2@plug.lab").unwrap_err();
        assert!(why.contains("login") && !why.contains("hunter2"), "{why}");
    }

    #[test]
    fn queries_keep_what_they_are_given() {
        assert_eq!(encode("Power1 On"), "Power1%20On");
        assert_eq!(encode("a&b=ü"), "a%26b%3D%C3%BC");
    }

    #[test]
    fn a_password_is_not_printed() {
        let login = Login { user: "admin".into(), password: Secret::new("hunter2") };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
