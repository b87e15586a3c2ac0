//! Power-on one after another: a rack that gets its power back all at once trips its breaker.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// When the last board of this process got its power.
static LAST: Mutex<Option<Instant>> = Mutex::const_new(None);

/// Waits until `apart` has passed since the last board's turn, and takes the next one. Boards of
/// other processes are not seen: the inrush of two is what a breaker must bear.
pub async fn turn(apart: Duration) {
    if apart.is_zero() {
        return;
    }
    let mut last = LAST.lock().await;
    if let Some(last) = *last {
        sleep_until(last + apart).await;
    }
    *last = Some(Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_apart() {
        let apart = Duration::from_secs(1);
        let begun = Instant::now();
        tokio::join!(turn(apart), turn(apart), turn(apart));
        assert!(begun.elapsed() >= 2 * apart);
    }
}
