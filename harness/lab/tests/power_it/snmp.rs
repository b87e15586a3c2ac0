//! SNMP outlets against snmpsim; what was set is read back by net-snmp's tools. And what goes
//! wrong.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use hil_lab::power::Switch;

use super::peers::{Peer, WAIT, fails, get, on, present, simulators, switch};

const RACK: &str = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4";
const MASTERSWITCH: &str = "1.3.6.1.4.1.318.1.1.4.4.2.1.3";
const OTHER: &str = "1.3.6.1.4.1.99999.1";
/// snmpsim's name for a version 3 context is its file's.
const V3: &str = "v3 = { user = 'hil', auth = 'sha256', password = 'auctoritas', \
                  privacy = { cipher = 'aes128', password = 'privatus' }, context = 'private' }";

/// A PDU of two outlets of each kind, and one object that may only be read.
struct Sim {
    _peer: Peer,
    _files: tempfile::TempDir,
    address: String,
}

fn snmpsim() -> Option<Sim> {
    let python = simulators()?;
    let tools = Command::new("snmpget").arg("-V").output().is_ok();
    if !present(tools, "snmpget", "ci/setup") {
        return None;
    }
    let files = tempfile::tempdir().unwrap();
    let data = files.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut records: Vec<String> = [(MASTERSWITCH, 2), (RACK, 1), (OTHER, 0)]
        .iter()
        .flat_map(|(column, value)| {
            (1..=2).map(move |outlet| format!("{column}.{outlet}|2:writecache|value={value}\n"))
        })
        .collect();
    records.push(format!("{OTHER}.3|2:error|op=set,status=notwritable,value=5\n"));
    records.push(format!("{OTHER}.4|4|on\n"));
    fs::write(data.join("private.snmprec"), records.concat()).unwrap();

    // snmpsim names no port that it chose itself.
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(python.with_file_name("snmpsim-command-responder"));
    command.env("SNMPSIM_ALLOW_ROOT", "true").arg("--logging-method=stdout");
    command.arg(format!("--data-dir={}", data.display()));
    command.arg(format!("--cache-dir={}", files.path().join("cache").display()));
    command.arg(format!("--agent-udpv4-endpoint={free}"));
    command.args(["--v3-user=hil", "--v3-auth-key=auctoritas", "--v3-auth-proto=SHA256"]);
    command.args(["--v3-priv-key=privatus", "--v3-priv-proto=AES"]);
    let peer = Peer::start(&mut command);
    peer.line("Listening at UDP/IPv4 endpoint");
    let sim = Sim { _peer: peer, _files: files, address: free.to_string() };
    // It says that it listens just before it does.
    let begun = Instant::now();
    while sim.snmpget(&format!("{RACK}.1")).is_none() {
        assert!(begun.elapsed() < WAIT, "snmpsim does not answer at {free}");
    }
    Some(sim)
}

impl Sim {
    fn switch(&self, outlet: &str, access: &str) -> Box<dyn Switch> {
        let address = &self.address;
        switch(&format!(
            "snmp = {{ address = '{address}', outlet = {{ {outlet} }}, access = {{ {access} }} }}"
        ))
    }

    /// What net-snmp reads there.
    fn snmpget(&self, oid: &str) -> Option<String> {
        let mut command = Command::new("snmpget");
        command.args(["-v2c", "-cprivate", "-Oqv", "-t5", &self.address, oid]);
        let output = command.stderr(Stdio::null()).output().unwrap();
        let value = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| value.trim().to_string())
    }

    /// The state by net-snmp, and by the driver.
    fn states(&self, oid: &str, pdu: &mut dyn Switch) -> (String, Option<bool>) {
        (self.snmpget(oid).unwrap(), pdu.get().unwrap())
    }
}

#[test]
fn outlets_switch_in_every_version() {
    let Some(sim) = snmpsim() else { return };
    for (outlet, oid) in [
        ("apc = 1", format!("{RACK}.1")),
        ("apc = 2", format!("{RACK}.2")),
        ("apc-masterswitch = 2", format!("{MASTERSWITCH}.2")),
    ] {
        for access in ["v1 = 'private'", "v2c = 'private'", V3] {
            let mut pdu = sim.switch(outlet, access);
            pdu.set(false).unwrap();
            assert_eq!(sim.states(&oid, &mut *pdu), ("2".into(), Some(false)));
            pdu.set(true).unwrap();
            assert_eq!(sim.states(&oid, &mut *pdu), ("1".into(), Some(true)));
        }
    }
    // Its neighbours are as they were.
    assert_eq!(sim.snmpget(&format!("{MASTERSWITCH}.1")).unwrap(), "2");
    assert_eq!(sim.snmpget(&format!("{OTHER}.1")).unwrap(), "0");
}

#[test]
fn any_object_switches_by_its_own_numbers() {
    let Some(sim) = snmpsim() else { return };
    let object = |n, on, off| format!("{{ oid = '{OTHER}.{n}', on = {on}, off = {off} }}");
    let set = object(1, 7, -3);
    let mut pdu = sim.switch(&format!("oid = {{ set = {set} }}"), "v2c = 'private'");
    pdu.set(true).unwrap();
    assert_eq!(sim.states(&format!("{OTHER}.1"), &mut *pdu), ("7".into(), Some(true)));
    pdu.set(false).unwrap();
    assert_eq!(sim.snmpget(&format!("{OTHER}.1")).unwrap(), "-3");

    let (set, get_) = (object(1, 1, 2), object(2, 2, 1));
    let other = sim.switch(&format!("oid = {{ set = {set}, get = {get_} }}"), "v2c = 'private'");
    assert!(fails(other, get).contains(".2 is 0, neither 2 for on nor 1 for off"));
}

#[test]
fn what_the_agent_refuses_is_told() {
    let Some(sim) = snmpsim() else { return };
    for access in ["v1 = 'private'", "v2c = 'private'", V3] {
        let why = fails(sim.switch("apc = 9", access), get);
        assert!(why.contains("it has no object") && why.contains(".9"), "{access}: {why}");
        let why = fails(sim.switch("apc = 9", access), on);
        assert!(why.starts_with("switch outlet 9 of the PDU at 127"), "{access}: {why}");
        assert!(why.contains("SNMP error") || why.contains("no object"), "{access}: {why}");
    }
    let only_read = format!("oid = {{ set = {{ oid = '{OTHER}.3', on = 1, off = 2 }} }}");
    let why = fails(sim.switch(&only_read, "v2c = 'private'"), on);
    assert!(why.contains("may not be written"), "{why}");
    let text = format!("oid = {{ set = {{ oid = '{OTHER}.4', on = 1, off = 2 }} }}");
    assert!(fails(sim.switch(&text, "v2c = 'private'"), get).contains("is no integer"));

    let stranger = V3.replace("auctoritas", "somethingelse");
    let why = fails(sim.switch("apc = 1", &stranger), on);
    assert!(why.contains("are user, passwords, `auth` and `privacy` right?"), "{why}");
    let nobody = V3.replace("'hil'", "'lih'");
    let why = fails(sim.switch("apc = 1", &nobody), on);
    assert!(why.contains("are user, passwords, `auth` and `privacy` right?"), "{why}");
    let why = fails(sim.switch("apc = 1", "v1 = 'public'"), on);
    assert!(why.contains("no answer in time") && why.contains("community right"), "{why}");
    assert_eq!(sim.snmpget(&format!("{RACK}.1")).unwrap(), "1");
}

#[test]
fn noise_and_silence_are_told() {
    let at = |address: &str| {
        switch(&format!("snmp = {{ address = '{address}', outlet = {{ apc = 1 }} }}"))
    };
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(fails(at(&closed.to_string()), on).contains("nothing listens on that UDP port"));

    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let why = fails(at(&mute.local_addr().unwrap().to_string()), on);
    assert!(why.contains("no answer in time"), "{why}");

    // Whatever comes back, the driver neither panics nor takes it for an answer.
    let noisy = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = noisy.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut request = [0; 2048];
        let mut state = 1_u32;
        while let Ok((count, peer)) = noisy.recv_from(&mut request) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut answer = request[..count].to_vec();
            match state >> 30 {
                0 => answer.truncate(state as usize % count),
                1 => answer.clear(),
                _ => answer[(state >> 8) as usize % count] ^= (state >> 16) as u8 | 1,
            }
            let _ = noisy.send_to(&answer, peer);
        }
    });
    for _ in 0..200 {
        let why = fails(at(&address), get);
        assert!(why.contains("what answered is no SNMP agent"), "{why}");
    }
}
