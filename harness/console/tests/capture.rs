//! The capture of a console, fed over a unix socket as an emulator feeds it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hil_console::{Capture, CaptureOptions};
use hil_core::deadline::{Deadline, secs};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::{Alarm, Console, Seen};
use hil_core::stage::{Stage, StageMarks};
use hil_core::trouble::Trouble;
use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Line {
    capture: Arc<Capture>,
    dir: tempfile::TempDir,
}

fn line_with(options: CaptureOptions, secrets: &[&str]) -> Line {
    let dir = tempfile::tempdir().unwrap();
    let marks = StageMarks {
        kernel: Some("^Linux version".into()),
        ready: Some("^demo-os login: $".into()),
        ..Default::default()
    };
    let masker = Masker::new(secrets);
    let capture = Capture::open(dir.path(), Clock::new(), &marks, masker, options).unwrap();
    Line { capture, dir }
}

fn line() -> Line {
    line_with(CaptureOptions::default(), &[])
}

impl Line {
    /// Power on: the guest's side of a new socket.
    async fn plug(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.capture.attach(ours).await;
        theirs
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    async fn find(&self, from: u64, pattern: &str) -> Result<hil_core::parts::Match, Trouble> {
        self.capture.expect(from, &Regex::new(pattern).unwrap(), Deadline::within(secs(30))).await
    }

    async fn sighting(&self, cursor: &mut u64) -> (Seen, String) {
        let seen = tokio::time::timeout(secs(30), self.capture.sighting(cursor)).await.unwrap();
        (seen.what, seen.line)
    }

    /// Waits until a file's content satisfies a condition.
    async fn until(&self, name: &str, holds: impl Fn(&[u8]) -> bool) {
        let waiting = async {
            while !holds(&self.file(name)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(secs(30), waiting).await.unwrap();
    }
}

#[tokio::test]
async fn one_stream_over_all_power_cycles() {
    let line = line();
    let mut guest = line.plug().await;
    guest.write_all(b"\x1b[1mfirst\x1b[0m boot\r\nhalf a li").await.unwrap();
    drop(guest);
    line.capture.detach(secs(5)).await;
    assert!(!line.capture.attached());
    let mut guest = line.plug().await;
    guest.write_all(b"second boot\r\n\xff\0ok\r\n").await.unwrap();
    let found = line.find(0, "second (boot)").await.unwrap();
    assert_eq!((found.start, found.end), (29, 40));
    assert_eq!(found.groups, ["second boot", "boot"]);
    drop(guest);
    line.capture.detach(secs(5)).await;
    let raw = b"\x1b[1mfirst\x1b[0m boot\r\nhalf a lisecond boot\r\n\xff\0ok\r\n";
    assert_eq!(line.file("console.raw"), raw);
    assert_eq!(line.capture.read(0, 1000).unwrap(), raw);
    let log = String::from_utf8(line.file("console.log")).unwrap();
    let lines: Vec<&str> = log.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    assert_eq!(lines, ["first boot", "half a li", "second boot", "\u{fffd}ok"]);
    assert!(log.starts_with("[    0."), "{log}");
}

#[tokio::test]
async fn what_came_is_on_disk_soon_though_nobody_reads_and_no_line_ends() {
    let line = line();
    let mut guest = line.plug().await;
    guest.write_all(b"no line end").await.unwrap();
    line.until("console.raw", |raw| raw == b"no line end").await;
    guest.write_all(b"\nmore").await.unwrap();
    line.until("console.log", |log| log.ends_with(b"no line end\n")).await;
}

#[tokio::test]
async fn the_end_of_a_stream_is_noticed_and_its_last_line_kept() {
    let line = line();
    let mut guest = line.plug().await;
    assert!(line.capture.attached());
    guest.write_all(b"last words").await.unwrap();
    drop(guest);
    line.until("console.log", |log| log.ends_with(b"last words\n")).await;
    line.capture.detach(secs(5)).await;
    let sent = line.capture.send(b"x").await.unwrap_err();
    assert!(matches!(sent, Trouble::Rack(_)), "{sent:?}");
}

#[tokio::test]
async fn a_flood_is_drained_and_bounded_and_says_what_is_lost() {
    let limit = 1 << 20;
    let line = line_with(CaptureOptions { disk_limit: limit, memory: 256 << 10 }, &[]);
    let mut guest = line.plug().await;
    let flood = async {
        guest.write_all(b"the head\n").await.unwrap();
        for nth in 0..2_000_000_u32 {
            if nth % 4096 == 0 {
                tokio::task::yield_now().await;
            }
            guest.write_all(format!("line {nth}\n").as_bytes()).await.unwrap();
        }
        guest.write_all(b"the tail\n").await.unwrap();
        drop(guest);
    };
    flood.await;
    line.capture.detach(secs(30)).await;
    let lost = line.capture.lost().unwrap();
    assert!(lost.start >= limit / 2 && lost.end < line.capture.position(), "{lost:?}");
    assert_eq!(line.find(0, "the head").await.unwrap().start, 0);
    assert!(line.find(lost.end, "the tail").await.is_ok());
    let gone = line.find(lost.start, "the tail").await.unwrap_err();
    assert!(matches!(&gone, Trouble::Rack(why) if why.contains("not kept")), "{gone:?}");
    let size = |path: &Path| path.metadata().unwrap().len();
    let files = std::fs::read_dir(line.dir.path()).unwrap().map(|file| file.unwrap().path());
    let (raws, logs): (Vec<_>, Vec<_>) =
        files.partition(|path| path.to_string_lossy().contains("console.raw"));
    for kept in [raws, logs] {
        let sum: u64 = kept.iter().map(|path| size(path)).sum();
        assert!((limit / 2..limit + limit / 4).contains(&sum), "{sum}");
    }
}

#[tokio::test]
async fn an_endless_line_costs_no_more_than_others() {
    let line = line();
    let mut guest = line.plug().await;
    let chunk = [b'x'; 64 << 10];
    for _ in 0..512 {
        guest.write_all(&chunk).await.unwrap();
    }
    guest.write_all(b" at last\n").await.unwrap();
    let found = line.find(0, "at (last)").await.unwrap();
    assert_eq!(found.start, 512 * (64 << 10) + 1);
}

#[tokio::test]
async fn what_has_left_the_memory_is_still_found() {
    let line = line_with(CaptureOptions { memory: 1, ..Default::default() }, &[]);
    let mut guest = line.plug().await;
    guest.write_all(b"long \x1b[0mago\n").await.unwrap();
    guest.write_all(&vec![b'.'; 3 << 20]).await.unwrap();
    guest.write_all(b"\nnow\n").await.unwrap();
    line.find(0, "now").await.unwrap();
    let found = line.find(0, "long ago").await.unwrap();
    assert_eq!((found.start, found.end), (0, 12));
    assert_eq!(line.capture.read(5, 7).unwrap(), b"\x1b[0mago");
}

#[tokio::test]
async fn past_the_deadline_the_last_lines_are_told() {
    let line = line();
    let pattern = Regex::new("never").unwrap();
    let soon = || Deadline::within(Duration::from_millis(100));
    let silent = line.capture.expect(0, &pattern, soon()).await.unwrap_err();
    let Trouble::Unmet(why) = silent else { panic!("{silent:?}") };
    assert!(why.contains("/never/") && why.contains("silent"), "{why}");
    let mut guest = line.plug().await;
    guest.write_all(b"\x1b[31mone\x1b[0m\r\ntwo\r\nthree").await.unwrap();
    line.find(0, "three").await.unwrap();
    let unmet = line.capture.expect(0, &pattern, soon()).await.unwrap_err();
    assert!(unmet.to_string().contains("one / two / three"), "{unmet}");
}

#[tokio::test]
async fn marks_and_alarms_are_seen_wherever_they_stand_and_once() {
    let line = line();
    let mut guest = line.plug().await;
    let mut cursor = 0;
    guest.write_all(b"a \"Linux version\" elsewhere\r\n[    0.0").await.unwrap();
    for byte in b"00000] x\r\n\x1b[0mLinux version 6.1\r\ndemo-os log" {
        guest.write_all(&[*byte]).await.unwrap();
    }
    let kernel = line.sighting(&mut cursor).await;
    assert_eq!(kernel, (Seen::Stage(Stage::Kernel), "Linux version 6.1".into()));
    // A prompt has no line end: it counts once it rests.
    guest.write_all(b"in: ").await.unwrap();
    let ready = line.sighting(&mut cursor).await;
    assert_eq!(ready, (Seen::Stage(Stage::Ready), "demo-os login: ".into()));
    guest.write_all(b"[   99.123456] Kernel panic - not sync").await.unwrap();
    guest.write_all(b"ing: Fatal exception\r\n").await.unwrap();
    let (what, text) = line.sighting(&mut cursor).await;
    assert_eq!(what, Seen::Alarm(Alarm::Panic));
    assert_eq!(text, "demo-os login: [   99.123456] Kernel panic - not syncing: Fatal exception");
    assert_eq!(line.capture.sightings(), 3);
}

#[tokio::test]
async fn a_dropped_wait_for_a_sighting_loses_none() {
    let line = line();
    let mut guest = line.plug().await;
    let mut cursor = 0;
    let early = tokio::time::timeout(Duration::from_millis(1), line.capture.sighting(&mut cursor));
    assert!(early.await.is_err());
    guest.write_all(b"Linux version 1\nLinux version 2\n").await.unwrap();
    assert_eq!(line.sighting(&mut cursor).await.1, "Linux version 1");
    assert_eq!(line.sighting(&mut cursor).await.1, "Linux version 2");
}

#[tokio::test]
async fn secrets_are_nowhere_on_disk_even_split_over_reads() {
    let secret = "s3cret-token";
    let line = line_with(CaptureOptions::default(), &[secret]);
    let mut guest = line.plug().await;
    guest.write_all(b"Linux version s3cr").await.unwrap();
    line.until("console.raw", |raw| raw == b"Linux version ").await;
    assert_eq!(line.capture.tail(1), ["Linux version "]);
    guest.write_all(b"et-token!\nnext\n").await.unwrap();
    let found = line.find(0, "next").await.unwrap();
    assert_eq!(line.sighting(&mut 0).await.1, "Linux version ");
    assert!(line.capture.tail(5).concat().contains("********!"));
    drop(guest);
    line.capture.detach(secs(5)).await;
    let raw = line.file("console.raw");
    assert_eq!(raw, b"Linux version ************!\nnext\n");
    assert_eq!(&raw[found.start as usize..found.end as usize], b"next");
    let log = String::from_utf8(line.file("console.log")).unwrap();
    assert!(log.contains("********!") && !log.contains("s3cr"), "{log}");
}

#[tokio::test]
async fn what_is_sent_arrives() {
    let line = line();
    let mut guest = line.plug().await;
    line.capture.send(b"root\n").await.unwrap();
    let mut got = [0; 5];
    guest.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"root\n");
}
