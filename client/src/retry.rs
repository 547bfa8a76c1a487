//! Decides how long to wait before a retry, and when to give up.

mod unary;

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use crate::error;
pub use unary::Retry;

/// First pause. It doubles with every failure, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, unless the server asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between attempts. They grow, differ between clients that failed together, and end after a time without
/// success.
#[derive(Debug, Clone)]
pub struct Backoff {
    timeout: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    /// Gives up if nothing has succeeded for `timeout` since the first failure.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, failing_since: None, pause: MIN_PAUSE }
    }

    /// Records a success. The next failure counts as the first one again.
    pub fn reset(&mut self) {
        self.failing_since = None;
        self.pause = MIN_PAUSE;
    }

    /// The pause after this failure, at least as long as the server asks for. None: give up.
    pub fn pause(&mut self, status: &Status) -> Option<Duration> {
        self.next_pause(error::retry_delay(status).unwrap_or_default())
    }

    /// The pause after a failure, at least `at_least`. None: give up.
    pub(crate) fn next_pause(&mut self, at_least: Duration) -> Option<Duration> {
        let failing_for = self.failing_since.get_or_insert_with(Instant::now).elapsed();
        // Half of the pause is random, so that many clients do not come back together.
        let pause = self.pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        let pause = pause.max(at_least);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        (failing_for + pause <= self.timeout).then_some(pause)
    }

    /// Time since the first failure.
    pub fn failing_for(&self) -> Duration {
        self.failing_since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    #[tokio::test]
    async fn pauses_end_with_the_time() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.pause(&Status::unavailable("")) {
            assert!(pause <= MAX_PAUSE);
            tokio::time::sleep(pause).await;
            pauses.push(pause);
        }
        assert!(pauses[0] <= MIN_PAUSE && pauses.len() > 1, "{pauses:?}");
        assert!(backoff.failing_for() > Duration::from_millis(200), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause(&Status::unavailable("")).unwrap() <= MIN_PAUSE);
    }

    #[tokio::test]
    async fn the_server_may_ask_for_more() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(20)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        assert_eq!(Backoff::new(Duration::from_secs(60)).pause(&status), Some(Duration::from_secs(20)));
        assert_eq!(Backoff::new(Duration::from_secs(10)).pause(&status), None);
    }
}
