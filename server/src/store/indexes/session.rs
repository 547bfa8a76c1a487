//! Sessions that hold the advisory lock of an index job, and how a dead one is detected.

use std::time::Duration;

use tokio::time::timeout;

use crate::store::{
    Store, StoreError,
    connection::{Dedicated, Notices},
    maintenance::{self, ANSWER_TIMEOUT},
};

/// How often a worker checks that Postgres still has its session.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How long a session may hold a lock and do nothing. A worker pauses for milliseconds between two statements. After a
/// longer pause it is gone, or its connection is dead.
const MAX_SILENCE_SECONDS: f64 = 10.0;

/// A session that holds the lock of a job. Only its holder creates or drops the indexes of the job.
pub(in crate::store) struct Session {
    pub(in crate::store) client: Dedicated,
    pub(super) notices: Notices,
    pid: i32,
    key: i32,
}

impl Store {
    /// A session that holds the lock. `None` if another session holds it. Waiting for the lock would be a deadlock:
    /// Postgres completes an index only after the statements of others have ended, including waiting ones.
    pub(in crate::store) async fn lock_session(&self, key: i32) -> Result<Option<Session>, StoreError> {
        let (client, notices) = maintenance::connect(&self.inner.config.direct).await?;
        let sql = "-- lock_session\n SELECT pg_try_advisory_lock($1, $2), pg_backend_pid()";
        let class = self.inner.names.lock_class;
        let row = timeout(ANSWER_TIMEOUT, client.query_one(sql, &[&class, &key])).await;
        let row = row.map_err(|_| StoreError::unavailable("it does not answer"))??;
        Ok(row.get::<_, bool>(0).then(|| Session { client, notices, pid: row.get(1), key }))
    }

    /// Works in a session for as long as Postgres has it. A connection that was silently cut looks like a statement
    /// that takes long.
    pub(in crate::store) async fn supervise<T>(
        &self,
        pid_and_key: (i32, i32),
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            result = work => result,
            () = self.session_ends(pid_and_key) => Err(StoreError::unavailable("the connection of an index job was cut")),
        }
    }

    async fn session_ends(&self, (pid, key): (i32, i32)) {
        // A single check may come at the moment of a database restart.
        const LOOKS: u32 = 2;
        let mut missed = 0;
        while missed < LOOKS {
            tokio::time::sleep(CHECK_EVERY).await;
            match timeout(CHECK_EVERY, self.has_session(pid, key)).await {
                Ok(Ok(false)) => missed += 1,
                Ok(Ok(true)) => missed = 0,
                // Postgres does not say.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    async fn has_session(&self, pid: i32, key: i32) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let sql =
            format!("-- has_session\n SELECT EXISTS (SELECT FROM ({HELD_LOCKS}) held WHERE pid = $2 AND key = $3)");
        let statement = connection.prepare_cached(&sql).await?;
        let row = connection.query_one(&statement, &[&self.inner.names.lock_class, &pid, &key]).await?;
        connection.done();
        Ok(row.get(0))
    }

    /// Ends the sessions that hold the lock of a job and do nothing, so that others can work. Does nothing while a
    /// session without a lock creates an index: then there is a pooler, which gives a job one session for its lock and
    /// another for its statement.
    pub(super) async fn end_silent_sessions(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let sql = format!(
            "-- end_silent_sessions
             SELECT a.pid, pg_terminate_backend(a.pid)
             FROM ({HELD_LOCKS}) held JOIN pg_stat_activity a ON a.pid = held.pid
             WHERE held.key <> 0 AND a.state LIKE 'idle%' AND pg_has_role(a.usesysid, 'USAGE')
               AND a.state_change < clock_timestamp() - make_interval(secs => $2)
               AND NOT EXISTS (SELECT FROM pg_stat_activity b
                               WHERE b.datname = current_database() AND b.state = 'active'
                                 AND starts_with(b.query, 'CREATE INDEX CONCURRENTLY \"')
                                 AND b.pid NOT IN (SELECT pid FROM ({HELD_LOCKS}) others))"
        );
        let statement = connection.prepare_cached(&sql).await?;
        for row in connection.query(&statement, &[&self.inner.names.lock_class, &MAX_SILENCE_SECONDS]).await? {
            let pid: i32 = row.get(0);
            tracing::warn!(pid, "the session of an index job was silent for {MAX_SILENCE_SECONDS} s and was ended");
        }
        connection.done();
        Ok(())
    }

    /// Cancels the creation of indexes whose quoted names begin with one of `names`, until the sessions that work on
    /// them have dropped what they made. Call it after the job has been removed from the registry. A session that does
    /// anything else is left alone.
    pub(super) async fn cancel_creation(&self, key: i32, names: &[String]) -> Result<(), StoreError> {
        const ROUNDS: u32 = 100;
        const ROUNDS_BETWEEN_CANCELS: u32 = 50;
        const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);
        let connection = self.connection().await?;
        let sql = format!(
            "-- cancel_creation
             SELECT CASE WHEN $4 AND a.state = 'active' AND starts_with(a.query, 'CREATE INDEX CONCURRENTLY ' || name)
                         THEN pg_cancel_backend(a.pid) END
             FROM ({HELD_LOCKS}) held JOIN pg_stat_activity a ON a.pid = held.pid, unnest($3::text[]) name
             WHERE held.key = $2 AND position(name IN a.query) > 0"
        );
        let statement = connection.prepare_cached(&sql).await?;
        for round in 0..ROUNDS {
            let cancel = round % ROUNDS_BETWEEN_CANCELS == 0;
            if connection.query(&statement, &[&self.inner.names.lock_class, &key, &names, &cancel]).await?.is_empty() {
                break;
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
        connection.done();
        Ok(())
    }
}

impl Session {
    /// The session that [`Store::supervise`] checks.
    pub(in crate::store) fn pid_and_key(&self) -> (i32, i32) {
        (self.pid, self.key)
    }
}

/// The locks of jobs that sessions hold: a subquery with the columns pid and key. `$1` is the class of the locks.
pub(super) const HELD_LOCKS: &str = "SELECT pid, CASE WHEN objid::bigint > 2147483647 THEN objid::bigint - 4294967296
                 ELSE objid::bigint END::int AS key
          FROM pg_locks
          WHERE locktype = 'advisory' AND granted AND classid = $1::int::oid AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The lock of the vector indexes of an embedding space.
pub(super) fn build_key(space_id: i64) -> i32 {
    // Key 0 belongs to the migrations. Ids are small; two that collide after 2^31 collections would only take turns.
    (space_id % i64::from(i32::MAX) + 1) as i32
}

/// The lock of the metadata indexes of a collection.
pub(in crate::store) fn metadata_key(collection_id: i64) -> i32 {
    // Negative, since the positive keys belong to builds.
    -(collection_id % i64::from(i32::MAX)) as i32
}
