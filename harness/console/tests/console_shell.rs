//! The shell on a console, against real shells on real terminals.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod loss;
mod tty;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use hil_console::ConsoleShell;
use hil_core::deadline::Deadline;
use hil_core::parts::{Console, Shell};
use hil_core::trouble::Trouble;
use tty::{Tty, login, secs, tty};

const SHELLS: &[&[&str]] = &[&["bash", "--norc", "-i"], &["busybox", "ash", "-i"], &["dash", "-i"]];

fn soon() -> Deadline {
    Deadline::within(secs(60))
}

fn shell(tty: &Tty) -> ConsoleShell {
    ConsoleShell::new(tty.capture.clone(), login(None, None)).unwrap()
}

/// What makes quoting, encoding and line limits fail.
async fn all_sorts(shell: &mut ConsoleShell) {
    let quoted =
        shell.exec("printf '%s|' \"a  b\" 'c\"d' $((6*7)) \\$x '!~'", soon()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&quoted.stdout), "a  b|c\"d|42|$x|!~|");

    let both = shell.exec("echo out; echo err >&2; exit 3", soon()).await.unwrap();
    assert_eq!(both.status, 3);
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));

    let killed = shell.exec("kill -9 $$", soon()).await.unwrap();
    assert_eq!(killed.status, 137);

    let lines =
        shell.exec("cat <<'X'\nfirst 'line\n\tsecond $HOME\nX\nfalse", soon()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&lines.stdout), "first 'line\n\tsecond $HOME\n");
    assert_eq!(lines.status, 1);

    let bytes: Vec<u8> = (0..=255).collect();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let binary = shell.exec(&format!("printf '{octal}{octal}'"), soon()).await.unwrap();
    assert_eq!(binary.stdout, [bytes.clone(), bytes].concat());

    // Longer than a terminal's line; its echo must not come back either.
    let long = "x".repeat(6000);
    let told = shell.exec(&format!("echo {long}"), soon()).await.unwrap();
    assert_eq!(told.text(), long);

    let stdin = shell.exec("cat; echo done", soon()).await.unwrap();
    assert_eq!(stdin.text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_command_comes_back_exactly() {
    for command in SHELLS {
        let tty = tty(command, 0).await;
        let mut shell = shell(&tty);
        shell.open(soon()).await.unwrap();
        all_sorts(&mut shell).await;
    }
}

/// A program that stands by for its line, and ends with 7 once it has it; `got` is all it got.
fn waiter(dir: &Path) -> String {
    let file = dir.join("waiter");
    let got = dir.join("got");
    let script = format!(
        "#!/bin/sh\necho '~w~'\nwhile read -r line; do\necho \"$line\" >>{}\n\
         [ \"$line\" = '~rcue~' ] && exit 7\ndone\n",
        got.display()
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_stands_by_gets_its_line_even_from_a_session_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let waiter = waiter(dir.path());
    for command in SHELLS {
        let tty = tty(command, 0).await;
        let mut first = shell(&tty);
        assert_eq!(first.cue("cue", soon()).await.unwrap(), None, "nothing stands by");
        first.stand_by(&waiter, soon()).await.unwrap();
        let mut second = shell(&tty);
        second.recall(first.keep().as_deref());
        assert_eq!(second.cue("cue", soon()).await.unwrap(), Some(7));
        assert_eq!(second.cue("cue", soon()).await.unwrap(), None, "it has ended");
        assert_eq!(second.exec("echo still here", soon()).await.unwrap().text(), "still here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_stands_by_in_vain_is_ended_before_a_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let waiter = waiter(dir.path());
    for command in SHELLS {
        let tty = tty(command, 0).await;
        let mut shell = shell(&tty);
        shell.stand_by(&waiter, soon()).await.unwrap();
        assert_eq!(shell.exec("echo still here", soon()).await.unwrap().text(), "still here");
        assert!(!dir.path().join("got").exists(), "it took a line that was not its own");
        assert_eq!(shell.cue("cue", soon()).await.unwrap(), None);
        let never = shell.stand_by("/bin/true", soon()).await.unwrap_err();
        assert!(never.to_string().contains("ended at once, with 0"), "{never}");
        assert_eq!(shell.exec("echo still here", soon()).await.unwrap().text(), "still here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_the_boards_and_not_the_shells_own() {
    for command in SHELLS {
        let tty = tty(command, 0).await;
        let mut shell = shell(&tty);
        shell.exec("echo 'eth0: link is down' >/dev/tty", soon()).await.unwrap();
        // More than the tail looks at first; nothing of it is for people.
        shell.exec("seq 1 9000; seq 1 9 >&2; false", soon()).await.unwrap();
        let last = tty.capture.tail(40);
        assert!(last.iter().any(|line| line == "eth0: link is down"), "{last:#?}");
        let own = |line: &String| line.contains('~') || line.contains("_h") || line.contains("$_");
        assert!(!last.iter().any(own), "{last:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kernel_noise_in_mid_line_costs_nothing() {
    for command in SHELLS {
        let tty = tty(command, 300).await;
        let mut shell = shell(&tty);
        shell.open(soon()).await.unwrap();
        all_sorts(&mut shell).await;
        let seq = shell.exec("seq 1 2000", soon()).await.unwrap();
        let want: String = (1..=2000).map(|n| format!("{n}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&seq.stdout), want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_its_deadline_is_ended_and_the_shell_goes_on() {
    for command in SHELLS {
        let tty = tty(command, 0).await;
        let mut shell = shell(&tty);
        shell.open(soon()).await.unwrap();
        let stubborn = "trap '' INT QUIT; while :; do sleep 1; done";
        for command in ["sleep 600", stubborn] {
            let late = shell.exec(command, Deadline::within(secs(1))).await.unwrap_err();
            assert!(matches!(&late, Trouble::Unmet(why) if why.contains("did not end")), "{late}");
            let next = shell.exec("echo still here", soon()).await.unwrap();
            assert_eq!(next.text(), "still here");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_command_does_not_disturb_the_next() {
    let tty = tty(SHELLS[1], 0).await;
    let mut shell = shell(&tty);
    shell.open(soon()).await.unwrap();
    {
        let exec = shell.exec("echo begun >/dev/tty; sleep 600", soon());
        let begun = regex::bytes::Regex::new("(?m)^begun").unwrap();
        tokio::select! {
            _ = exec => panic!("it cannot end"),
            found = tty.capture.expect(0, &begun, soon()) => drop(found.unwrap()),
        }
    }
    assert_eq!(shell.exec("echo next", soon()).await.unwrap().text(), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_typed_line_and_an_open_quote_are_got_rid_of() {
    let prompt = regex::bytes::Regex::new("target# $").unwrap();
    for half in ["rm -rf /nonex", "echo 'open\n"] {
        let tty = tty(SHELLS[0], 0).await;
        tty.capture.expect(0, &prompt, soon()).await.unwrap();
        tty.capture.send(half.as_bytes()).await.unwrap();
        let mut shell = shell(&tty);
        assert_eq!(shell.exec("echo in", soon()).await.unwrap().text(), "in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_through_noise() {
    for (command, noise) in [(SHELLS[1], 400), (SHELLS[0], 0)] {
        let tty = tty(command, noise).await;
        let mut shell = shell(&tty);
        let dir = tempfile::tempdir().unwrap();
        let (local, back) = (dir.path().join("a"), dir.path().join("b"));
        let remote = dir.path().join("it's remote");
        let remote = remote.to_str().unwrap();
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
        std::fs::write(&local, &bytes).unwrap();
        let steps = Mutex::new(Vec::new());
        let progress = |done, of| steps.lock().unwrap().push((done, of));
        shell.upload(&local, remote, &progress, soon()).await.unwrap();
        assert_eq!(std::fs::read(remote).unwrap(), bytes);
        assert_eq!(steps.lock().unwrap().last(), Some(&(20_000, 20_000)));
        shell.download(remote, &back, &progress, soon()).await.unwrap();
        assert_eq!(std::fs::read(&back).unwrap(), bytes);
        let missing = shell.download("/no/such", &back, &progress, soon()).await.unwrap_err();
        assert!(matches!(&missing, Trouble::Product(why) if why.contains("/no/such")), "{missing}");
        let nowhere = shell.upload(&local, "/no/such/dir", &progress, soon()).await.unwrap_err();
        assert!(matches!(&nowhere, Trouble::Product(_)), "{nowhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_looked_for_is_not_an_alarm() {
    let tty = tty(SHELLS[0], 0).await;
    let mut shell = shell(&tty);
    let grep = "echo 'Kernel panic - not syncing: x' | grep -c 'Kernel panic - not syncing'";
    assert_eq!(shell.exec(grep, soon()).await.unwrap().text(), "1");
    assert_eq!(tty.capture.sightings(), 0);
}

const GETTY: &str = r#"
printf '\r\ndemo-os login: '
while read -r user; do
  if [ "$user" = root ]; then
    stty -echo; printf 'Password: '; read -r word; stty echo; echo
    [ "$word" = s3cret ] && { echo 'Welcome # to it'; exec sh -i; }
    echo 'Login incorrect'
  fi
  printf '\r\ndemo-os login: '
done"#;

#[tokio::test(flavor = "multi_thread")]
async fn logs_in_by_prompts_that_come_late() {
    let late = format!("echo booting; sleep 1; echo more; sleep 1; {GETTY}");
    for script in [GETTY, &late] {
        let tty = tty(&["dash", "-c", script], 0).await;
        let login = login(Some("root"), Some("s3cret"));
        let mut shell = ConsoleShell::new(tty.capture.clone(), login).unwrap();
        shell.open(soon()).await.unwrap();
        assert_eq!(shell.exec("echo in", soon()).await.unwrap().text(), "in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_the_products_and_says_so() {
    let tty = tty(&["dash", "-c", GETTY], 0).await;
    let login = login(Some("root"), Some("wrong"));
    let mut shell = ConsoleShell::new(tty.capture.clone(), login).unwrap();
    let refused = shell.open(soon()).await.unwrap_err();
    assert!(matches!(&refused, Trouble::Product(why) if why.contains("refused")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_only_echoes_is_no_shell() {
    let tty = tty(&["dash", "-c", "printf 'fake# '; exec cat"], 0).await;
    let mut shell = shell(&tty);
    let none = shell.open(Deadline::within(secs(6))).await.unwrap_err();
    assert!(matches!(&none, Trouble::Unmet(why) if why.contains("no shell answered")), "{none}");
    assert!(none.to_string().contains("its last lines: fake# "), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_told_and_opened_again() {
    let script = format!("sh -i; {GETTY}");
    let tty = tty(&["dash", "-c", &script], 0).await;
    let login = login(Some("root"), Some("s3cret"));
    let mut shell = ConsoleShell::new(tty.capture.clone(), login).unwrap();
    shell.open(soon()).await.unwrap();
    tty.capture.send(b"exit\n").await.unwrap();
    let gone = shell.exec("echo lost", soon()).await;
    assert!(matches!(&gone, Err(Trouble::Transport(_))), "{gone:?}");
    assert_eq!(shell.exec("echo back", soon()).await.unwrap().text(), "back");
}
