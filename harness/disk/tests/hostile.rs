//! Clients that misbehave, and the hand on the replies. Whatever a client does ends its own
//! connection at most: after each, the next client is served.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use common::client::{Client, Simple};
use common::{Bench, DEADLINE, Dice, SECTOR, read_all};
use hil_disk::{
    Disk, DiskOptions, Kind, Next, Order, Phase, Policy, Profile, Server, ServerOptions,
};

const SIZE: usize = 1 << 20;

fn serve(options: DiskOptions) -> (Bench, Disk, Server) {
    let bench = Bench::new(SIZE / 2);
    let disk = bench.disk(SIZE, options);
    let path = bench.path().join("nbd.sock");
    let server = Server::start(path, disk.clone(), ServerOptions::default()).unwrap();
    (bench, disk, server)
}

fn check_serves(server: &Server) {
    let mut client = Client::connect(server.path());
    assert_eq!(client.write(4096, &[9; 512]), 0);
    assert_eq!(client.read(4096, 512), [9; 512]);
}

#[test]
fn bad_requests_get_einval_and_the_connection_goes_on() {
    let (_bench, disk, server) = serve(DiskOptions::default());
    let mut client = Client::connect(server.path());
    let end = SIZE as u64;
    let bad: [(u16, u16, u64, u32); 14] = [
        (0, 0, end, 512),             // read past the end
        (0, 0, end - 512, 1024),      // read across the end
        (0, 0, u64::MAX - 511, 1024), // the end overflows
        (0, 0, 1, 512),               // not on a sector
        (0, 0, 0, 511),
        (0, 0, 0, 0),        // nothing
        (0, 0, 0, u32::MAX), // longer than any read may be
        (4, 0, 0, 512),      // DF was not offered
        (0, 4, end, 512),    // trim past the end
        (2, 4, 0, 512),      // NO_HOLE makes no sense for a trim
        (0, 6, end, 512),    // zeroes past the end
        (0x80, 6, 0, 512),   // unknown flag
        (0, 7, 0, 512),      // block status was not negotiated
        (0, 999, 0, 512),    // unknown command
    ];
    for (flags, command, offset, len) in bad {
        assert_eq!(client.ask(flags, command, offset, len), 22, "{flags} {command} {offset} {len}");
    }
    assert_eq!(client.write(end - 512, &[1; 1024]), 22, "the payload must be skipped");
    assert_eq!(client.write(100, &[1; 512]), 22);
    assert_eq!(client.write(512, &[1; 512]), 0);
    assert_eq!(disk.stats().writes, 1);
    assert_eq!(client.ask(2 | 16 | 1, 6, 0, 4096), 0, "NO_HOLE, FAST_ZERO and FUA are known");
    assert_eq!(client.read(0, 1024), [0; 1024]);
    assert_eq!(disk.fault(), None, "a client's mistake is not the host's");
}

#[test]
fn structured_reads_come_in_bounded_chunks_and_errors_are_chunks_too() {
    let (bench, _disk, server) = serve(DiskOptions::default());
    let mut client = Client::structured(server.path());
    client.send(0, 0, 5, 0, SIZE as u32);
    let (mut got, mut last) = (Vec::<u8>::new(), false);
    while !last {
        let (flags, kind, cookie, payload) = client.chunk();
        assert_eq!((kind, cookie), (1, 5));
        assert_eq!(payload[..8], (got.len() as u64).to_be_bytes());
        assert!(payload.len() <= (64 << 10) + 8);
        got.extend(&payload[8..]);
        last = flags == 1;
    }
    let mut expected = bench.content.clone();
    expected.resize(SIZE, 0);
    assert!(got == expected, "what was read differs");
    client.send(0, 0, 6, SIZE as u64, 512);
    assert_eq!(client.chunk(), (1, 0x8001, 6, vec![0, 0, 0, 22, 0, 0]));
    assert_eq!(client.ask(0, 3, 0, 0), 0, "other replies stay simple");
}

#[test]
fn a_card_without_cache_refuses_flush_and_fua() {
    let options = DiskOptions { profile: Profile::EmmcCacheOff, ..DiskOptions::default() };
    let (_bench, _disk, server) = serve(options);
    let mut client = Client::connect(server.path());
    assert_eq!(client.ask(0, 3, 0, 0), 22);
    assert_eq!(client.ask(1, 6, 0, 512), 22);
    client.send(1, 1, 3, 0, 512);
    client.stream.write_all(&[1; 512]).unwrap();
    assert_eq!(client.simple(), Simple { errno: 22, cookie: 3 });
    assert_eq!(client.write(0, &[1; 512]), 0);
}

#[test]
fn options_are_answered_by_the_book() {
    let (_bench, _disk, server) = serve(DiskOptions::default());
    let mut client = Client::hello(server.path());
    client.option(10, b"\0\0\0\0\0\0\0\0");
    assert_eq!(client.option_reply(), (10, 0x8000_0001, vec![]), "contexts are not supported");
    client.option(5, b"");
    assert_eq!(client.option_reply().1, 0x8000_0001, "nor is TLS");
    client.option(3, b"x");
    assert_eq!(client.option_reply().1, 0x8000_0003, "a list takes no data");
    client.option(6, b"\0\0\0\x09nonesuch");
    assert_eq!(client.option_reply().1, 0x8000_0003, "the name is longer than the data");
    client.option(7, b"\0\0\0\x08nonesuch\0\0");
    assert_eq!(client.option_reply().1, 0x8000_0006, "there is no such export");
    client.option(6, b"\0\0\0\0\0\x02\0\x01\0\x03");
    assert_eq!(
        client.option_reply().2[..10],
        [[0, 0].as_slice(), &(SIZE as u64).to_be_bytes()].concat()
    );
    assert_eq!(client.option_reply().2, b"\0\x01disk");
    assert_eq!(client.option_reply().2.len(), 14);
    assert_eq!(client.option_reply().1, 1);
    client.option(7, b"\0\0\0\x04disk\0\0");
    assert_eq!(client.option_reply().1, 3);
    assert_eq!(client.option_reply().1, 3);
    assert_eq!(client.option_reply().1, 1);
    assert_eq!(client.write(0, &[3; 512]), 0, "GO starts serving");

    let mut client = Client::hello(server.path());
    client.option(2, b"");
    assert_eq!(client.option_reply().1, 1);
    assert!(client.is_closed());
}

#[test]
fn garbage_oversize_and_vanishing_end_one_connection_only() {
    let (bench, disk, server) = serve(DiskOptions::default());
    let mut witness = Client::connect(server.path());

    let mut client = Client::connect(server.path());
    client.stream.write_all(&[0x55; 4096]).unwrap();
    assert!(client.is_closed(), "garbage instead of a request");

    let mut client = Client::connect(server.path());
    client.send(0, 1, 1, 0, (32 << 20) + 512);
    assert!(client.is_closed(), "an oversize write");

    let mut client = Client::hello(server.path());
    client.option(7, &[0; 9000]);
    assert!(client.is_closed(), "an oversize option");

    let mut client = Client::connect(server.path());
    client.send(0, 1, 1, 0, 1 << 20);
    client.stream.write_all(&[7; 300_000]).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed(), "half a write");
    assert_eq!(witness.read(0, 512), bench.content[..512], "half a write took effect");

    let mut client = Client::connect(server.path());
    client.send(0, 0, 1, 0, 1 << 20);
    drop(client);

    let mut dice = Dice::new(3);
    for _ in 0..200 {
        let mut stream = UnixStream::connect(server.path()).unwrap();
        let noise: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();
        // The server may have hung up already, being full of such clients.
        let _ = stream.write_all(&[&3u32.to_be_bytes(), noise.as_slice()].concat());
    }
    assert_eq!(witness.write(0, &[1; 512]), 0);
    drop(witness);
    // Some of those may still be on their way out, and a full server hangs up at once.
    let start = Instant::now();
    let mut client = loop {
        if let Some(client) = Client::try_hello(server.path()) {
            break client;
        }
        assert!(start.elapsed() < DEADLINE, "the server is stuck");
    };
    client.option(1, b"");
    client.take(10);
    assert_eq!(client.write(4096, &[9; 512]), 0);
    assert_eq!(client.read(4096, 512), [9; 512]);
    assert_eq!(disk.fault(), None);
    assert_eq!(disk.stats().in_flight, 0);
}

#[test]
fn held_replies_keep_writes_in_flight_and_a_freeze_is_silence() {
    let (bench, disk, server) = serve(DiskOptions::default());
    let mut client = Client::connect(server.path());
    server.hold_replies();
    for at in 0..3u8 {
        client.send_write(at.into(), u64::from(at) * 512, &[at + 1; SECTOR]);
    }
    client.send(0, 3, 99, 0, 0);
    assert!(server.wait_held(4, DEADLINE));
    assert_eq!(client_read_while_held(&server)[..512], [1; 512]);
    server.freeze();
    server.release_replies(Order::Reversed);
    client.send_write(50, 8192, &[8; SECTOR]);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed(), "a frozen server said something");
    let report = disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!((report.pending, report.in_flight), (3, 3));
    assert!(read_all(&disk)[..SIZE / 2] == bench.content);
    check_serves(&server);
}

fn client_read_while_held(server: &Server) -> Vec<u8> {
    Client::connect(server.path()).read(0, 1536)
}

#[test]
fn a_client_that_vanishes_has_nothing_in_flight() {
    let (_bench, disk, server) = serve(DiskOptions::default());
    server.hold_replies();
    let mut client = Client::connect(server.path());
    client.send_write(1, 0, &[4; SECTOR]);
    assert!(server.wait_held(1, DEADLINE));
    drop(client);
    assert!(disk.wait_stats(DEADLINE, |stats| stats.in_flight == 0), "{:?}", disk.stats());
    server.release_replies(Order::Submitted);
    // The next client's flush covers it.
    assert_eq!(Client::connect(server.path()).ask(0, 3, 0, 0), 0);
    assert_eq!(disk.power_cut(Policy::DropAll, 0).unwrap().pending, 0);
    assert_eq!(read_all(&disk)[..SECTOR], [4; SECTOR]);
}

#[test]
fn held_replies_go_out_in_the_order_asked_for() {
    let (_bench, _disk, server) = serve(DiskOptions::default());
    let mut client = Client::connect(server.path());
    let mut orders = Vec::new();
    for order in [Order::Submitted, Order::Reversed, Order::Shuffled(4), Order::Shuffled(4)] {
        server.hold_replies();
        (0..6).for_each(|at| client.send_write(at, at * 512, &[1; SECTOR]));
        assert!(server.wait_held(6, DEADLINE));
        server.release_replies(order);
        orders.push((0..6).map(|_| client.simple().cookie).collect::<Vec<_>>());
    }
    assert_eq!(orders[0], [0, 1, 2, 3, 4, 5]);
    assert_eq!(orders[1], [5, 4, 3, 2, 1, 0]);
    assert_ne!(orders[2], orders[0]);
    assert_eq!(orders[2], orders[3]);
}

#[test]
fn the_owner_can_freeze_at_exactly_the_nth_write() {
    freeze_at(Phase::Submitted, 5, 4, 1);
    freeze_at(Phase::Replied, 5, 4, 0);
}

/// Freezes at a phase of the `nth` write of eight; of that write no reply must be seen.
fn freeze_at(phase: Phase, nth: u64, replied: u64, in_flight: u64) {
    let (freeze_at, seen) = (nth, std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let events = seen.clone();
    let options = DiskOptions {
        on_event: Some(Box::new(move |event| {
            events.lock().unwrap().push(*event);
            let now = event.phase == phase && event.writes == freeze_at;
            if now { Next::Freeze } else { Next::Continue }
        })),
        ..DiskOptions::default()
    };
    let (_bench, disk, server) = serve(options);
    let mut client = Client::connect(server.path());
    for at in 0..8 {
        client.send_write(at, at * 512, &[1; SECTOR]);
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    let replies: Vec<u64> = (0..replied).map(|_| client.simple().cookie).collect();
    assert_eq!(replies, [0, 1, 2, 3]);
    assert!(client.is_closed());
    assert!(disk.is_frozen());
    let report = disk.power_cut(Policy::KeepAll, 0).unwrap();
    assert_eq!((report.pending, report.in_flight), (nth, in_flight));
    let events = seen.lock().unwrap();
    assert_eq!(events.len() as u64, nth + nth - in_flight);
    assert!(events.iter().all(|event| event.kind == Kind::Write));
}

#[test]
fn a_dropped_server_hangs_up_and_leaves_the_disk() {
    let (bench, disk, server) = serve(DiskOptions::default());
    let path = server.path().to_owned();
    let mut client = Client::connect(&path);
    assert_eq!(client.write(0, &[5; 512]), 0);
    server.hold_replies();
    client.send_write(1, 512, &[6; 512]);
    assert!(server.wait_held(1, DEADLINE));
    assert!(
        Server::start(&path, disk.clone(), ServerOptions::default()).is_err(),
        "two on one path"
    );
    drop(server);
    assert!(client.is_closed());
    assert!(!path.exists());
    assert_eq!(disk.stats().in_flight, 0);
    let server = Server::start(&path, disk.clone(), ServerOptions::default()).unwrap();
    assert_eq!(Client::connect(server.path()).read(0, 1024), [[5; 512], [6; 512]].concat());
    bench.check_base();
}
