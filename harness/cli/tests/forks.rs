//! Cases that start from forks of a booted board: pristine each, no twin of the one before, and
//! without any boot when an earlier run has saved the board.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{demo, events, hil, root, run};

/// Fails on a board on which it ran before; tells a random number and the time.
const TWIN: &str = "test ! -e /mnt/data/twin || exit 1\n\
                    echo 1 >/mnt/data/twin; sync\n\
                    cat /proc/sys/kernel/random/uuid; date +%s\n";

/// A suite of two cases that do the same, each on a fork.
fn twins(dir: &Path) {
    let folder = dir.join("suites/twins");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("twin.sh"), TWIN).unwrap();
    let case = |name: &str| {
        format!("[[case]]\nname = \"{name}\"\nrun = \"sh twin.sh\"\nisolation = \"fork\"\n")
    };
    let text = format!("push = [\"twin.sh\"]\n{}{}", case("one"), case("two"));
    fs::write(folder.join("suite.toml"), text).unwrap();
}

/// How often the board was switched on, saved and forked; and the random number of each case.
struct Told {
    counts: [usize; 3],
    uuids: [String; 2],
}

fn fork_twins(dir: &Path, out: &str, words: &[&str]) -> Told {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let out = dir.join(out);
    let begun = now();
    let ended = run(hil()
        .args(["run", "--board", "qemu-aarch64", "--suite", "twins", "--require", "*"])
        .args(words)
        .arg("--image")
        .arg(demo("aarch64", "mini"))
        .arg("--out")
        .arg(&out)
        .current_dir(dir));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    // A fork that is a board of its own only in a roundabout way, or not at all, has a note.
    let noted = ["of its own", "of their own"].iter().any(|words| ended.said.contains(words));
    assert!(!noted, "{}", ended.said);
    let told = ["one", "two"].map(|case| {
        let file = out.join(format!("qemu-aarch64/files/twins/{case}/output.txt"));
        let text = fs::read_to_string(file).unwrap();
        let (uuid, clock) = text.trim().split_once('\n').unwrap();
        // The saved board's own clock would be behind, by days where an earlier run saved it.
        let clock: u64 = clock.parse().unwrap();
        assert!((begun..=now()).contains(&clock), "{clock} is not between {begun} and {}", now());
        uuid.to_string()
    });
    let events = events(&out, "qemu-aarch64");
    let count = |what: &str| {
        events.iter().filter(|e| e["what"] == what || e["what"].get(what).is_some()).count()
    };
    Told { counts: [count("power-on"), count("saved"), count("forked")], uuids: told }
}

#[test]
fn twins_are_boards_of_their_own_and_an_earlier_run_spares_the_boot() {
    let dir = tempfile::tempdir().unwrap();
    twins(dir.path());
    let first = fork_twins(dir.path(), "first", &["--fresh"]);
    assert_eq!(first.counts, [1, 1, 2], "a boot, a save, and a fork for each case");
    assert_ne!(first.uuids[0], first.uuids[1], "two forks draw the same random numbers");
    let second = fork_twins(dir.path(), "second", &[]);
    assert_eq!(second.counts, [0, 0, 2], "what the first run saved is there");
    assert_ne!(second.uuids[0], second.uuids[1]);
    let rebooted = fork_twins(dir.path(), "rebooted", &["--isolation", "reboot"]);
    assert_eq!(rebooted.counts, [2, 0, 0]);
}

/// When a lane's only case began and ended, how often it saved a board, and its random number.
fn lane(out: &Path, nth: usize) -> (f64, f64, usize, String) {
    let dir = out.join(format!("qemu-aarch64/runs/{nth}"));
    let events = events(&out.join("qemu-aarch64/runs"), &nth.to_string());
    let at = |what: &str| {
        let mut of_case = events.iter().filter(|event| event["what"].get(what).is_some());
        let found = of_case.next().unwrap_or_else(|| panic!("no {what} in lane {nth}"));
        assert!(of_case.next().is_none(), "more than one {what} in lane {nth}");
        (found["t"].as_f64().unwrap(), found["what"][what]["case"]["name"].to_string())
    };
    let ((begun, case), (ended, _)) = (at("case-started"), at("case-finished"));
    at("forked");
    let saved = events.iter().filter(|event| event["what"].get("saved").is_some()).count();
    let told = dir.join(format!("files/twins/{}/output.txt", case.trim_matches('"')));
    (begun, ended, saved, fs::read_to_string(told).unwrap())
}

#[test]
fn lanes_fork_one_board_that_one_of_them_has_saved_and_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    twins(dir.path());
    let script = dir.path().join("suites/twins/twin.sh");
    fs::write(script, "cat /proc/sys/kernel/random/uuid; sleep 5\n").unwrap();
    let out = dir.path().join("out");
    let ended = run(hil()
        .args(["run", "--board", "qemu-aarch64", "--suite", "twins", "--require", "*"])
        .args(["--fresh", "--lanes", "2", "--jobs", "2", "--image"])
        .arg(demo("aarch64", "mini"))
        .arg("--out")
        .arg(&out)
        .current_dir(dir.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("2 cases: 2 passed"), "{}", ended.said);
    let (one, two) = (lane(&out, 1), lane(&out, 2));
    assert_eq!(one.2 + two.2, 1, "one board was saved, and served both");
    assert_ne!(one.3, two.3, "two forks draw the same random numbers");
    assert!(one.0 < two.1 && two.0 < one.1, "one waited for the other: {one:?} {two:?}");
}

#[test]
fn a_machine_whose_ram_is_no_file_is_forked_from_its_saved_state() {
    let dir = tempfile::tempdir().unwrap();
    twins(dir.path());
    for folder in ["boards", "qemu-configs"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let board = "boards/qemu-aarch64.toml";
    fs::copy(root().join(board), dir.path().join(board)).unwrap();
    let machine = "qemu-configs/virt-aarch64.toml";
    let text = fs::read_to_string(root().join(machine)).unwrap();
    let mapped = text.replace("\"template\"", "\"mapped-ram\"");
    assert_ne!(mapped, text);
    fs::write(dir.path().join(machine), mapped).unwrap();
    let told = fork_twins(dir.path(), "mapped", &["--fresh", "--boards", "boards"]);
    assert_eq!(told.counts, [1, 1, 2]);
    assert_ne!(told.uuids[0], told.uuids[1]);
}
