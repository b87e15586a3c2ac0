//! Whole scripts' outputs: what becomes of their tests, and of themselves.

use hil_tap::{Format, Own, Point, Reader};

/// `name: outcome`, and what the script itself comes to.
fn read(format: Format, text: &str, status: i32) -> (Vec<String>, Own) {
    let (points, own) = points(format, text.as_bytes(), Some(status), 7);
    (points.iter().map(shown).collect(), own)
}

fn points(format: Format, text: &[u8], status: Option<i32>, size: usize) -> (Vec<Point>, Own) {
    let mut reader = Reader::new(format);
    let mut points: Vec<Point> = text.chunks(size).flat_map(|piece| reader.feed(piece)).collect();
    let ending = reader.end(status);
    points.extend(ending.points);
    (points, ending.own)
}

fn shown(point: &Point) -> String {
    let reason =
        if point.reason.is_empty() { String::new() } else { format!(" ({})", point.reason) };
    format!("{}: {:?}{reason}", point.name(), point.outcome)
}

fn fault(format: Format, text: &str, status: i32) -> String {
    match read(format, text, status).1 {
        Own::Fail(why) => why,
        other => panic!("{text}\nis {other:?}"),
    }
}

#[test]
fn tap_13_with_every_kind_of_result() {
    let text = "TAP version 13\n1..5\nok 1 - a\nnot ok 2 - b\n  ---\n  message: 'no'\n  ...\n\
                ok 3 - c # SKIP no net\nnot ok 4 - d # TODO later\nok 5 - e # todo done\n";
    let (found, own) = read(Format::Tap, text, 1);
    let expected = [
        "a: Pass",
        "b: Fail",
        "c: Skip (no net)",
        "d: Todo { passed: false } (later)",
        "e: Todo { passed: true } (done)",
    ];
    assert_eq!(found, expected);
    // The status says nothing that no test said.
    assert_eq!(own, Own::Pass);
    let (points, _) = points(Format::Tap, text.as_bytes(), Some(1), 1000);
    assert_eq!(points[1].told, "message: 'no'\n");
}

#[test]
fn tap_14_subtests_have_the_name_of_their_test_point() {
    let text = "TAP version 14\n# Subtest: net\n    ok 1 - up\n    # Subtest: dns\n        1..1\n        \
                not ok 1 - resolves\n    not ok 2 - dns\n    1..2\nnot ok 1 - net\nok 2 - disk\n1..2\n";
    let (found, own) = read(Format::Tap, text, 1);
    // The points that only sum up are no tests of their own.
    assert_eq!(found, ["net/up: Pass", "net/dns/resolves: Fail", "disk: Pass"]);
    assert_eq!(own, Own::Pass);
}

#[test]
fn a_point_that_fails_though_no_subtest_did_is_a_failure_of_its_own() {
    let text = "1..1\n    1..1\n    ok 1 - inner\nnot ok 1 - outer\n";
    assert_eq!(read(Format::Tap, text, 1).0, ["outer/inner: Pass", "outer: Fail"]);
    let todo = "1..1\n    1..1\n    not ok 1 - inner\nnot ok 1 - outer # TODO soon\n";
    assert_eq!(read(Format::Tap, todo, 0).0, ["outer/inner: Todo { passed: false } (soon)"]);
}

#[test]
fn the_kernels_tap_nests_by_two_and_explains_before_the_result() {
    let text = "[    1.000000] KTAP version 1\n[    1.1] 1..1\n[    1.2]   KTAP version 1\n\
                [    1.2]   # Subtest: example\n[    1.2]   1..2\n[    1.3]   ok 1 simple\n\
                [    1.4]   # deep: EXPECTATION FAILED\n[    1.5]   not ok 2 deep\n\
                [    1.6] not ok 1 example\n";
    let (found, own) = read(Format::Ktap, text, 1);
    assert_eq!(
        (found, own),
        (vec!["example/simple: Pass".into(), "example/deep: Fail".into()], Own::Pass)
    );
    let (points, _) = points(Format::Ktap, text.as_bytes(), Some(1), 5);
    assert_eq!(points[1].told, "deep: EXPECTATION FAILED\n");
    assert_eq!(read(Format::Ktap, "TAP version 13\nok 1 a\n", 0).1, Own::Pass);
    assert!(matches!(read(Format::Ktap, "", 4).1, Own::Skip(_)));
}

#[test]
fn what_was_promised_and_did_not_come_is_told() {
    for (text, told) in [
        ("1..10\nok 1\nok 2\nok 4\n", "of 10 planned tests 3, 5 to 10 never came"),
        ("1..1\nok 1\nok 2\n", "test 2 came, though 1 were planned"),
        ("ok 1\nok 2\n", "no plan"),
        ("ok 1\n1..1\nok 2\n", "test 2 came after the end of the plan"),
        ("1..2\nok 1\nok 1\n", "test 1 came twice; of 2 planned tests 2 never came"),
        ("1..1\n1..1\nok 1\n", "a second plan"),
        ("1..3\nok 1\nBail out! disk on fire\nok 2\nok 3\n", "it bailed out: disk on fire"),
        ("1..1\n    1..3\n    ok 1 - a\nok 1 - outer\n", "of 3 planned tests 2 to 3 never came"),
        ("1..2\n    1..1\n    ok 1 - a\n", "the subtest subtest has no result of its own"),
        ("1..999999999999\nok 1\n", "planned tests 2 to 999999999999 never came"),
        ("1..2\nok 1\n  ---\n  a: b\nok 2\n", "a YAML block has no end"),
        ("hello\n", "it printed no TAP at all"),
        ("", "it printed no TAP at all"),
    ] {
        let why = fault(Format::Tap, text, 0);
        assert!(why.contains(told), "{text}\n{why}");
    }
}

#[test]
fn a_script_that_dies_is_no_pass_though_all_its_tests_were() {
    assert!(fault(Format::Tap, "1..1\nok 1\n", 139).contains("killed by signal 11"));
    assert!(fault(Format::Tap, "1..1\nok 1\n", 1).contains("though no test failed"));
    // What had been said before the end is not lost.
    let (found, _) = read(Format::Tap, "1..3\n    ok 1 - a\n    not ok 2 - b", 137);
    assert_eq!(found, ["subtest/a: Pass", "subtest/b: Fail"]);
}

#[test]
fn everything_can_be_skipped() {
    assert_eq!(read(Format::Tap, "1..0 # SKIP no kernel\n", 0).1, Own::Skip("no kernel".into()));
    assert!(matches!(read(Format::Tap, "", 77).1, Own::Skip(_)));
    assert!(matches!(read(Format::Exit, "whatever", 77).1, Own::Skip(_)));
    assert!(fault(Format::Exit, "", 4).contains("status 4"));
    assert!(fault(Format::Exit, "", 127).contains("a program is not there"));
    assert_eq!(read(Format::Exit, "not ok 1\n", 0), (vec![], Own::Pass));
}

#[test]
fn lavas_signals_are_found_wherever_they_stand() {
    let text = "<LAVA_SIGNAL_STARTTC boot>\nnoise <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=boot RESULT=pass \
                MEASUREMENT=12.5 UNITS=seconds>\n<LAVA_SIGNAL_TESTSET START net>\n\
                <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=ping RESULT=fail>\n<LAVA_SIGNAL_TESTSET STOP>\n\
                <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=odd RESULT=unknown>\n";
    let (found, own) = read(Format::Lava, text, 0);
    assert_eq!(found, ["boot: Pass", "net/ping: Fail", "odd: Fail"]);
    assert_eq!(own, Own::Pass);
    let (points, _) = points(Format::Lava, text.as_bytes(), Some(0), 3);
    assert_eq!(points[0].measured, Some((12.5, "seconds".into())));
    let begun = "<LAVA_SIGNAL_STARTTC a>\n<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=b RESULT=pass>\n";
    assert!(fault(Format::Lava, begun, 0).contains("a was begun and has no result"));
    assert!(fault(Format::Lava, "nothing\n", 0).contains("no LAVA signal at all"));
}

#[test]
fn a_result_is_known_while_the_script_still_runs() {
    let mut reader = Reader::new(Format::Tap);
    assert!(reader.feed(b"1..3\nok 1 - first\n").is_empty(), "it may still be explained");
    let known = reader.feed(b"# a word on it\nok 2 - second\n");
    assert_eq!((known.len(), known[0].told.as_str()), (1, "a word on it\n"));
    assert_eq!(reader.end(None).points.len(), 1);
}

/// A generator of hostile TAP (splitmix64): fragments in any order, cut anywhere.
fn hostile(seed: u64) -> Vec<u8> {
    const BITS: &[&str] = &[
        "ok 1\n",
        "not ok 2 - x # TODO y\n",
        "    ",
        "  ",
        "1..3\n",
        "1..0 # skip\n",
        "  ---\n",
        "  ...\n",
        "# Subtest: s\n",
        "TAP version 14\n",
        "KTAP version 1\n",
        "Bail out!\n",
        "\0\u{7f}",
        "ok 18446744073709551615\n",
        "1..18446744073709551615\n",
        "\\# \\\\",
        "ok # ",
        "\r\n",
        "\t",
        "                                ",
        "\n",
        "[ 1.0] ",
        "not ok",
        "é€\u{10ffff}",
        "- ",
        "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=",
        "pass>",
        "<LAVA_SIGNAL_STARTTC >\n",
    ];
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) as usize
    };
    let mut text = Vec::new();
    for _ in 0..next() % 60 {
        match next() % 12 {
            0 => text.extend((0..next() % 9).map(|_| next() as u8)),
            _ => text.extend_from_slice(BITS[next() % BITS.len()].as_bytes()),
        }
    }
    text
}

#[test]
fn hostile_output_neither_panics_nor_depends_on_how_it_is_cut() {
    for seed in 0..4000 {
        let text = hostile(seed);
        for format in [Format::Exit, Format::Tap, Format::Ktap, Format::Lava] {
            let whole = points(format, &text, Some(0), text.len().max(1));
            assert_eq!(whole, points(format, &text, Some(0), 1), "seed {seed} {format:?}");
            assert!(whole.0.iter().all(|point| !point.path.is_empty()));
        }
    }
}

#[test]
fn a_flood_is_bounded() {
    let mut reader = Reader::new(Format::Tap);
    let (mut count, mut bytes) = (0, 0);
    for number in 1..=200_000 {
        let line = format!("not ok {number} - {}\n# {}\n", "n".repeat(500), "d".repeat(500));
        for point in reader.feed(line.as_bytes()) {
            count += 1;
            bytes += point.told.len() + point.name().len();
        }
    }
    let ending = reader.end(Some(1));
    assert!(count <= 10_000 && bytes < 8 << 20, "{count} tests, {bytes} bytes");
    let Own::Fail(why) = ending.own else { panic!("{:?}", ending.own) };
    assert!(why.contains("more than 10000 results"), "{why}");
    let deep: String = (0..5000).map(|depth| format!("{}ok 1\n", " ".repeat(depth))).collect();
    assert!(matches!(read(Format::Tap, &deep, 0).1, Own::Fail(_)));
    let text = std::iter::repeat_n("1..1\n", 50_000).collect::<String>();
    assert!(fault(Format::Tap, &text, 0).len() < 1000);
    points(Format::Tap, &vec![b'x'; 4 << 20], None, 64 << 10).0.pop().ok_or(()).unwrap_err();
}
