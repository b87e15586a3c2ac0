//! The server against clients that were written by others: `qemu-img` and `qemu-io`. They are part
//! of what hil needs anyway, so that their absence is a failure and not a skip.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Bench, read_all};
use hil_disk::{Disk, DiskOptions, Policy, Profile, Server, ServerOptions};

const MIB: usize = 1 << 20;

fn run(tool: &str, args: &[&str]) -> Output {
    let missing = |e| panic!("cannot run {tool} ({e}): install the package qemu-utils");
    Command::new(tool).args(args).stdin(Stdio::null()).output().unwrap_or_else(missing)
}

fn uri(server: &Server) -> String {
    format!("nbd+unix:///?socket={}", server.path().display())
}

/// Runs `qemu-io` commands on an export; all must succeed. `cache` is QEMU's cache mode.
fn qemu_io(server: &Server, cache: &str, commands: &[&str]) -> String {
    let uri = uri(server);
    let mut args = vec!["-f", "raw", "-t", cache, "-d", "unmap", uri.as_str()];
    commands.iter().for_each(|command| args.extend(["-c", command]));
    let out = run("qemu-io", &args);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && !text.contains("failed"), "{commands:?}: {text}{errors}");
    text
}

fn serve(dir: &Path, disk: &Disk) -> Server {
    Server::start(dir.join("nbd.sock"), disk.clone(), ServerOptions::default()).unwrap()
}

/// `qemu-io` flushes when it closes. Killed before it does, it leaves what it wrote unflushed: so it
/// sleeps after its commands, until all its changes (`count` of them) are seen here.
fn qemu_io_killed(server: &Server, disk: &Disk, commands: &[&str], count: u64) {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-f", "raw", "-t", "writeback", "-d", "unmap", &uri(server)]);
    commands.iter().chain(&["sleep 600000"]).for_each(|command| {
        qemu_io.args(["-c", command]);
    });
    qemu_io.stdin(Stdio::null()).stdout(Stdio::null());
    let missing = |e| panic!("cannot run qemu-io ({e}): install the package qemu-utils");
    let mut child = qemu_io.spawn().unwrap_or_else(missing);
    let arrived = disk.wait_stats(common::DEADLINE, |stats| {
        stats.writes + stats.zeroes + stats.trims >= count && stats.in_flight == 0
    });
    disk.freeze();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(arrived, "qemu-io did not send {count} requests: {:?}", disk.stats());
}

fn is(image: &[u8], at: usize, len: usize, byte: u8) -> bool {
    image[at..at + len].iter().all(|b| *b == byte)
}

#[test]
fn qemu_img_sees_size_and_flags() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(4 * MIB, DiskOptions::default());
    let server = serve(bench.path(), &disk);
    let out = run("qemu-img", &["info", "-f", "raw", &uri(&server)]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("(4194304 bytes)"), "{text}{out:?}");

    let listed = run("qemu-nbd", &["--list", "-k", &server.path().to_string_lossy()]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for expected in ["export: 'disk'", "size:  4194304", "flush fua trim zeroes", "fast-zero"] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    for expected in ["min block: 512", "opt block: 4096", "max block: 33554432"] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    assert!(!text.contains("multi"), "{text}");
}

#[test]
fn a_whole_image_goes_through_both_ways() {
    let bench = Bench::new(3 * MIB + 512);
    let disk = bench.disk(bench.content.len(), DiskOptions::default());
    let server = serve(bench.path(), &disk);
    let copy = bench.path().join("copy.img");
    let args = ["convert", "-f", "raw", "-O", "raw", &uri(&server), &copy.to_string_lossy()];
    let out = run("qemu-img", &args);
    assert!(out.status.success(), "{out:?}");
    assert!(std::fs::read(&copy).unwrap() == bench.content, "the copy differs");

    let other: Vec<u8> = (0..bench.content.len()).map(|at| (at / 700 % 251) as u8).collect();
    std::fs::write(&copy, &other).unwrap();
    let args = ["convert", "-n", "-f", "raw", "-O", "raw", &copy.to_string_lossy(), &uri(&server)];
    let out = run("qemu-img", &args);
    assert!(out.status.success(), "{out:?}");
    assert!(read_all(&disk) == other, "what was written differs");
    bench.check_base();
}

#[test]
fn only_what_was_flushed_survives_a_cut_that_drops_all() {
    for (policy, survives) in [(Policy::DropAll, false), (Policy::KeepAll, true)] {
        let bench = Bench::new(MIB);
        let disk = bench.disk(MIB, DiskOptions::default());
        let server = serve(bench.path(), &disk);
        let commands =
            ["write -P 1 0 64k", "flush", "write -P 2 64k 64k", "write -f -P 3 128k 64k"];
        qemu_io_killed(&server, &disk, &commands, 3);
        assert_eq!(disk.stats().fua, 1, "qemu-io sent no FUA");
        let report = disk.power_cut(policy, 0).unwrap();
        assert_eq!(report.pending, 1, "{report}");
        let image = read_all(&disk);
        assert!(is(&image, 0, 65536, 1) && is(&image, 131072, 65536, 3));
        assert_eq!(is(&image, 65536, 65536, 2), survives);
        assert!(survives || image[65536..131072] == bench.content[65536..131072]);
        // The same server serves the next boot, which sees what is left.
        let mut reads = vec!["read -P 1 0 64k", "read -P 3 128k 64k"];
        reads.extend(survives.then_some("read -P 2 64k 64k"));
        qemu_io(&server, "writeback", &reads);
        bench.check_base();
    }
}

#[test]
fn zeroes_are_durable_when_flushed_and_discards_are_not() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(MIB, DiskOptions::default());
    let server = serve(bench.path(), &disk);
    let flushed = ["write -z 0 64k", "write -z -u 64k 64k", "discard 128k 64k", "flush"];
    let after = ["write -z 192k 64k", "write -z -f 256k 64k"];
    qemu_io_killed(&server, &disk, &[flushed.as_slice(), &after].concat(), 5);
    let stats = disk.stats();
    assert_eq!((stats.zeroes, stats.trims, stats.writes), (4, 1, 0), "{stats:?}");
    assert!(is(&read_all(&disk), 0, 320 << 10, 0), "reads do not see the newest");
    let report = disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!((report.pending, report.flushed_trims), (2, 1), "{report}");
    let image = read_all(&disk);
    assert!(is(&image, 0, 128 << 10, 0) && is(&image, 256 << 10, 64 << 10, 0));
    let old = 128 << 10..256 << 10;
    assert!(image[old.clone()] == bench.content[old], "old content did not come back");
}

#[test]
fn without_a_cut_a_killed_emulator_loses_nothing() {
    let bench = Bench::new(MIB);
    let disk = bench.disk(MIB, DiskOptions::default());
    let server = serve(bench.path(), &disk);
    qemu_io_killed(&server, &disk, &["write -P 7 0 64k"], 1);
    disk.thaw();
    qemu_io(&server, "writeback", &["read -P 7 0 64k"]);
}

#[test]
fn on_a_card_without_cache_every_completed_write_is_durable() {
    let bench = Bench::new(MIB);
    let options = DiskOptions { profile: Profile::EmmcCacheOff, ..DiskOptions::default() };
    let disk = bench.disk(MIB, options);
    let server = serve(bench.path(), &disk);
    // FUA and flushes are not offered; QEMU must cope and never send one.
    let commands = ["write -P 5 0 64k", "flush", "write -f -P 6 64k 64k"];
    qemu_io_killed(&server, &disk, &commands, 2);
    let stats = disk.stats();
    assert_eq!((stats.flushes, stats.fua), (0, 0));
    let report = disk.power_cut(Policy::DropAll, 0).unwrap();
    assert_eq!(report.pending, 0);
    let image = read_all(&disk);
    assert!(is(&image, 0, 65536, 5) && is(&image, 65536, 65536, 6));
}

#[test]
fn delayed_and_reordered_replies_still_make_a_correct_disk() {
    use hil_disk::Replies;
    use std::time::Duration;
    let bench = Bench::new(MIB);
    let disk = bench.disk(MIB, DiskOptions::default());
    let server = serve(bench.path(), &disk);
    let (min, max) = (Duration::ZERO, Duration::from_millis(3));
    server.set_replies(Replies::Delayed { min, max, seed: 1 });
    let writes: Vec<String> =
        (0..64).map(|at| format!("aio_write -q -P {} {}k 16k", at + 1, at * 16)).collect();
    let mut commands: Vec<&str> = writes.iter().map(String::as_str).collect();
    commands.push("aio_flush");
    qemu_io(&server, "writeback", &commands);
    disk.power_cut(Policy::DropAll, 0).unwrap();
    let image = read_all(&disk);
    assert!((0..64).all(|at| is(&image, at << 14, 1 << 14, at as u8 + 1)), "a write is missing");
}
