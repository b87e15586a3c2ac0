//! A container that dies at once: the engine must not start it for ever at full speed.

use hil_core::parts::quoted;
use hil_core::prelude::*;

use super::neighbour::Neighbour;
use crate::bench::{Bench, PAUSE};

/// How many starts are watched: Docker doubles its pause from 0.1 s on, so that the last of them
/// is 3.2 s. On a slow board each start takes seconds itself, now more and now less: there up to three
/// more are watched, the last of 25.6 s. (In three lanes on a slow host, two more were not always enough.)
const STARTS: usize = 7;
const STARTS_OF_SLOW: usize = 10;

/// By how much each of the last two pauses must exceed the first two, in seconds: Docker's do by 1.4 at
/// seven starts and by 3, 6.2 and 12.6 at eight to ten, where what a start takes varies by seconds.
const GROWN: f64 = 1.0;
const GROWN_OF_SLOW: f64 = 2.5;

pub(super) async fn backs_off(rig: &mut Rig, bench: &Bench) -> Outcome {
    let neighbour = Neighbour::start(rig, bench).await?;
    // Into a file of a volume: to ask the engine each time would take more of a slow board's time than the
    // starts themselves. It is root's, of the container if not of the board, and goes with the container.
    let options = ["--restart=always", "--volume=/starts", "--user=0"];
    let note = "read up rest </proc/uptime; echo $up >>/starts/at; exit 1";
    let hog = bench.start(rig, "hog", &options, &["sh", "-c", note]).await?;
    let source = r#"{{range .Mounts}}{{if eq .Destination "/starts"}}{{.Source}}{{end}}{{end}}"#;
    let ask = ["container", "inspect", "--format", source, &hog];
    let folder = bench.engine.must(rig, &ask).await?.stdout.trim().to_string();
    check!(!folder.is_empty(), "the engine does not tell where the hog's volume is");
    let pauses = watched(rig, &folder).await?;
    rig.fact("restart-loop.last-pause", pauses.last().copied().unwrap_or_default(), "s");
    check!(have_grown(&pauses), "the pauses between starts do not grow: {pauses:.1?} s");
    neighbour.is_unharmed(rig, bench).await
}

/// The pauses between the starts that are written down in a folder, in seconds: as many as are wanted.
async fn watched(rig: &mut Rig, folder: &str) -> Outcome<Vec<f64>> {
    let deadline = rig.within(secs(45));
    loop {
        let noted = rig.run(&format!("cat {}/at", quoted(folder))).await?;
        let starts: Vec<f64> = noted.text().lines().filter_map(|line| line.parse().ok()).collect();
        let pauses: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let enough = starts.len() >= STARTS;
        if enough && have_grown(&pauses) || starts.len() >= STARTS_OF_SLOW {
            return Ok(pauses);
        }
        if deadline.passed() {
            let count = starts.len();
            let said = if noted.ok() { String::new() } else { format!(": {}", noted.said()) };
            check!(enough, "{count} starts in {folder}/at within {deadline}, not {STARTS}{said}");
            return Ok(pauses);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn have_grown(pauses: &[f64]) -> bool {
    let [first, second, .., last_but_one, last] = pauses else { return false };
    let earlier = first.max(*second);
    let grown = if pauses.len() < STARTS && earlier < 2.0 { GROWN } else { GROWN_OF_SLOW };
    last.min(*last_but_one) >= earlier + grown
}

#[cfg(test)]
mod tests {
    use super::have_grown;

    #[test]
    fn only_pauses_that_grow_have_grown() {
        assert!(have_grown(&[0.4, 0.5, 0.7, 1.1, 1.9, 3.5]));
        // A board that takes ten seconds for each start: six pauses say nothing yet.
        let mut slow = vec![10.3, 10.8, 9.9, 9.3, 10.2, 11.8];
        assert!(!have_grown(&slow));
        slow.extend([15.2, 22.9]);
        assert!(have_grown(&slow));
        // The first start took twice as long as most: two more pauses do not show yet what the third does.
        let mut jittery = vec![10.0, 5.8, 5.8, 8.8, 8.0, 6.9, 9.0, 16.0];
        assert!(!have_grown(&jittery));
        jittery.push(29.0);
        assert!(have_grown(&jittery));
        // It only becomes slower.
        assert!(!have_grown(&[9.2, 9.4, 9.3, 9.9, 10.0, 10.2, 10.6, 10.7]));
        // One start that took long is no longer pause.
        assert!(!have_grown(&[0.4, 0.5, 0.4, 0.5, 0.4, 9.0]));
        assert!(!have_grown(&[0.4, 9.0]));
    }
}
