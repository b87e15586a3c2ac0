//! The live view, drawn into memory.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hil_core::event::{Doing, Sink};
use hil_core::mask::Masker;
use hil_report::Live;
use hil_report::live::Mode;

use crate::hostile;
use crate::sample::{Run, whole};

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>, Arc<Condvar>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        self.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// What a terminal of endless height shows after all that: it obeys only what `Live` uses.
    fn shown(&self) -> Vec<String> {
        let mut lines: Vec<String> = vec![String::new()];
        let text = self.text();
        let mut rest = text.as_str();
        while let Some(ch) = rest.chars().next() {
            rest = &rest[ch.len_utf8()..];
            match ch {
                '\n' => lines.push(String::new()),
                '\r' => assert!(rest.starts_with("\x1b[J"), "{rest:?}"),
                '\x1b' => {
                    let end = rest.find(|ch: char| ch.is_ascii_alphabetic()).unwrap();
                    let (sequence, after) = rest.split_at(end + 1);
                    rest = after;
                    if let Some(up) = sequence.strip_prefix('[').and_then(|s| s.strip_suffix('A')) {
                        assert_eq!(lines.last().unwrap(), "", "moves up from a line's start only");
                        lines.truncate(lines.len() - up.parse::<usize>().unwrap());
                        *lines.last_mut().unwrap() = String::new();
                    }
                }
                ch => lines.last_mut().unwrap().push(ch),
            }
        }
        lines
    }
}

const PLAIN: Mode = Mode::Plain { colour: false };
const REDRAWN: Mode = Mode::Redrawn { colour: false };

fn live(mode: Mode, plain_every: Duration) -> (Live, Screen) {
    let screen = Screen::default();
    let masker = Masker::new(["s3cret-token"]);
    let live = Live::to(Box::new(screen.clone()), mode, masker, || (80, 24), plain_every);
    (live, screen)
}

fn play(live: &Live, board: &str, run: &Run) {
    run.events.iter().for_each(|event| live.event(board, event));
}

#[test]
fn the_mode_suits_the_output() {
    let colour = |mode| matches!(mode, Mode::Redrawn { colour: true });
    assert!(colour(Mode::of(true, Some("xterm"), None)));
    assert!(colour(Mode::of(true, Some("xterm"), Some(""))));
    assert_eq!(Mode::of(true, Some("xterm"), Some("1")), REDRAWN);
    assert_eq!(Mode::of(true, Some("dumb"), None), PLAIN);
    assert_eq!(Mode::of(true, None, None), PLAIN);
    assert_eq!(Mode::of(false, Some("xterm"), None), PLAIN);
}

#[test]
fn plain_is_a_line_a_stage_and_a_case_each_once() {
    let (live, screen) = live(PLAIN, Duration::MAX);
    play(&live, "qemu-arm", &whole("qemu-arm"));
    drop(live);
    let text = screen.text();
    assert!(!text.contains('\x1b'), "{text:?}");
    let start = "qemu-arm  note: KVM is there but broken: falling back to TCG\n\
        qemu-arm  booting demo-os mini (QEMU 10.0.2 (tcg), medium virtio-wb)\n\
        qemu-arm  reached firmware after 0.4s\n";
    assert!(text.starts_with(start), "{text}");
    let once = |line: &str| assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
    once("qemu-arm  1/7  boot/ready  pass  1.5s\n");
    once("qemu-arm  2/7  boot/clock  FAIL  1.5s  the clock is 1970-01-01 / expected 2026\n");
    once("qemu-arm  3/7  boot/taint  xfail  1.5s  tainted: 512\n");
    once("qemu-arm  5/7  containers/run  BROKEN  1.5s  QEMU died: signal 9\n");
    once("qemu-arm  kernel oops: Oops: 0002 [#1]\n");
}

#[test]
fn plain_progress_does_not_flood_a_log() {
    let doing = |n| Doing { board: "b".into(), what: "fetching".into(), of: Some((n, 1000)) };
    let told = |every| {
        let (live, screen) = live(PLAIN, every);
        (0..1000).for_each(|n| live.doing(&doing(n)));
        drop(live);
        screen.text()
    };
    assert_eq!(told(Duration::MAX), "b  fetching 0% 0/1000\n");
    assert_eq!(told(Duration::ZERO).lines().count(), 1000);
}

#[test]
fn a_terminal_has_one_line_a_board_below_what_is_done_and_is_left_clean() {
    let (live, screen) = live(REDRAWN, Duration::MAX);
    let run = whole("qemu-arm");
    let begun = run.events.iter().position(|event| {
        format!("{:?}", event.what)
            .starts_with("CaseStarted { case: CaseId { suite: \"containers\"")
    });
    let (first, rest) = run.events.split_at(begun.unwrap() + 1);
    first.iter().for_each(|event| live.event("qemu-arm", event));
    let of = Some((130 << 20, 260 << 20));
    // The quickest redrawing is bounded, so what is drawn for certain comes with an event.
    live.doing(&Doing { board: "qemu-x86_64".into(), what: "building image".into(), of });
    live.print("a word from hil");
    let shown = screen.shown();
    let bottom: Vec<String> = shown[shown.len() - 3..].to_vec();
    assert!(bottom[0].starts_with("qemu-arm     ") && bottom[0].contains("5/7  containers/run"));
    let meter = "s  building image [######......] 50% 130/260 MiB";
    assert!(bottom[1].ends_with(meter), "{bottom:?}");
    assert_eq!(bottom[2], "");
    let above = &shown[..shown.len() - 3];
    assert_eq!(above.last().unwrap(), "a word from hil");
    assert_eq!(above.iter().filter(|line| line.contains("boot/ready  pass")).count(), 1);

    rest.iter().for_each(|event| live.event("qemu-arm", event));
    drop(live);
    let shown = screen.shown();
    assert_eq!(shown.last().unwrap(), "");
    assert!(!shown.iter().any(|line| line.contains("building")), "{shown:#?}");
    // Every line that switches wrapping off switches it on again.
    let text = screen.text();
    assert_eq!(text.matches("\x1b[?7l").count(), text.matches("\x1b[?7h").count());
}

#[test]
fn the_clock_in_the_line_goes_on_while_nothing_happens() {
    let (live, screen) = live(REDRAWN, Duration::MAX);
    live.event("b", &whole("b").events[0]);
    let drawn = screen.text().len();
    let patience = Duration::from_secs(60);
    let still = |text: &mut Vec<u8>| text.len() <= drawn;
    let held = screen.0.lock().unwrap();
    let (held, waited) = screen.1.wait_timeout_while(held, patience, still).unwrap();
    assert!(!waited.timed_out());
    drop((held, live));
}

#[test]
fn more_boards_than_rows_are_counted() {
    let screen = Screen::default();
    let out = Box::new(screen.clone());
    let live = Live::to(out, REDRAWN, Masker::default(), || (80, 5), Duration::MAX);
    live.doing(&Doing { board: "board-0".into(), what: "x".into(), of: None });
    assert!(screen.text().contains("board-0"), "the first progress shows at once");
    for n in 0..9 {
        live.doing(&Doing { board: format!("board-{n}"), what: "x".into(), of: None });
    }
    live.print("");
    let shown = screen.shown();
    assert_eq!(shown[shown.len() - 2], "… and 7 more boards");
}

#[test]
fn a_guest_can_neither_steer_the_terminal_nor_give_commands() {
    for seed in 0..300 {
        let run = hostile::run(seed);
        let (live, screen) = live(PLAIN, Duration::ZERO);
        play(&live, "b", &run);
        let what = hostile::Random(seed).string();
        live.doing(&Doing { board: "b".into(), what, of: None });
        drop(live);
        for line in screen.text().lines() {
            assert!(line.starts_with("b  "), "seed {seed}: {line:?}");
            assert!(!line.contains("##["), "seed {seed}: {line:?}");
            assert!(!line.chars().any(char::is_control), "seed {seed}: {line:?}");
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    for mode in [PLAIN, REDRAWN] {
        let (live, screen) = live(mode, Duration::ZERO);
        play(&live, "b", &whole("b").note("the token is s3cret-token"));
        let what = "login with s3cret-token".to_string();
        live.doing(&Doing { board: "b".into(), what, of: None });
        live.print("");
        drop(live);
        assert!(!screen.text().contains("s3cret"), "{mode:?}");
        assert!(screen.text().contains("********"), "{mode:?}");
    }
}
