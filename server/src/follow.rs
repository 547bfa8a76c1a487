//! Stores the rows of followed tables: finds out what changed, reads it, embeds it and stores it as Ingest does.
//!
//! Servers share the work by claims in the database (`store/follow`). No transaction is open while texts are embedded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;
use prost::Message as _;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    app::{App, FollowLimits},
    budget::Budget,
    error::Error,
    rpc::{self, document_message},
    store::{Claim, Collection, Columns, Outcome, Pace, StoreError, WaitingWork},
};

/// A server looks this many times less often if no collection follows a table by triggers.
const LOOK_RARELY: u32 = 3;
/// The time between two readings of a column that says when rows changed, in times between two looks. With `LOOK_RARELY`,
/// a source costs less than one statement a second either way.
const POLL_EVERY: f64 = 1.4;
/// It checks the triggers once in so many looks.
const REPAIR_EVERY: u32 = 25;
/// A claim is extended this often, well before it ends.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// Maximum bytes of texts and metadata that are stored in one transaction.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Larger rows are not read: the largest text and the largest metadata together.
const MAX_ROW_BYTES: usize = 9 * 1024 * 1024;

/// Follows tables until the server shuts down. Rows in progress are then finished.
pub(crate) async fn run(app: App) {
    let concurrency = app.limits.follow.concurrency;
    // Beside that of callers, so that none waits for the other.
    let budget = Budget::new(concurrency * 4 * MAX_ROW_BYTES, app.limits.bytes_wait);
    let follower = Arc::new(Follower { app, budget, columns: watch::Sender::default(), changed: Notify::new() });
    tokio::select! {
        () = follower.store_changes() => {}
        () = follower.poll_columns() => {}
    }
}

/// The work in progress.
#[derive(Default)]
struct Tasks {
    /// Each claims rows until none is left.
    claims: JoinSet<()>,
    /// At most one, because it can take long and is not urgent.
    chores: JoinSet<()>,
    repaired: Option<Instant>,
}

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// Logs why a part of the work failed. The next look tries it again.
fn report<T: Default>(what: &str, done: Result<T, StoreError>) -> T {
    done.unwrap_or_else(|error| {
        tracing::warn!("{what} of followed tables failed: {}", error.detail());
        T::default()
    })
}

struct Follower {
    app: App,
    budget: Budget,
    /// The collections that follow a column.
    columns: watch::Sender<Vec<i64>>,
    /// A column says that rows have changed.
    changed: Notify,
}

impl Follower {
    async fn store_changes(self: &Arc<Self>) {
        let mut tasks = Tasks::default();
        loop {
            let pause = self.look(&mut tasks).await.unwrap_or_else(|error| {
                // The health probe reports an outage.
                tracing::debug!("cannot look for changes of followed tables: {}", error.detail());
                self.columns.send_replace(Vec::new());
                LOOK_RARELY * self.app.limits.follow.look_every
            });
            tokio::select! {
                () = self.app.draining.cancelled() => break,
                Some(_) = tasks.claims.join_next() => {}
                Some(_) = tasks.chores.join_next() => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tasks.chores.abort_all();
        while tasks.claims.join_next().await.is_some() {}
    }

    /// Reads the columns that say when rows changed, again and again.
    async fn poll_columns(&self) {
        let mut known = Columns::default();
        loop {
            tokio::time::sleep(self.app.limits.follow.look_every.mul_f64(POLL_EVERY)).await;
            let columns = self.columns.borrow().clone();
            if report("reading columns", self.app.store.poll_columns(&columns, &mut known).await) {
                self.changed.notify_one();
            }
        }
    }

    /// Moves changes and starts tasks. Returns when to look again.
    async fn look(self: &Arc<Self>, tasks: &mut Tasks) -> Result<Duration, StoreError> {
        let store = &self.app.store;
        let look_every = self.app.limits.follow.look_every;
        let WaitingWork { triggers, changes, columns, comparison, rows } = store.waiting_work().await?;
        self.columns.send_replace(columns);
        let more = changes && report("moving changes", store.collect_changes().await);
        if tasks.chores.is_empty() {
            let repairs = triggers && is_due(&mut tasks.repaired, REPAIR_EVERY * look_every);
            if repairs || comparison {
                let follower = Arc::clone(self);
                tasks.chores.spawn(async move { follower.do_chores(repairs, comparison).await });
            }
        }
        while (rows || changes) && tasks.claims.len() < self.app.limits.follow.concurrency {
            let Some(claim) = report("claiming rows", store.claim_rows().await) else { break };
            let follower = Arc::clone(self);
            tasks.claims.spawn(async move { follower.store_claims(claim).await });
        }
        // A task that ends makes the next look.
        let is_busy = more || !tasks.claims.is_empty() || !tasks.chores.is_empty();
        Ok(match (is_busy, triggers) {
            (true, _) => look_every / 4,
            (false, true) => look_every,
            (false, false) => LOOK_RARELY * look_every,
        })
    }

    async fn do_chores(&self, repairs: bool, compares: bool) {
        let store = &self.app.store;
        let FollowLimits { compare_every, rows_per_second, .. } = self.app.limits.follow;
        if repairs {
            report("checking triggers", store.repair_triggers().await);
        }
        if compares {
            report("comparing", store.compare_source(Pace { every: compare_every, rows_per_second }).await);
        }
    }

    /// Stores the rows of a claim, then of others until nothing is left.
    async fn store_claims(&self, first: Claim) {
        let mut next = Some(first);
        while let Some(claim) = next {
            self.store_claim(claim).await;
            if self.app.draining.is_cancelled() {
                return;
            }
            next = report("claiming rows", self.app.store.claim_rows().await);
        }
    }

    /// Stores the rows of a claim, which it extends meanwhile.
    async fn store_claim(&self, claim: Claim) {
        let store = &self.app.store;
        let work = async {
            let stored = tokio::time::timeout(self.app.limits.ingest_timeout, self.store_rows(&claim)).await;
            match stored.unwrap_or(Err(Error::DeadlineExceeded)) {
                Ok(outcome) => self.finish(&claim, outcome).await,
                Err(error) => match claim.suspect() {
                    Some(id) if self.is_of_the_row(&claim, &error).await => {
                        let failed = vec![(id.to_owned(), error.to_string())];
                        self.finish(&claim, Outcome { failed, ..Outcome::default() }).await
                    }
                    _ => {
                        tracing::warn!("rows of a followed table are not stored yet: {error}");
                        store.release_claim(&claim, &error.to_string()).await
                    }
                },
            }
        };
        let extend = async {
            loop {
                tokio::time::sleep(EXTEND_EVERY).await;
                // If it fails, others take the rows over, which finishing then detects.
                let _ = store.extend_claim(&claim).await;
            }
        };
        let done: Result<(), StoreError> = tokio::select! {
            done = work => done,
            () = extend => Ok(()),
        };
        if let Err(error) = done {
            // The claim ends by itself.
            tracing::warn!("cannot end a claim of rows: {}", error.detail());
        }
    }

    /// Whether an error of a row that was tried alone is its own: the provider fails with it and takes another text.
    async fn is_of_the_row(&self, claim: &Claim, error: &Error) -> bool {
        match (error, &claim.collection().definition.model) {
            (Error::DeadlineExceeded, _) => true,
            (Error::Embed(_), Some(model)) => self.app.embedders.embed(model, &["another text"]).await.is_ok(),
            _ => false,
        }
    }

    async fn store_rows(&self, claim: &Claim) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let mut parts = vec![claim.ids.clone()];
        while let Some(mut ids) = parts.pop() {
            match self.store_part(claim, &ids).await {
                Ok(Outcome { failed, later }) => {
                    outcome.failed.extend(failed);
                    outcome.later.extend(later);
                }
                Err(error) if !is_of_the_rows(&error) => return Err(error),
                Err(error) if ids.len() == 1 => outcome.failed.extend(ids.pop().map(|id| (id, detail(&error)))),
                Err(_) => {
                    let second = ids.split_off(ids.len() / 2);
                    parts.extend([second, ids]);
                }
            }
        }
        Ok(outcome)
    }

    async fn finish(&self, claim: &Claim, outcome: Outcome) -> Result<(), StoreError> {
        let store = &self.app.store;
        if !outcome.failed.is_empty() {
            // What the row was before must not be found any more.
            let failed = outcome.failed.iter().map(|(id, _)| id.clone()).collect();
            store.delete_missing(claim, failed, Instant::now() + self.app.limits.ingest_timeout).await?;
        }
        store.stats().followed_failed.add(outcome.failed.len() as u64);
        store.finish_claim(claim, &outcome).await
    }

    /// Stores some of the rows of a claim.
    async fn store_part(&self, claim: &Claim, ids: &[String]) -> Result<Outcome, Error> {
        let store = &self.app.store;
        let found = store.read_claimed(claim, ids, MAX_ROW_BYTES, MAX_BATCH_BYTES).await?;
        let mut outcome = Outcome { later: found.later, ..Outcome::default() };
        for (id, bytes) in found.too_large {
            let message = format!("text and metadata must have at most {MAX_ROW_BYTES} bytes, not {bytes} bytes");
            outcome.failed.push((id, message));
        }
        if !found.missing.is_empty() {
            let deadline = Instant::now() + self.app.limits.ingest_timeout;
            let deleted = store.delete_missing(claim, found.missing, deadline).await?;
            store.stats().followed_deleted.add(deleted as u64);
        }
        let mut documents = Vec::with_capacity(found.rows.len());
        for row in found.rows {
            let id = row.id.clone();
            match document_message(row) {
                Ok(document) => documents.push(document),
                Err(error) => outcome.failed.push((id, error.to_string())),
            }
        }
        self.ingest(claim.collection(), documents, &mut outcome).await?;
        Ok(outcome)
    }

    /// Stores documents. Those that break rules go to the failed ones, one by one.
    async fn ingest(
        &self,
        collection: &Collection,
        documents: Vec<v1::Document>,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let mut batches = vec![documents];
        while let Some(mut documents) = batches.pop() {
            if documents.is_empty() {
                continue;
            }
            let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
            let again = if documents.len() > 1 { documents.clone() } else { Vec::new() };
            let request = v1::IngestRequest {
                collection: collection.definition.name.clone(),
                documents: std::mem::take(&mut documents),
                skip_invalid: true,
                ..Default::default()
            };
            let deadline = Instant::now() + self.app.limits.ingest_timeout;
            let mut held = self.budget.begin();
            held.set(request.encoded_len()).await?;
            match rpc::ingest_followed(&self.app, collection, (request, held), deadline).await {
                Ok(response) => {
                    let failed = response.errors.into_iter();
                    let failed =
                        failed.filter_map(|error| Some((ids.get(error.index as usize)?.clone(), error.message)));
                    outcome.failed.extend(failed);
                    self.app.store.stats().followed_stored.add(response.upserted_count.unsigned_abs().into());
                }
                // Documents that are too much together.
                Err(Error::Invalid(_)) if ids.len() > 1 => {
                    let mut first = again;
                    let second = first.split_off(first.len() / 2);
                    batches.extend([second, first]);
                }
                Err(Error::Invalid(violations)) => {
                    outcome.failed.extend(ids.into_iter().map(|id| (id, violations.to_string())));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether an error can be that of a row that cannot be read or stored. Others are those of the database, of the model or
/// of this server.
fn is_of_the_rows(error: &Error) -> bool {
    use StoreError::{Database, Internal, ResponseTooLarge, TimedOut};
    match error {
        Error::Store(error) => matches!(error, Database(_) | Internal(_) | ResponseTooLarge { .. } | TimedOut),
        Error::TooLarge(_) | Error::Internal(_) => true,
        _ => false,
    }
}

fn detail(error: &Error) -> String {
    match error {
        Error::Store(error) => error.detail(),
        error => error.to_string(),
    }
}
