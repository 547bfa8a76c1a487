//! Sessions for migrations and index jobs. They set everything they depend on, whatever an operator has set for the
//! role or the database.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::{
    StoreError,
    connection::{
        Connector, Dedicated, Notices,
        sqlstate::{Kind, classify},
    },
};

/// Maximum time for the first statements of a session, none of which has to wait.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings that a session depends on. A setting that this version of Postgres does not have is skipped.
const SETTINGS: [(&str, &str); 25] = [
    // A job may wait for the transactions of others as long as needed.
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("vacuum_cost_delay", "0"),
    // It writes, and sees what others have committed.
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("session_replication_role", "origin"),
    // Its statements must mean what they say.
    ("search_path", "pg_catalog"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("check_function_bodies", "on"),
    ("exit_on_error", "off"),
    ("default_table_access_method", "heap"),
    ("DateStyle", "ISO"),
    // Watchers of a build get each NOTICE of Postgres.
    ("client_min_messages", "notice"),
    ("track_activities", "on"),
    // Postgres ends the session of a server that silently vanished. Until then nobody else can work.
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "35000"),
    ("client_connection_check_interval", "0"),
];

/// Opens a separate session for work that takes long.
pub(super) async fn connect(connector: &Connector) -> Result<(Dedicated, Notices), StoreError> {
    /// A busy machine may need longer for the first statement than an operator's timeout allows, so more than one
    /// attempt may fail.
    const ATTEMPTS: u32 = 5;
    let mut attempt = 1;
    loop {
        let (client, notices) = connector.connect().await?;
        let prepared = timeout(ANSWER_TIMEOUT, prepare(&client)).await;
        match prepared {
            Ok(Ok(())) => return Ok((client, notices)),
            Ok(Err(error)) if attempt < ATTEMPTS && is_timeout(&error) => attempt += 1,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(StoreError::unavailable("it does not answer")),
        }
    }
}

async fn prepare(client: &Client) -> Result<(), tokio_postgres::Error> {
    // Alone and first, because the other settings take longer.
    client.batch_execute("SET statement_timeout = 0").await?;
    let (names, values): (Vec<&str>, Vec<&str>) = SETTINGS.into_iter().unzip();
    let sql = "-- prepare_session
        SELECT pg_catalog.set_config(s.name, wanted.value, false)
        FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
                 AS wanted(name, value)
        JOIN pg_catalog.pg_settings s ON s.name OPERATOR(pg_catalog.=) wanted.name
        WHERE s.context OPERATOR(pg_catalog.=) 'user'
           OR (s.context OPERATOR(pg_catalog.=) 'superuser'
               AND pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on')";
    client.query(sql, &[&names, &values]).await?;
    Ok(())
}

/// Whether an operator's timeout ended the statement or the session before it was switched off.
fn is_timeout(error: &tokio_postgres::Error) -> bool {
    const TRANSACTION_TIMEOUT: &str = "25P04";
    matches!(classify(error), Kind::Cancelled | Kind::LockTimeout | Kind::ConnectionLost)
        || error.code().is_some_and(|code| code.code() == TRANSACTION_TIMEOUT)
}
