//! Logins over HTTP: basic (RFC 7617) and digest with SHA-256 (RFC 7616), which is what Shelly's
//! two generations ask for.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::Login;

/// The `Authorization` header that answers a `WWW-Authenticate` one, for a GET of `uri`.
pub(super) fn authorization(challenge: &str, login: &Login, uri: &str) -> Result<String, String> {
    if let Some(rest) = challenge.strip_prefix("Digest ") {
        return digest(rest, login, uri, &nonce());
    }
    if challenge.is_empty() || challenge.starts_with("Basic") {
        return Ok(basic(login));
    }
    Err(format!("it wants a login of a kind that is not supported: `{challenge}`"))
}

fn basic(login: &Login) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{}:{}", login.user, login.password.reveal());
    let mut out = String::from("Basic ");
    for chunk in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

fn digest(challenge: &str, login: &Login, uri: &str, cnonce: &str) -> Result<String, String> {
    let field = |name: &str| field(challenge, name);
    let algorithm = field("algorithm").unwrap_or("MD5");
    if !algorithm.eq_ignore_ascii_case("SHA-256") {
        return Err(format!("it wants a digest by {algorithm}; only SHA-256 is supported"));
    }
    let (Some(realm), Some(nonce)) = (field("realm"), field("nonce")) else {
        return Err("it asks for a digest login without realm or nonce".into());
    };
    let count = "00000001";
    let user = &login.user;
    let who = hash(&format!("{user}:{realm}:{}", login.password.reveal()));
    let what = hash(&format!("GET:{uri}"));
    let response = hash(&format!("{who}:{nonce}:{count}:{cnonce}:auth:{what}"));
    let mut header = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", uri=\"{uri}\", algorithm=SHA-256, \
         nonce=\"{nonce}\", nc={count}, cnonce=\"{cnonce}\", qop=auth, response=\"{response}\""
    );
    if let Some(opaque) = field("opaque") {
        header += &format!(", opaque=\"{opaque}\"");
    }
    Ok(header)
}

/// The value of a field of a challenge, quoted or not.
fn field<'c>(challenge: &'c str, name: &str) -> Option<&'c str> {
    let mut rest = challenge;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
        rest = next;
    }
    None
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Our own nonce only has to differ from call to call.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    hash(&format!("{}:{}", now.as_nanos(), std::process::id()))[..32].to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: Secret::new(password) }
    }

    #[test]
    fn digest_is_the_one_of_rfc_7616() {
        // Section 3.9.1.
        let challenge = "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
            algorithm=SHA-256, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let header = digest(
            challenge,
            &login("Mufasa", "Circle of Life"),
            "/dir/index.html",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        .unwrap();
        let wanted =
            "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"";
        assert!(header.contains(wanted), "{header}");
        assert!(header.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
    }

    #[test]
    fn basic_is_the_one_of_rfc_7617() {
        let header = authorization("Basic realm=\"x\"", &login("Aladdin", "open sesame"), "/");
        assert_eq!(header.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn other_logins_are_told() {
        let why = |challenge| authorization(challenge, &login("a", "b"), "/").unwrap_err();
        assert!(why("Bearer realm=\"x\"").contains("not supported"));
        assert!(why("Digest realm=\"x\", nonce=\"1\"").contains("by MD5"));
        assert!(why("Digest algorithm=SHA-256, realm=\"x\"").contains("without realm or nonce"));
    }
}
