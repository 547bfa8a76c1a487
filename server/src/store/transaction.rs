//! The only way to begin and end a transaction, and how long to retry if others conflict with it.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, error::SqlState};

use super::StoreError;

/// SQL: whether a statement is in a [pipelined](Transaction::pipelined) transaction.
pub(super) const IN_TRANSACTION: &str = "current_setting('pgfox.in_transaction', true) = 'on'";

/// A transaction with its own settings, which a pooled connection must not keep.
///
/// A statement is sent when its future is first polled, and Postgres answers in that order. Joining
/// [`begin`](Self::begin), the statements and [`commit`](Self::commit) takes one round trip. If a connection is dropped
/// before the commit, the transaction rolls back.
#[must_use]
pub(super) struct Transaction<'a> {
    client: &'a Client,
    begin: String,
    /// Begins without the mode if the server refuses it.
    is_mode_optional: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, begin: "BEGIN".into(), is_mode_optional: false }
    }

    /// For jobs, which write whatever defaults an operator has set. A standby still refuses the writes. Await `begin`
    /// before sending anything else.
    pub(super) fn read_write(client: &'a Client) -> Self {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".into();
        Self { client, begin, is_mode_optional: true }
    }

    pub(super) fn read_only(client: &'a Client) -> Self {
        Self { client, begin: "BEGIN READ ONLY".into(), is_mode_optional: false }
    }

    /// Changes a setting of Postgres until the transaction ends. The value may be a number from a caller, but never a
    /// text.
    pub(super) fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.begin += &format!("; SET LOCAL {name} = {value}");
        self
    }

    /// For writes that are sent before BEGIN is answered. If BEGIN fails, for example because of a late cancel, each of
    /// them would be its own transaction. So each needs the condition [`IN_TRANSACTION`].
    pub(super) fn pipelined(self) -> Self {
        self.set("pgfox.in_transaction", "'on'")
    }

    /// Stops each of its statements after `timeout`.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        self.set("statement_timeout", milliseconds(timeout))
    }

    /// Fails if a lock is not free within `timeout`.
    pub(super) fn lock_timeout(self, timeout: Duration) -> Self {
        self.set("lock_timeout", milliseconds(timeout))
    }

    /// Stops its statements at the deadline of a call.
    pub(super) fn deadline(self, deadline: Instant) -> Self {
        self.timeout(deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        match self.client.batch_execute(&self.begin).await {
            // A standby refuses to begin. Its error for a write is clearer.
            Err(error) if self.is_mode_optional && error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                Ok(self.client.batch_execute("BEGIN").await?)
            }
            begun => Ok(begun?),
        }
    }

    /// Does `work` in the transaction, and rolls back if it fails. For sessions that continue after an error.
    pub(super) async fn run<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let done = async {
            self.begin().await?;
            let done = work.await?;
            self.commit().await?;
            Ok(done)
        };
        let done = done.await;
        if done.is_err() {
            self.rollback().await?;
        }
        done
    }

    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    pub(super) async fn rollback(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

/// In the form of Postgres settings, where 0 means no limit and 24 days are the maximum.
fn milliseconds(timeout: Duration) -> u128 {
    timeout.as_millis().clamp(1, i32::MAX as u128)
}

/// How often to retry after a conflict with another transaction.
pub(super) struct Retry {
    /// When to give up. `None`: after [`Self::FEW`] attempts.
    until: Option<Instant>,
    attempts: u32,
    changes: u32,
}

impl Retry {
    const FEW: u32 = 4;
    const MIN_LOCK_TIMEOUT: Duration = Duration::from_millis(50);
    /// Maximum wait for a lock: later callers wait behind it. It is above Postgres' `deadlock_timeout` (1 s), after
    /// which an autovacuum lets go of its table.
    const MAX_LOCK_TIMEOUT: Duration = Duration::from_millis(1_600);

    /// A few attempts, for conflicts with short transactions of others.
    pub(super) fn few() -> Self {
        Self { until: None, attempts: 1, changes: 0 }
    }

    /// Retries until shortly before the deadline of a call, which leaves time to find out why it failed.
    pub(super) fn until(deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        Self { until: Some(deadline - (left / 4).min(Duration::from_millis(500))), ..Self::few() }
    }

    /// How long this attempt may wait for each lock. It grows with every attempt, so that the lock is won among many
    /// short transactions.
    pub(super) fn lock_timeout(&self) -> Duration {
        let timeout = (Self::MIN_LOCK_TIMEOUT * (1 << (self.attempts - 1).min(8))).min(Self::MAX_LOCK_TIMEOUT);
        self.until.map_or(timeout, |until| timeout.min(until.saturating_duration_since(Instant::now())))
    }

    /// Counts an attempt whose knowledge was outdated. Returns whether another attempt is allowed.
    pub(super) fn again(&mut self) -> bool {
        self.changes += 1;
        self.changes < Self::FEW
    }

    /// Waits after a conflict, for a random time so that the same two do not conflict again. Returns whether another
    /// attempt is allowed.
    pub(super) async fn pause(&mut self) -> bool {
        let longest = 20 << self.attempts.min(4);
        let pause = Duration::from_millis(rand::random_range(1..longest));
        self.attempts += 1;
        let another = match self.until {
            None => self.attempts <= Self::FEW,
            Some(until) => Instant::now() + pause < until,
        };
        if another {
            tokio::time::sleep(pause).await;
        }
        another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_timeout_is_longer_than_postgres_takes() {
        assert_eq!(milliseconds(Duration::from_secs(365 * 24 * 3600)), 2_147_483_647);
        assert_eq!(milliseconds(Duration::ZERO), 1);
    }
}
