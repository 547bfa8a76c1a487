//! What this process does to indexes in the background: at most so many jobs at a time, each until it is finished.
//!
//! A job that waits for its turn, or for the next attempt, holds no connection.

use std::{
    collections::{HashMap, hash_map},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::AbortHandle};

use super::session::HELD_LOCKS;
use crate::store::{
    Store, StoreError,
    tables::{index_of_row, is_metadata_index_valid, is_valid},
    transaction::Transaction,
};

/// The pause after a first interruption; it doubles with each.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A job, by what it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) enum Job {
    /// Building the vector index with this id.
    Build(i64),
    /// Bringing the metadata indexes of the collection with this id to those wanted.
    Metadata(i64),
    /// Dropping what builds have left in the embedding space with this id.
    Leftovers(i64),
}

/// The jobs of this process.
#[derive(Debug)]
pub(in crate::store) struct Jobs {
    running: Mutex<HashMap<Job, AbortHandle>>,
    /// One permit for each build that runs.
    builds: Semaphore,
    /// One for each other job, so that none waits for a build that takes hours.
    chores: Semaphore,
}

impl Jobs {
    pub(in crate::store) fn new(concurrency: usize) -> Self {
        Self { running: Mutex::default(), builds: Semaphore::new(concurrency), chores: Semaphore::new(concurrency) }
    }

    fn turns(&self, job: Job) -> &Semaphore {
        match job {
            Job::Build(_) => &self.builds,
            Job::Metadata(_) | Job::Leftovers(_) => &self.chores,
        }
    }
}

/// Takes a job out of the list when its task ends, in whatever way.
struct Entered {
    store: Store,
    job: Job,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.store.inner.jobs.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.job);
    }
}

impl Store {
    /// Works on a job in the background, unless this process does already.
    pub(in crate::store) fn spawn_job(&self, job: Job) {
        // Locked until the task is entered, so that it cannot end before.
        let mut running = self.inner.jobs.running.lock().unwrap_or_else(PoisonError::into_inner);
        let hash_map::Entry::Vacant(vacant) = running.entry(job) else { return };
        let store = self.clone();
        let task = tokio::spawn(async move {
            let entered = Entered { store, job };
            entered.store.work(job).await;
        });
        vacant.insert(task.abort_handle());
    }

    /// Works on a build in the background, unless this process does already.
    pub(crate) fn spawn_build(&self, index_id: i64) {
        self.spawn_job(Job::Build(index_id));
    }

    /// Leaves the jobs of this process to others. Postgres completes the statements that run; a job is taken up after that.
    pub(in crate::store) fn leave_jobs(&self) {
        let tasks: Vec<AbortHandle> = {
            let running = self.inner.jobs.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.values().cloned().collect()
        };
        for task in tasks {
            task.abort();
        }
    }

    async fn work(&self, job: Job) {
        let mut pause = MIN_PAUSE;
        loop {
            let attempt = {
                // Never closed.
                let Ok(_turn) = self.inner.jobs.turns(job).acquire().await else { return };
                match job {
                    Job::Build(index_id) => self.build(index_id).await,
                    Job::Metadata(collection_id) => self.change_metadata_indexes(collection_id).await,
                    Job::Leftovers(space_id) => self.drop_leftovers(space_id).await,
                }
            };
            match attempt {
                Ok(()) => return,
                // Once is enough.
                Err(error) if is_interruption(&error) && pause > MIN_PAUSE => {
                    tracing::debug!(?job, "an index job was interrupted again: {}", error.detail());
                }
                Err(error) if is_interruption(&error) => {
                    tracing::warn!(?job, "an index job was interrupted and will be resumed: {}", error.detail());
                }
                Err(error) => {
                    if self.is_gone(job).await {
                        tracing::debug!(?job, "an index job ended with its collection: {}", error.detail());
                    } else {
                        tracing::error!(?job, "an index job failed: {}", error.detail());
                    }
                    return;
                }
            }
            // Servers that were interrupted together do not come back together.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Whether what a job works on was deleted, so that nobody misses its work.
    async fn is_gone(&self, job: Job) -> bool {
        let building =
            format!("s.id = (SELECT b.space_id FROM {}.indexes b WHERE b.id = $1)", self.inner.names.internal);
        let (condition, id) = match job {
            Job::Build(index_id) => (building.as_str(), index_id),
            Job::Metadata(collection_id) => ("c.id = $1", collection_id),
            Job::Leftovers(space_id) => ("s.id = $1", space_id),
        };
        matches!(self.find_entry(condition, id).await, Ok(None))
    }

    /// Runs work of a caller within the turns of jobs other than builds, to its end even when the caller leaves.
    pub(super) async fn run_chore<F>(&self, work: F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let store = self.clone();
        let done = tokio::spawn(async move {
            // Never closed.
            let _turn = store.inner.jobs.chores.acquire().await;
            work.await
        });
        done.await.map_err(|error| StoreError::Internal(format!("an index job failed: {error}")))?
    }

    /// Takes up what nobody works on: jobs that another server left behind, or this one before a restart; jobs whose worker
    /// is silent; indexes that the registry and the database do not agree on.
    pub(crate) async fn resume_builds(&self) -> Result<(), StoreError> {
        self.end_silent_sessions().await?;
        self.repair_registry().await?;
        self.renew_metadata_indexes().await?;
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        // Jobs on a table that somebody indexes or vacuums are looked for again later.
        let sql = format!(
            "-- resume_builds
             WITH held AS MATERIALIZED ({HELD_LOCKS})
             SELECT 'build' AS job, i.id FROM {internal}.indexes i
             WHERE i.state = 'building' AND i.space_id % 2147483647 + 1 NOT IN (SELECT key FROM held)
             UNION ALL
             SELECT 'metadata', jobs.id
             FROM (SELECT collection_id AS id FROM {internal}.metadata_index_jobs WHERE state = 'running'
                   UNION SELECT collection_id FROM {internal}.metadata_indexes WHERE NOT ready) jobs
             WHERE -(jobs.id % 2147483647) NOT IN (SELECT key FROM held)
             UNION ALL
             SELECT DISTINCT 'leftovers', s.id
             FROM {internal}.embedding_spaces s
             JOIN pg_class t ON t.relnamespace = to_regnamespace('{internal}')
                            AND t.relname = format('embeddings_%s_%s', s.collection_id, s.id)
             JOIN pg_index x ON x.indrelid = t.oid
             JOIN pg_class c ON c.oid = x.indexrelid
             WHERE c.relname ~ format('^%s_(hnsw|ivfflat)_[0-9]+$', t.relname)
               AND NOT EXISTS (SELECT FROM {internal}.indexes i
                               WHERE i.space_id = s.id AND i.state <> 'failed'
                                 AND c.relname = format('%s_%s_%s', t.relname, i.method, i.id))
               AND s.id % 2147483647 + 1 NOT IN (SELECT key FROM held)
               AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = t.oid AND l.mode = 'ShareUpdateExclusiveLock')"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[&self.inner.names.lock_class]).await?;
        connection.done();
        for row in rows {
            let id = row.get(1);
            self.spawn_job(match row.get(0) {
                "build" => Job::Build(id),
                "metadata" => Job::Metadata(id),
                _ => Job::Leftovers(id),
            });
        }
        Ok(())
    }

    /// Makes the registry say what the database has: an index that is gone is not ready, and one that became invalid is
    /// built again.
    async fn repair_registry(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let (index, valid, metadata_valid) =
            (index_of_row(internal), is_valid(internal), is_metadata_index_valid(internal));
        let broken = format!(
            "SELECT i.id, s.collection_id, {index} IS NOT NULL AS there
             FROM {internal}.indexes i JOIN {internal}.embedding_spaces s ON s.id = i.space_id
             WHERE i.state = 'ready' AND NOT {valid}"
        );
        let broken_metadata = format!(
            "SELECT m.id, m.collection_id FROM {internal}.metadata_indexes m WHERE m.ready AND NOT {metadata_valid}"
        );
        // Asked first, since a standby answers but does not write.
        let sql = format!("-- repair_registry\n SELECT EXISTS ({broken}) OR EXISTS ({broken_metadata})");
        let statement = connection.prepare_cached(&sql).await?;
        if !connection.query_one(&statement, &[]).await?.get::<_, bool>(0) {
            connection.done();
            return Ok(());
        }
        let sql = format!(
            "-- repair_registry
             WITH broken AS (
                 SELECT b.*, b.there AND NOT EXISTS (
                            SELECT FROM {internal}.indexes mine JOIN {internal}.indexes other USING (space_id)
                            WHERE mine.id = b.id AND other.state = 'building') AS again
                 FROM ({broken}) b),
             gone AS (
                 DELETE FROM {internal}.indexes i USING broken WHERE i.id = broken.id AND i.state = 'ready' AND NOT again
                 RETURNING collection_id),
             restarted AS (
                 UPDATE {internal}.indexes i SET state = 'building', attempts = 0 FROM broken
                 WHERE i.id = broken.id AND i.state = 'ready' AND again RETURNING collection_id),
             unready AS (
                 UPDATE {internal}.metadata_indexes m SET ready = false FROM ({broken_metadata}) b
                 WHERE m.id = b.id AND m.ready RETURNING m.collection_id),
             changed AS (SELECT * FROM gone UNION SELECT * FROM restarted UNION SELECT * FROM unready)
             UPDATE {internal}.collections SET revision = revision + 1
             WHERE id IN (SELECT collection_id FROM changed) RETURNING name"
        );
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let rows = connection.query(&sql, &[]).await?;
        transaction.commit().await?;
        connection.done();
        for row in rows {
            let name: &str = row.get(0);
            tracing::warn!(collection = name, "the registry had an index that the database has not, and was repaired");
            self.forget(name);
        }
        Ok(())
    }
}

/// Whether another attempt can succeed where this one ended.
pub(super) fn is_interruption(error: &StoreError) -> bool {
    use StoreError::{Busy, Conflict, NotReady, ReadOnly, Unavailable};
    matches!(error, Unavailable { .. } | NotReady(_) | Busy(_) | Conflict(_) | ReadOnly)
}
