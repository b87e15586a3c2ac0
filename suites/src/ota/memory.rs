//! How much memory an install takes.

use hil_core::prelude::*;

/// Looks at how much memory is available, now and then once a second, by the shell alone but for its
/// sleep; its process, which ends by itself if nobody ends it.
const WATCH: &str = "look() { while read -r what kib unit; do \
     [ $what != MemAvailable: ] || echo $kib; done </proc/meminfo; }; look >FILE; \
     (trap '' HUP; n=0; while [ $n -lt 900 ]; do sleep 1; look; n=$((n + 1)); done) \
     </dev/null >>FILE 2>/dev/null & echo $!";

/// Watches the memory of the board.
pub(super) struct Watch {
    file: String,
    process: String,
}

impl Watch {
    pub(super) async fn begin(rig: &mut Rig) -> Outcome<Watch> {
        let file = format!("/tmp/hil-memory-{:x}", rig.seed());
        let process = rig.must(&WATCH.replace("FILE", &file)).await?;
        Ok(Watch { file, process })
    }

    /// How many bytes less were available at the worst moment than at the first; nothing of a kernel
    /// that does not tell (before 3.14).
    pub(super) async fn end(self, rig: &mut Rig) -> Outcome<Option<f64>> {
        let Watch { file, process } = self;
        let told = rig.run(&format!("kill {process}; cat {file}; rm -f {file}")).await?;
        Ok(taken(&told.text()))
    }
}

/// Of what was available in KiB, a line for each look.
fn taken(available: &str) -> Option<f64> {
    let all: Vec<f64> = available.lines().filter_map(|kib| kib.parse().ok()).collect();
    let least = all.iter().copied().reduce(f64::min)?;
    Some((all.first()? - least) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::taken;

    #[test]
    fn what_was_taken_is_what_was_missing_at_the_worst_moment() {
        assert_eq!(taken("1000\n990\n400\n1200"), Some(600.0 * 1024.0));
        assert_eq!(taken("1000"), Some(0.0));
        assert_eq!(taken(""), None);
    }
}
