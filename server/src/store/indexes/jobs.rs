//! The background jobs of this process on indexes, codes and words. The number of jobs that run at a time is limited.
//!
//! A job holds no connection while it waits for its turn or for its next attempt.

use std::{
    collections::{HashMap, hash_map},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::AbortHandle};

use super::session::HELD_LOCKS;
use crate::store::{
    Store, StoreError, codes,
    sources::{index_relation, vectors_relation},
    tables::{is_metadata_index_valid, is_valid},
    transaction::Transaction,
};

/// The pause after the first interruption. It doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A job, identified by its kind and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) enum Job {
    /// Build the vector index with this id.
    Build(i64),
    /// Change the metadata indexes of the collection with this id to the wanted ones.
    Metadata(i64),
    /// Drop the leftovers of builds in the embedding space with this id.
    Leftovers(i64),
    /// Make the codes for the vectors of the collection with this id.
    Codes(i64),
    /// Make the words of the collection with this id again.
    Words(i64),
    /// Gather the statistics of the words of the collection with this id.
    WordStatistics(i64),
}

/// The jobs of this process.
#[derive(Debug)]
pub(in crate::store) struct Jobs {
    running: Mutex<HashMap<Job, AbortHandle>>,
    /// One permit for each running build.
    builds: Semaphore,
    /// One permit for each other running job, so that none waits for a build that takes hours.
    chores: Semaphore,
    /// One permit for making words again. One collection is converted at a time, since this takes long and is not
    /// urgent.
    words: Semaphore,
}

impl Jobs {
    pub(in crate::store) fn new(concurrency: usize) -> Self {
        let [builds, chores] = [(); 2].map(|()| Semaphore::new(concurrency));
        Self { running: Mutex::default(), builds, chores, words: Semaphore::new(1) }
    }

    fn turns(&self, job: Job) -> &Semaphore {
        match job {
            Job::Build(_) => &self.builds,
            Job::Metadata(_) | Job::Leftovers(_) | Job::Codes(_) | Job::WordStatistics(_) => &self.chores,
            Job::Words(_) => &self.words,
        }
    }
}

/// Removes a job from the list when its task ends in any way.
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
    /// Works on a job in the background, unless this process already does.
    pub(in crate::store) fn spawn_job(&self, job: Job) {
        // The lock is held until the task is in the list, so that the task cannot end before.
        let mut running = self.inner.jobs.running.lock().unwrap_or_else(PoisonError::into_inner);
        let hash_map::Entry::Vacant(vacant) = running.entry(job) else { return };
        let store = self.clone();
        let task = tokio::spawn(async move {
            let entered = Entered { store, job };
            entered.store.work(job).await;
        });
        vacant.insert(task.abort_handle());
    }

    /// Works on a build in the background, unless this process already does.
    pub(crate) fn spawn_build(&self, index_id: i64) {
        self.spawn_job(Job::Build(index_id));
    }

    /// Leaves the jobs of this process to other servers. Postgres completes the running statements, and another server
    /// then takes over.
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
                // The semaphore is never closed.
                let Ok(_turn) = self.inner.jobs.turns(job).acquire().await else { return };
                match job {
                    Job::Build(index_id) => self.build(index_id).await,
                    Job::Metadata(collection_id) => self.change_metadata_indexes(collection_id).await,
                    Job::Leftovers(space_id) => self.drop_leftovers(space_id).await,
                    Job::Codes(collection_id) => self.make_codes(collection_id).await,
                    Job::Words(collection_id) => self.convert_words(collection_id).await,
                    Job::WordStatistics(collection_id) => self.gather_word_statistics(collection_id).await,
                }
            };
            match attempt {
                Ok(()) => return,
                // The warning below is logged once.
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
                    if matches!(job, Job::Codes(_) | Job::WordStatistics(_)) {
                        // Wait, because the next search would start the job again at once.
                        tokio::time::sleep(MAX_PAUSE).await;
                    }
                    return;
                }
            }
            // A random pause, so that servers that were interrupted together do not retry together.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Whether the object of a job was deleted, so that its failure does not matter.
    async fn is_gone(&self, job: Job) -> bool {
        let building =
            format!("s.id = (SELECT b.space_id FROM {}.indexes b WHERE b.id = $1)", self.inner.names.internal);
        let (condition, id) = match job {
            Job::Build(index_id) => (building.as_str(), index_id),
            Job::Metadata(id) | Job::Words(id) | Job::Codes(id) | Job::WordStatistics(id) => ("c.id = $1", id),
            Job::Leftovers(space_id) => ("s.id = $1", space_id),
        };
        matches!(self.find_entry(condition, id).await, Ok(None))
    }

    /// Runs the work of a caller when a job other than a build has its turn. Continues to the end even if the caller
    /// leaves.
    pub(super) async fn run_chore<F>(&self, work: F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let store = self.clone();
        let done = tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = store.inner.jobs.chores.acquire().await;
            work.await
        });
        done.await.map_err(|error| StoreError::Internal(format!("an index job failed: {error}")))?
    }

    /// Starts jobs that nobody works on: those of other servers, those from before a restart, and those with a silent
    /// worker. Also repairs indexes on which the registry and the database disagree.
    pub(crate) async fn resume_builds(&self) -> Result<(), StoreError> {
        self.end_silent_sessions().await?;
        self.repair_registry().await?;
        self.recognise_indexes().await?;
        self.recheck_source_indexes().await?;
        self.renew_metadata_indexes().await?;
        self.resume_words().await?;
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        // Leaves out tables that somebody is indexing or vacuuming. A later call finds them.
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
             JOIN {internal}.collections c ON c.id = s.collection_id
             JOIN pg_index x ON x.indrelid = {vectors}
             JOIN pg_class k ON k.oid = x.indexrelid,
             LATERAL (SELECT coalesce(c.source ->> 'stem', format('embeddings_%s_%s', s.collection_id, s.id)) AS stem) named
             WHERE k.relname ~ format('^%s_(hnsw|ivfflat)_[0-9]+$', stem)
               AND NOT EXISTS (SELECT FROM {internal}.indexes i
                               WHERE i.space_id = s.id AND i.state <> 'failed'
                                 AND k.relname = format('%s_%s_%s', stem, i.method, i.id))
               AND s.id % 2147483647 + 1 NOT IN (SELECT key FROM held)
               AND NOT EXISTS (SELECT FROM pg_locks l
                               WHERE l.relation = x.indrelid AND l.mode = 'ShareUpdateExclusiveLock')
             UNION ALL
             SELECT 'codes', w.id FROM ({without_codes}) w WHERE -(w.id % 2147483647) NOT IN (SELECT key FROM held)",
            vectors = vectors_relation(internal),
            without_codes = codes::collections_without(internal)
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[&self.inner.names.lock_class]).await?;
        connection.done();
        for row in rows {
            let id = row.get(1);
            self.spawn_job(match row.get(0) {
                "build" => Job::Build(id),
                "metadata" => Job::Metadata(id),
                "codes" => Job::Codes(id),
                _ => Job::Leftovers(id),
            });
        }
        Ok(())
    }

    /// Updates the registry to what the database has. An index that is gone is not ready, and an index that became
    /// invalid is built again.
    async fn repair_registry(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let (index, valid, metadata_valid) =
            (index_relation(internal), is_valid(internal), is_metadata_index_valid(internal));
        let broken = format!(
            "SELECT i.id, s.collection_id, {index} IS NOT NULL AND NOT i.made_by_sql AS there
             FROM {internal}.indexes i JOIN {internal}.embedding_spaces s ON s.id = i.space_id
             WHERE i.state = 'ready' AND NOT {valid}"
        );
        let broken_metadata = format!(
            "SELECT m.id, m.collection_id FROM {internal}.metadata_indexes m WHERE m.ready AND NOT {metadata_valid}"
        );
        // Check first, since a standby answers but does not write.
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
            tracing::warn!(
                collection = name,
                "an index of the registry was missing or invalid in the database, and the registry was repaired"
            );
            self.forget(name);
        }
        Ok(())
    }
}

/// Whether another attempt may succeed after this error.
pub(in crate::store) fn is_interruption(error: &StoreError) -> bool {
    use StoreError::{Busy, Conflict, NotReady, ReadOnly, Unavailable};
    matches!(error, Unavailable { .. } | NotReady(_) | Busy(_) | Conflict(_) | ReadOnly)
}
