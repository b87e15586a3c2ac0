//! The shell on a console that loses bytes, either way, at any place: nothing wrong is run,
//! nothing is run twice, no wrong answer is given, and what was lost is told as the rack's trouble.

use std::path::Path;

use hil_console::ConsoleShell;
use hil_core::deadline::Deadline;
use hil_core::parts::{Output, Shell};
use hil_core::trouble::{Outcome, Trouble};
use tokio::task::JoinSet;

use crate::tty::{Tty, login, secs, tty};
use crate::{SHELLS, soon};

async fn open(command: &[&str]) -> (Tty, ConsoleShell) {
    let tty = tty(command, 0).await;
    let mut shell = ConsoleShell::new(tty.capture.clone(), login(None, None)).unwrap();
    shell.open(soon()).await.unwrap();
    (tty, shell)
}

/// What a command that counts its runs came to, and how often it ran.
async fn counted(
    shell: &mut ConsoleShell,
    dir: &Path,
    deadline: Deadline,
) -> (Outcome<Output>, usize) {
    let file = dir.join("runs");
    let command = format!("echo run >>{} && echo 'hello; it is > fine'", file.display());
    let outcome = shell.exec(&command, deadline).await;
    let runs = std::fs::read_to_string(&file).unwrap_or_default();
    let strangers = std::fs::read_dir(dir).unwrap().flatten();
    let strangers: Vec<_> = strangers.map(|entry| entry.file_name()).collect();
    assert!(strangers.iter().all(|name| name == "runs"), "a damaged command ran: {strangers:?}");
    assert!(runs.lines().all(|line| line == "run"), "a damaged command ran: {runs}");
    (outcome, runs.lines().count())
}

fn is_loss(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Rack(why) if why.contains("the console lost or changed bytes"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_is_lost_on_its_way_from_the_board_is_told() {
    let mut tries = JoinSet::new();
    for (nth, command) in (1..=300).step_by(6).zip(SHELLS.iter().cycle()) {
        tries.spawn(async move {
            let (tty, mut shell) = open(command).await;
            let dir = tempfile::tempdir().unwrap();
            tty.from_board.lose(nth);
            let (outcome, runs) = counted(&mut shell, dir.path(), soon()).await;
            assert_eq!(runs, 1, "byte {nth}, {command:?}: {outcome:?}");
            match outcome {
                Ok(output) => assert_eq!(output.text(), "hello; it is > fine"),
                Err(trouble) => {
                    assert!(is_loss(&trouble), "byte {nth}, {command:?}: {trouble:?}");
                    // The line is well again, and so is the shell.
                    let again = shell.exec("echo again", soon()).await.unwrap();
                    assert_eq!(again.text(), "again");
                    return 1;
                }
            }
            0
        });
    }
    // The rest are bytes of an echo, which are no answer, or of what comes after it.
    let told: u32 = tries.join_all().await.into_iter().sum();
    assert!((8..50).contains(&told), "{told} of 50 were told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_is_lost_on_its_way_to_the_board_does_no_harm() {
    let mut tries = JoinSet::new();
    for (nth, command) in (1..=160).step_by(4).zip(SHELLS.iter().cycle()) {
        tries.spawn(async move {
            let (tty, mut shell) = open(command).await;
            let dir = tempfile::tempdir().unwrap();
            tty.to_board.lose(nth);
            let (outcome, runs) = counted(&mut shell, dir.path(), Deadline::within(secs(12))).await;
            match outcome {
                Ok(output) => {
                    assert_eq!((output.text().as_str(), runs), ("hello; it is > fine", 1));
                }
                Err(trouble) => {
                    assert!(is_loss(&trouble), "byte {nth}, {command:?}: {trouble:?}");
                    assert!(runs <= 1, "it ran {runs} times");
                }
            }
            let again = shell.exec("echo again", soon()).await.unwrap();
            assert_eq!(again.text(), "again");
        });
    }
    tries.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_keeps_losing_bytes_is_the_racks_trouble_and_never_the_products() {
    let mut tries = JoinSet::new();
    for (each, command) in [37, 61, 97, 211].into_iter().zip(SHELLS.iter().cycle()) {
        for to_board in [false, true] {
            tries.spawn(async move {
                let (tty, mut shell) = open(command).await;
                let wire = if to_board { &tty.to_board } else { &tty.from_board };
                wire.lose_each(each);
                let dir = tempfile::tempdir().unwrap();
                let loud = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done";
                let deadline = Deadline::within(secs(40));
                let lost = match shell.exec(loud, deadline).await {
                    Err(trouble) => trouble,
                    // Short questions may come through where long lines do not.
                    Ok(_) => {
                        let mut bytes = [b'x'; 20_000];
                        bytes.iter_mut().enumerate().for_each(|(nth, byte)| *byte = nth as u8);
                        let local = dir.path().join("local");
                        std::fs::write(&local, bytes).unwrap();
                        let remote = dir.path().join("remote");
                        let remote = remote.to_str().unwrap();
                        shell.upload(&local, remote, &|_, _| (), deadline).await.unwrap_err()
                    }
                };
                assert!(is_loss(&lost), "each {each}, to the board {to_board}: {lost:?}");
            });
        }
    }
    tries.join_all().await;
}
