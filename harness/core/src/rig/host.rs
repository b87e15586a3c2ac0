//! Whether the host let an emulated board run: what did not come in time while it hardly did says
//! nothing of the product.

use std::time::Duration;

use tokio::time::Instant;

use super::Rig;
use super::judge::died;
use crate::parts::Scheduled;
use crate::trouble::Trouble;

/// Where a wait began.
pub struct Begun {
    at: Instant,
    scheduled: Scheduled,
}

impl Rig {
    /// A wait begins.
    pub fn begin(&self) -> Begun {
        Begun { at: Instant::now(), scheduled: self.parts.power.scheduled() }
    }

    /// What did not come in time is the rack's where the emulator waited for a processor of the host for
    /// most of that time: alone it would have had twice as much. Not where the kernel died meanwhile.
    pub async fn unless_starved(&mut self, trouble: Trouble, begun: &Begun) -> Trouble {
        let Trouble::Unmet(why) = &trouble else { return trouble };
        let passed = begun.at.elapsed();
        let Some(waited) = starved(&begun.scheduled, &self.parts.power.scheduled(), passed) else {
            return trouble;
        };
        if self.kernel_alarm(died).await.is_some() {
            return trouble;
        }
        Trouble::rack(format!(
            "{why}; yet the host was too busy: for {} of {} s the emulator waited for a processor; run \
             fewer lanes and jobs, or nothing beside them",
            waited.as_secs(),
            passed.as_secs()
        ))
    }
}

/// What fails sooner did not fail for want of time.
const LEAST: Duration = Duration::from_secs(5);

/// How long the emulator's busiest thread, a processor of the guest's, waited for one of the host's; `None`
/// where that is no excuse. A guest whose own processors want more than the host has starves itself: then
/// all of its threads together had about one at least.
fn starved(before: &Scheduled, after: &Scheduled, passed: Duration) -> Option<Duration> {
    let grown = after.0.iter().map(|(thread, (ran, waited))| {
        let (ran_before, waited_before) = before.0.get(thread).copied().unwrap_or_default();
        (ran.saturating_sub(ran_before), waited.saturating_sub(waited_before))
    });
    let grown: Vec<(Duration, Duration)> = grown.collect();
    let ran: Duration = grown.iter().map(|(ran, _)| *ran).sum();
    let (_, waited) = grown.into_iter().max_by_key(|(ran, waited)| *ran + *waited)?;
    let others_took_it = ran < passed.mul_f64(0.8);
    (passed >= LEAST && waited * 2 > passed && others_took_it).then_some(waited)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads by what each ran and waited, in seconds.
    fn scheduled(threads: &[(u64, u64)]) -> Scheduled {
        let one =
            |(ran, waited): &(u64, u64)| (Duration::from_secs(*ran), Duration::from_secs(*waited));
        Scheduled((1..).zip(threads.iter().map(one)).collect())
    }

    fn waited(before: &[(u64, u64)], after: &[(u64, u64)], passed: u64) -> Option<u64> {
        let passed = Duration::from_secs(passed);
        starved(&scheduled(before), &scheduled(after), passed).map(|waited| waited.as_secs())
    }

    #[test]
    fn only_what_others_took_of_the_host_is_an_excuse() {
        assert_eq!(waited(&[(1, 0), (50, 10)], &[(5, 5), (80, 70)], 100), Some(60));
        assert_eq!(waited(&[(0, 0)], &[(70, 29)], 100), None, "it had most of the time");
        assert_eq!(waited(&[(0, 0)], &[(1, 0)], 100), None, "it was idle: the product hangs");
        let four = [(50, 55); 4];
        assert_eq!(waited(&[(0, 0); 4], &four, 105), None, "four processors on a host of two");
        // Each grew by little, and another than before has run most.
        assert_eq!(waited(&[(100, 20), (99, 45)], &[(100, 20), (101, 46)], 30), None);
        assert_eq!(waited(&[(0, 0)], &[(1, 3)], 4), None, "that soon nothing is late");
        assert_eq!(waited(&[], &[], 100), None, "a physical board");
    }
}
