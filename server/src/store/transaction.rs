//! The one way to open and end a transaction.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, error::SqlState};

use super::StoreError;

/// A transaction with settings of its own: a pooled connection must not keep them.
///
/// A statement is sent when its future is first polled, and Postgres answers in that order. So whoever joins
/// [`begin`](Self::begin), the statements and [`commit`](Self::commit) pays for one round trip. A connection that is dropped
/// before the commit rolls back.
pub(super) struct Transaction<'a> {
    client: &'a Client,
    begin: String,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, begin: "BEGIN".into() }
    }

    /// For jobs, which write whatever the defaults are that an operator has set. A standby still refuses the writes.
    pub(super) fn read_write(client: &'a Client) -> Self {
        Self { client, begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".into() }
    }

    pub(super) fn read_only(client: &'a Client) -> Self {
        Self { client, begin: "BEGIN READ ONLY".into() }
    }

    /// Changes a setting of Postgres until the transaction ends. Neither part comes from a caller.
    pub(super) fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.begin += &format!("; SET LOCAL {name} = {value}");
        self
    }

    /// Ends each of its statements after `timeout`.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        self.set("statement_timeout", timeout.as_millis().max(1))
    }

    /// Ends its statements at the deadline of a call.
    pub(super) fn deadline(self, deadline: Instant) -> Self {
        self.timeout(deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        match self.client.batch_execute(&self.begin).await {
            // A standby refuses to begin. Its words about a write are better.
            Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                Ok(self.client.batch_execute("BEGIN").await?)
            }
            begun => Ok(begun?),
        }
    }

    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    pub(super) async fn rollback(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}
