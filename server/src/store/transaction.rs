//! The one way to open and end a transaction.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

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
        Ok(self.client.batch_execute(&self.begin).await?)
    }

    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    pub(super) async fn rollback(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}
