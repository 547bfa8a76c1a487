//! The progress of builds. One task asks for all watched builds: one query per interval, however many callers watch.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::timeout};
use tokio_postgres::Row;

use super::{INDEX_COLUMNS, index_tables, jobs::Job, read_index, session::HELD_LOCKS};
use crate::store::{Index, Store, StoreError, sources::vectors_relation};

/// How often progress is read while anyone watches.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum time of one query, after which watchers get an error that the database does not answer.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// The progress of a build.
#[derive(Clone, Debug)]
pub(crate) enum BuildProgress {
    /// The build is running.
    Running {
        phase: Phase,
        /// The finished share of the whole build, 0 to 1.
        fraction: f64,
        began: SystemTime,
        index: Index,
        warnings: Vec<String>,
    },
    /// Complete.
    Ready { began: SystemTime, index: Index, warnings: Vec<String> },
    /// The build failed or was stopped.
    Failed { why: String },
}

/// The phase of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Waiting,
    Training,
    Building,
    Validating,
    Finishing,
}

/// The last result for a build, or why there is none.
type Seen = Option<Result<BuildProgress, Arc<StoreError>>>;

/// The builds that are being watched.
#[derive(Debug, Default)]
pub(in crate::store) struct Watched {
    watches: Mutex<Watches>,
}

#[derive(Debug, Default)]
struct Watches {
    by_id: HashMap<i64, watch::Sender<Seen>>,
    /// Whether a task reads their progress. It ends when nobody watches.
    polled: bool,
}

/// Watches one build.
#[derive(Debug)]
pub(crate) struct BuildWatch {
    seen: watch::Receiver<Seen>,
}

impl BuildWatch {
    /// The next progress of the build. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<BuildProgress, StoreError> {
        loop {
            self.seen
                .changed()
                .await
                .map_err(|_| StoreError::Internal("nobody reads the progress of a build".into()))?;
            match &*self.seen.borrow_and_update() {
                Some(Ok(progress)) => return Ok(progress.clone()),
                Some(Err(error)) => return Err(StoreError::NotReady(Arc::clone(error))),
                None => {}
            }
        }
    }
}

impl Store {
    /// Watches a build by the id of its index, even if its collection is renamed.
    pub(crate) fn watch_build(&self, index_id: i64) -> BuildWatch {
        let mut watches = self.inner.watched.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = watches.by_id.entry(index_id).or_insert_with(|| watch::Sender::new(None));
        let seen = sender.subscribe();
        if !watches.polled {
            watches.polled = true;
            let store = self.clone();
            tokio::spawn(async move { store.poll_builds().await });
        }
        BuildWatch { seen }
    }

    async fn poll_builds(&self) {
        while let Some(ids) = self.inner.watched.ids() {
            let seen = match timeout(POLL_TIMEOUT, self.look_up(&ids)).await {
                Ok(seen) => seen.map_err(Arc::new),
                Err(_) => Err(Arc::new(StoreError::unavailable("it does not answer"))),
            };
            self.inner.watched.tell(&ids, &seen);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Reads the progress of builds. If nobody works on a job, this server takes it over.
    async fn look_up(&self, ids: &[i64]) -> Result<HashMap<i64, BuildProgress>, StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- build_progress
             WITH held AS MATERIALIZED ({HELD_LOCKS})
             SELECT {INDEX_COLUMNS}, i.state, i.error, i.warnings, i.attempts, p.phase,
                    s.id % 2147483647 + 1 IN (SELECT key FROM held) AS locked,
                    coalesce(CASE WHEN p.blocks_total > 0 THEN p.blocks_done::float8 / p.blocks_total
                                  WHEN p.tuples_total > 0 THEN p.tuples_done::float8 / p.tuples_total END, 0) AS done
             {tables}
             LEFT JOIN pg_stat_progress_create_index p
                    ON p.datname = current_database()
                   AND p.relid = {vectors}
                   AND coalesce(nullif(p.index_relid, 0), x.indexrelid) IS NOT DISTINCT FROM x.indexrelid
             WHERE i.id = ANY($2)",
            tables = index_tables(internal),
            vectors = vectors_relation(internal)
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[&self.inner.names.lock_class, &ids]).await?;
        connection.done();
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let state: &str = row.get("state");
            let progress = read_progress(&row)?;
            if state == "building" && !row.get::<_, bool>("locked") {
                self.spawn_job(Job::Build(row.get("id")));
            }
            found.insert(row.get("id"), progress);
        }
        Ok(found)
    }
}

impl Watched {
    /// The builds that are still watched. `None` ends the task.
    fn ids(&self) -> Option<Vec<i64>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.by_id.retain(|_, sender| sender.receiver_count() > 0);
        watches.polled = !watches.by_id.is_empty();
        watches.polled.then(|| watches.by_id.keys().copied().collect())
    }

    fn tell(&self, ids: &[i64], seen: &Result<HashMap<i64, BuildProgress>, Arc<StoreError>>) {
        let asked: HashSet<i64> = ids.iter().copied().collect();
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, sender) in watches.by_id.iter().filter(|(id, _)| asked.contains(id)) {
            let gone = || BuildProgress::Failed { why: "it was stopped".into() };
            let progress = match seen {
                Ok(found) => Ok(found.get(id).cloned().unwrap_or_else(gone)),
                Err(error) => Err(Arc::clone(error)),
            };
            sender.send_replace(Some(progress));
        }
    }
}

fn read_progress(row: &Row) -> Result<BuildProgress, StoreError> {
    if row.get::<_, &str>("state") == "failed" {
        let why: Option<String> = row.get("error");
        return Ok(BuildProgress::Failed { why: why.unwrap_or_default() });
    }
    let index = read_index(row)?;
    let (began, warnings) = (row.get("created_at"), row.get("warnings"));
    if index.ready {
        return Ok(BuildProgress::Ready { began, index, warnings });
    }
    let (phase, fraction) = match row.get("phase") {
        Some(phase) => read_phase(phase, row.get("done")),
        None if row.get::<_, i32>("attempts") == 0 => (Phase::Queued, 0.0),
        None if index.size_bytes > 0 => (Phase::Finishing, 0.98),
        None => (Phase::Waiting, 0.0),
    };
    Ok(BuildProgress::Running { phase, fraction, began, index, warnings })
}

/// The phase named by pg_stat_progress_create_index, and the finished share of the whole build.
fn read_phase(phase: &str, done: f64) -> (Phase, f64) {
    let within = |from: f64, to: f64| from + (to - from) * done.clamp(0.0, 1.0);
    match phase {
        "initializing" | "waiting for writers before build" => (Phase::Waiting, 0.0),
        "building index: initializing" => (Phase::Building, 0.01),
        "building index: performing k-means" => (Phase::Training, 0.02),
        "building index: assigning tuples" => (Phase::Building, within(0.1, 0.5)),
        "building index: loading tuples" => (Phase::Building, within(0.1, 0.9)),
        "waiting for writers before validation" => (Phase::Waiting, 0.91),
        "index validation: scanning index" => (Phase::Validating, within(0.92, 0.94)),
        "index validation: sorting tuples" => (Phase::Validating, 0.94),
        "index validation: scanning table" => (Phase::Validating, within(0.94, 0.96)),
        "waiting for old snapshots" | "waiting for readers before marking dead" => (Phase::Waiting, 0.97),
        _ => (Phase::Finishing, 0.98),
    }
}
