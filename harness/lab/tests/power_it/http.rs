//! Tasmota and Shelly against the answers that their makers document, served by a small web
//! server here (no simulator by others was found), and against what goes wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use super::peers::{device, fails, get, nobody, on, silent, switch};

/// One request's target and its `Authorization`.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A web server that answers each request with a status, a header line and a body.
fn web(answer: impl Fn(&str, &str) -> (u16, String, String) + Send + 'static) -> (String, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let address = device(move |mut stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first)) = lines.next() else { return };
        let target = first.split(' ').nth(1).unwrap().to_string();
        let mut authorization = String::new();
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = value.to_string();
            }
        }
        let (status, header, body) = answer(&target, &authorization);
        log.lock().unwrap().push((target, authorization));
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Said\r\n{header}Content-Length: {length}\r\n\
             Content-Type: application/json\r\nConnection: close\r\n\r\n{body}"
        );
    });
    (format!("http://{address}"), seen)
}

fn said(body: &str) -> (u16, String, String) {
    (200, String::new(), body.into())
}

fn targets(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect()
}

/// A Tasmota of two relays, the second closed, as its command reference has it.
fn tasmota(target: &str, _: &str) -> (u16, String, String) {
    said(match target {
        "/cm?cmnd=Power1%20On" => r#"{"POWER1":"ON"}"#,
        "/cm?cmnd=Power1%20Off" | "/cm?cmnd=Power1" => r#"{"POWER1":"OFF"}"#,
        "/cm?cmnd=Power2" => r#"{"POWER2":"ON"}"#,
        _ => r#"{"Command":"Unknown"}"#,
    })
}

#[test]
fn tasmota_switches_and_tells() {
    let (url, seen) = web(tasmota);
    let mut first = switch(&format!("tasmota = {{ url = '{url}' }}"));
    first.set(true).unwrap();
    first.set(false).unwrap();
    assert_eq!(first.get().unwrap(), Some(false));
    let mut second = switch(&format!("tasmota = {{ url = '{url}/', channel = 2 }}"));
    assert_eq!(second.get().unwrap(), Some(true));
    let wanted =
        ["/cm?cmnd=Power1%20On", "/cm?cmnd=Power1%20Off", "/cm?cmnd=Power1", "/cm?cmnd=Power2"];
    assert_eq!(targets(&seen), wanted);

    let third = switch(&format!("tasmota = {{ url = '{url}', channel = 3 }}"));
    let why = fails(third, on);
    assert!(why.contains("has it a relay 3?") && why.contains("Unknown"), "{why}");
    let all = switch(&format!("tasmota = {{ url = '{url}', channel = 0 }}"));
    assert!(fails(all, on).contains("which means all of them"));
}

#[test]
fn tasmota_with_one_relay_leaves_its_number_out() {
    let (url, _) = web(|_, _| said(r#"{"POWER":"ON"}"#));
    let mut only = switch(&format!("tasmota = {{ url = '{url}' }}"));
    only.set(true).unwrap();
    assert_eq!(only.get().unwrap(), Some(true));
    // It stays on, or it is another relay that answers: neither is a success.
    let stuck = switch(&format!("tasmota = {{ url = '{url}' }}"));
    let why = fails(stuck, |switch| switch.set(false));
    assert!(why.contains("it answers that it is on"), "{why}");
    let other = switch(&format!("tasmota = {{ url = '{url}', channel = 2 }}"));
    assert!(fails(other, get).contains("has it a relay 2?"));
}

#[test]
fn tasmota_logs_in() {
    let (url, _) = web(|target, _| {
        let known = target.ends_with("&user=admin&password=jo%26ker%20%C3%BC");
        said(if known {
            r#"{"POWER1":"ON"}"#
        } else {
            r#"{"WARNING":"Need user=<username>&password=<password>"}"#
        })
    });
    let with = |login: &str| switch(&format!("tasmota = {{ url = '{url}'{login} }}"));
    with(", login = { password = 'jo&ker ü' }").set(true).unwrap();
    assert!(fails(with(""), on).contains("it wants a password"));
    let why = fails(with(", login = { user = 'bob', password = 'hunter2' }"), on);
    assert!(why.contains("refuses the password of `bob`") && !why.contains("hunter2"), "{why}");
}

#[test]
fn shelly_of_the_first_generation_switches_and_logs_in() {
    let relay = |ison| {
        said(&format!(
            r#"{{"ison":{ison},"has_timer":false,"timer_started":0,"timer_duration":0,
                "timer_remaining":0,"overpower":false,"source":"http"}}"#
        ))
    };
    let (url, seen) = web(move |target, authorization| match (target, authorization) {
        (_, "") => (401, "WWW-Authenticate: Basic realm=\"shelly1\"\r\n".into(), "401".into()),
        ("/relay/1?turn=on", "Basic Ym9iOmh1bnRlcjI=") => relay(true),
        ("/relay/1?turn=off" | "/relay/1", "Basic Ym9iOmh1bnRlcjI=") => relay(false),
        (_, "Basic Ym9iOmh1bnRlcjI=") => (404, String::new(), "Not found".into()),
        _ => (401, String::new(), "401 Unauthorized".into()),
    });
    let with =
        |rest: &str| switch(&format!("shelly = {{ url = '{url}', generation = 1, {rest} }}"));
    let bob = "login = { user = 'bob', password = 'hunter2' }";
    let mut relay = with(&format!("channel = 1, {bob}"));
    relay.set(true).unwrap();
    relay.set(false).unwrap();
    assert_eq!(relay.get().unwrap(), Some(false));
    assert_eq!(targets(&seen)[1], "/relay/1?turn=on");

    let why = fails(with(&format!("channel = 4, {bob}")), on);
    assert!(why.contains("it knows no such relay (HTTP status 404"), "{why}");
    assert!(fails(with("channel = 1"), on).contains("it wants a password"));
    let why = fails(with("login = { user = 'bob', password = 'guess' }"), on);
    assert!(why.contains("refuses the password of `bob`") && !why.contains("guess"), "{why}");
}

/// A second generation device of one relay. Its documentation's answers.
fn shelly(closed: bool) -> impl Fn(&str, &str) -> (u16, String, String) {
    let state = Mutex::new(closed);
    move |target: &str, _: &str| {
        let mut state = state.lock().unwrap();
        let was = *state;
        match target {
            "/rpc/Switch.Set?id=0&on=true" => *state = true,
            "/rpc/Switch.Set?id=0&on=false" => *state = false,
            "/rpc/Switch.GetStatus?id=0" => {
                return said(&format!(
                    r#"{{"id":0,"source":"HTTP_in","output":{was},"apower":0.0,"voltage":230.6,
                        "current":0.0,"aenergy":{{"total":11.7}},"temperature":{{"tC":53.3}}}}"#
                ));
            }
            _ => {
                let body = r#"{"code":-105,"message":"Argument 'id', value 3 not found!"}"#;
                return (500, String::new(), body.into());
            }
        }
        said(&format!(r#"{{"was_on":{was}}}"#))
    }
}

#[test]
fn shelly_of_later_generations_switches_and_tells() {
    let (url, seen) = web(shelly(false));
    let mut relay = switch(&format!("shelly = {{ url = '{url}' }}"));
    relay.set(true).unwrap();
    assert_eq!(relay.get().unwrap(), Some(true));
    relay.set(false).unwrap();
    assert_eq!(relay.get().unwrap(), Some(false));
    assert_eq!(targets(&seen)[..2], ["/rpc/Switch.Set?id=0&on=true", "/rpc/Switch.GetStatus?id=0"]);
    let third = switch(&format!("shelly = {{ url = '{url}', channel = 3 }}"));
    let why = fails(third, on);
    assert!(why.contains("it has no channel 3") && why.contains("not found!"), "{why}");
    // Its relay is welded: what it is told to be, it is not.
    let (url, _) = web(|target, _| {
        said(if target.contains("Set") { r#"{"was_on":true}"# } else { r#"{"output":true}"# })
    });
    let why = fails(switch(&format!("shelly = {{ url = '{url}' }}")), |relay| relay.set(false));
    assert!(why.contains("it answers that it is on"), "{why}");
}

#[test]
fn shelly_of_later_generations_logs_in_by_digest() {
    let challenge = "WWW-Authenticate: Digest qop=\"auth\", realm=\"shellyplus1-a8032abe54dc\", \
                     nonce=\"1625038762\", algorithm=SHA-256\r\n";
    let (url, seen) = web(move |target, authorization| {
        if authorization.contains("response=") {
            shelly(true)(target, authorization)
        } else {
            (401, challenge.into(), String::new())
        }
    });
    let login = "login = { password = 'hunter2' }";
    let mut relay = switch(&format!("shelly = {{ url = '{url}', {login} }}"));
    relay.set(true).unwrap();
    let (target, sent) = seen.lock().unwrap()[1].clone();
    assert_eq!(target, "/rpc/Switch.Set?id=0&on=true");
    // RFC 7616, 3.4.1, computed by another implementation.
    let value = |name: &str| {
        let (_, rest) = sent.split_once(&format!("{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_string()
    };
    assert_eq!((value("uri"), value("username")), (target.clone(), "admin".into()));
    let program = "import hashlib,sys\n\
        H=lambda s: hashlib.sha256(s.encode()).hexdigest()\n\
        uri,cnonce=sys.argv[1:]\n\
        who=H('admin:shellyplus1-a8032abe54dc:hunter2')\n\
        print(H(f'{who}:1625038762:00000001:{cnonce}:auth:'+H('GET:'+uri)))";
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", program, &target, &value("cnonce")]).output().unwrap();
    assert_eq!(value("response"), String::from_utf8(output.stdout).unwrap().trim());
}

#[test]
fn faults_are_told() {
    for kind in ["tasmota", "shelly"] {
        let at = |url: String| switch(&format!("{kind} = {{ url = '{url}' }}"));
        let why = fails(at(format!("http://{}", nobody())), on);
        assert!(why.contains("connection refused") && why.contains("http://127"), "{why}");
        let why = fails(at(format!("http://{}", silent())), on);
        assert!(why.contains("no answer in time"), "{why}");
        let (url, _) = web(|_, _| said("<html>Router login</html>"));
        let why = fails(at(url), on);
        assert!(why.contains("expected JSON, got `<html>Router login</html>`"), "{why}");
        let (url, _) = web(|_, _| (302, "Location: http://127.0.0.1:1/\r\n".into(), String::new()));
        assert!(fails(at(url), on).contains("302"));
        let endless = device(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'{'; 4096]).is_ok() {}
        });
        assert!(fails(at(format!("http://{endless}")), on).contains("does not end"));
        let modem = device(|mut stream| {
            let _ = stream.write_all(b"login: ");
        });
        let why = fails(at(format!("http://{modem}")), on);
        assert!(why.contains("does not speak HTTP") || why.contains("closed"), "{why}");
        assert!(fails(at("https://plug".into()), on).contains("https is not supported"));
    }
}
