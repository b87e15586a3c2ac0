//! Networks: a published port answers at the board's address, containers of one network talk.

use hil_core::prelude::*;

use crate::bench::{Bench, PAUSE};

/// On which a case's container is reached from outside.
const PORT: u16 = 18_080;

/// Serves one word over HTTP, without a file system that it could not write.
fn serving(word: &str) -> String {
    format!("mkdir -p /tmp/www; echo {word} >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www")
}

pub(super) async fn published_port(rig: &mut Rig, bench: &Bench) -> Outcome {
    let word = bench.name(rig, "word");
    let publish = format!("{PORT}:80");
    bench.start(rig, "web", &["--publish", &publish], &["sh", "-c", &serving(&word)]).await?;
    let deadline = rig.within(secs(10));
    loop {
        let why = match rig.dial(PORT, "GET /index.html HTTP/1.0\r\n\r\n").await {
            Ok(answer) if answer.contains(&word) => return Ok(()),
            Ok(answer) => format!("it sent {:?}", answer.chars().take(200).collect::<String>()),
            Err(Trouble::Product(why)) => why,
            Err(other) => return Err(other),
        };
        // The port is open before the server in the container listens.
        check!(!deadline.passed(), "port {PORT} of the board did not answer: {why}");
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn containers_talk(rig: &mut Rig, bench: &Bench) -> Outcome {
    let network = bench.name(rig, "net");
    bench.forget(rig, "network", &network).await?;
    bench.engine.must(rig, &["network", "create", &network]).await?;
    let outcome = talk(rig, bench, &network).await;
    if rig.is_fork() {
        return outcome;
    }
    // A network goes only when nobody is in it.
    let cleared = bench.clear(rig).await;
    let removed = bench.engine.must(rig, &["network", "rm", &network]).await.map(drop);
    outcome.and(cleared).and(removed)
}

async fn talk(rig: &mut Rig, bench: &Bench, network: &str) -> Outcome {
    let word = bench.name(rig, "word");
    let inside = ["--network", network];
    let serve = serving(&word);
    let server = bench.start(rig, "server", &inside, &["sh", "-c", &serve]).await?;
    let url = format!("http://{server}/");
    let ask = format!("for n in 1 2 3 4 5; do wget -qO- {url} && exit; sleep 1; done");
    let said = bench.run(rig, &inside, &["sh", "-c", &ask]).await?;
    check!(said.stdout.contains(&word), "`{server}` was not reached: {}", said.stderr.trim());
    // The same wget as above. Not `-T`: BusyBox' may crash at it, which says nothing about the network. Nor
    // as the container's first process, which no `timeout` ends.
    let ask = format!("timeout 10 wget -qO- {url}; exit $?");
    let other = bench.run(rig, &[], &["sh", "-c", &ask]).await?;
    check!(!other.stdout.contains(&word), "a container of another network reached `{server}`");
    check!(is_refusal(other.status), "a container of another network could not even ask: {other}");
    Ok(())
}

/// Whether `timeout wget` ended because there was no answer: by itself, or in time. Not for want of one of
/// the two (125 to 127), nor by a crash.
fn is_refusal(status: i32) -> bool {
    matches!(status, 1..=124 | TERMINATED)
}

/// How a shell tells that a command was ended by SIGTERM, as BusyBox' timeout ends it.
const TERMINATED: i32 = 128 + 15;

#[cfg(test)]
mod tests {
    use super::is_refusal;

    #[test]
    fn a_crash_or_a_missing_program_is_no_refusal() {
        for refused in [1, 4, 124, 143] {
            assert!(is_refusal(refused), "{refused}");
        }
        for other in [0, 125, 126, 127, 134, 139] {
            assert!(!is_refusal(other), "{other}");
        }
    }
}
