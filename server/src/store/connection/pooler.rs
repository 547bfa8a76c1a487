//! Finds out at start whether prepared statements outlive a transaction. Behind a pooler in transaction mode they may
//! not. Calls then fail or, worse, execute a statement that another server has prepared under the same name.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};

use super::{ConnectError, Connector};

/// How long a session may wait until the other one lets go of the database: a pooler can have a single connection.
const WAIT: Duration = Duration::from_millis(500);
const ROUNDS: usize = 3;

impl Connector {
    /// Whether the statements that one connection prepares stay with it, as far as this test can see.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(in crate::store) async fn keeps_statements(&self) -> Result<bool, ConnectError> {
        let (preparing, _notices) = self.connect().await?;
        let (other, _notices) = self.connect().await?;
        let probed = probe(&preparing, &other).await;
        probed.map_err(|source| ConnectError::Refused { target: self.target().name.clone(), source })
    }
}

async fn probe(preparing: &Client, other: &Client) -> Result<bool, tokio_postgres::Error> {
    let prepared = match preparing.prepare("-- keeps_statements\n SELECT 1").await {
        Err(error) if is_lost(&error) => return Ok(false),
        prepared => prepared?,
    };
    for _ in 0..ROUNDS {
        // A pooler probably gives this transaction the session that prepared the statement. A pooler that keeps
        // statements gives them names of its own.
        let seen = other
            .simple_query(
                "-- keeps_statements
                 BEGIN; SELECT FROM pg_prepared_statements WHERE statement LIKE '-- keeps_statements%' AND name ~ '^s[0-9]+$'",
            )
            .await?;
        let is_shared = seen.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
        // While the other transaction is open, this one probably gets another session.
        let mut executed = std::pin::pin!(preparing.query(&prepared, &[]));
        let (result, ended) = match timeout(WAIT, executed.as_mut()).await {
            Ok(result) => (result, other.batch_execute("ROLLBACK").await),
            Err(_) => {
                let ended = other.batch_execute("ROLLBACK").await;
                (executed.await, ended)
            }
        };
        ended?;
        match result {
            Err(error) if is_lost(&error) => return Ok(false),
            result => result?,
        };
        if is_shared {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a statement no longer exists, or another one has its name.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) || code == Some(&SqlState::DUPLICATE_PSTATEMENT)
}
