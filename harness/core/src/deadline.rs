//! Deadlines: a point in time that is handed down, with the word for what it bounds.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::trouble::Trouble;

/// A point in time by which something must have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    /// The whole span that was granted, for messages.
    span: Duration,
}

/// A span of whole seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Deadline {
    pub fn within(span: Duration) -> Deadline {
        // Decades instead of an overflow where a caller says "for ever".
        let span = span.min(Duration::from_secs(86_400 * 3650));
        Deadline { at: Instant::now() + span, span }
    }

    /// The nearer of two deadlines.
    #[must_use]
    pub fn or_sooner(self, span: Duration) -> Deadline {
        self.min(Deadline::within(span))
    }

    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    pub fn instant(&self) -> Instant {
        self.at
    }

    pub fn span(&self) -> Duration {
        self.span
    }

    /// Runs `work` until this deadline; past it, `Unmet` names `what` and the span.
    pub async fn bound<T>(
        &self,
        what: impl fmt::Display,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(result) => result,
            Err(_) => Err(Trouble::unmet(format!("{what} did not end within {self}"))),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Span(self.span))
    }
}

/// A duration as people write it: `0.42 s`, `12.3 s`, `3 min 20 s`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 {
            write!(f, "{seconds:.2} s")
        } else if seconds < 120.0 {
            write!(f, "{seconds:.1} s")
        } else {
            let whole = self.0.as_secs();
            write!(f, "{} min {:02} s", whole / 60, whole % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let text = |ms| Span(Duration::from_millis(ms)).to_string();
        assert_eq!(text(420), "0.42 s");
        assert_eq!(text(12_340), "12.3 s");
        assert_eq!(text(200_000), "3 min 20 s");
    }

    #[test]
    fn for_ever_is_not_an_overflow() {
        assert!(!Deadline::within(Duration::MAX).passed());
    }
}
