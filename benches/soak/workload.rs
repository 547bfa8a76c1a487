//! Tasks that write like clients: each retries what was not acknowledged, at either server.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgfox::v1::{self, ErrorReason};
use prost_types::value::Kind as Json;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio_util::sync::CancellationToken;

use super::{
    calls::{Callers, Client, Outcome, timed, unary},
    documents::{Store, in_group, object},
    ledger::Ledger,
    readers,
    report::{Kind, Report},
};

/// The pause between two calls of a task.
const PACE: Duration = Duration::from_millis(25);
/// The pause before a call is repeated.
const RETRY: Duration = Duration::from_millis(100);
/// The number of groups of documents of a writer, and of documents of a group.
const GROUPS: u32 = 5;
const GROUP_SIZE: u32 = 20;

/// The state that all tasks share.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) callers: Callers,
    pub(crate) ledger: Ledger,
    pub(crate) report: Arc<Report>,
    pub(crate) stopping: CancellationToken,
    /// Locked for writing while no call is allowed.
    pub(crate) gate: RwLock<()>,
    numbers: AtomicU64,
    servers: AtomicUsize,
}

impl Workload {
    pub(crate) fn new(callers: Callers, report: Arc<Report>) -> Self {
        Self {
            callers,
            ledger: Ledger::default(),
            report,
            stopping: CancellationToken::new(),
            gate: RwLock::default(),
            numbers: AtomicU64::new(1),
            servers: AtomicUsize::new(0),
        }
    }

    /// A number that no document had before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes one server, then the other.
    pub(crate) fn server(&self) -> usize {
        self.servers.fetch_add(1, Ordering::Relaxed) % 2
    }

    /// Permission for one call. `None` at the end.
    pub(crate) async fn turn(&self) -> Option<RwLockReadGuard<'_, ()>> {
        tokio::time::sleep(PACE).await;
        let turn = self.gate.read().await;
        (!self.stopping.is_cancelled()).then_some(turn)
    }

    /// Retries a call, at either server, until it is done or refused. `None` at the end.
    pub(crate) async fn until_done<T>(
        &self,
        mut call: impl AsyncFnMut(usize) -> Outcome<T>,
    ) -> Option<Result<T, ErrorReason>> {
        loop {
            let turn = self.turn().await?;
            match call(self.server()).await {
                Outcome::Done(answer) => return Some(Ok(answer)),
                Outcome::Refused(reason) => return Some(Err(reason)),
                Outcome::Unknown => {}
            }
            drop(turn);
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The random numbers of a task.
pub(crate) fn random(seed: u64, task: &str) -> StdRng {
    let task = task.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    StdRng::seed_from_u64(task)
}

/// Writes its own documents without conditions.
#[derive(Debug)]
pub(crate) struct Writer {
    workload: Arc<Workload>,
    store: Store,
    name: String,
    random: StdRng,
}

impl Writer {
    pub(crate) fn new(workload: Arc<Workload>, store: Store, number: u32, seed: u64) -> Self {
        let name = format!("writer{number}");
        let random = random(seed, &format!("{name} {}", store.name()));
        Self { workload, store, name, random }
    }

    /// Runs until the end.
    pub(crate) async fn run(mut self) -> Option<()> {
        loop {
            match self.random.random_range(0..100) {
                0..50 => self.ingest().await?,
                50..65 => self.stream().await?,
                65..75 => self.delete().await?,
                75..85 => self.mark().await?,
                _ => self.look().await?,
            }
        }
    }

    fn group(&mut self) -> String {
        format!("{}.{}", self.name, self.random.random_range(0..GROUPS))
    }

    fn ids(&mut self, most: u32) -> BTreeSet<String> {
        let count = self.random.random_range(1..=most);
        (0..count).map(|_| format!("{}-{}", self.group(), self.random.random_range(0..GROUP_SIZE))).collect()
    }

    fn request(&self, ids: &BTreeSet<String>, number: u64, sequence: i64) -> v1::IngestRequest {
        let documents = ids.iter().map(|id| self.store.document(id, number)).collect();
        v1::IngestRequest { collection: self.store.name().to_owned(), documents, sequence, ..Default::default() }
    }

    fn acknowledged(&self, ids: &BTreeSet<String>, number: u64, response: &v1::IngestResponse) {
        let reported = response.upserted_count + response.unchanged_count;
        if reported != ids.len() as i32 || !response.errors.is_empty() {
            let what =
                format!("{} documents were sent to {}, and the answer is {response:?}", ids.len(), self.store.name());
            self.workload.report.violation(Kind::Lost, what);
        }
        for id in ids {
            self.workload.ledger.stored(self.store, id, number);
        }
        self.workload.report.count("documents acknowledged", ids.len() as u64);
    }

    fn unknown(&self, ids: &BTreeSet<String>, number: u64) {
        for id in ids {
            self.workload.ledger.perhaps_stored(self.store, id, number);
        }
        self.workload.report.count("documents of unknown fate", ids.len() as u64);
    }

    async fn ingest(&mut self) -> Option<()> {
        let (ids, number) = (self.ids(20), self.workload.number());
        let workload = Arc::clone(&self.workload);
        let response = workload.until_done(async |server| {
            let request = timed(self.request(&ids, number, 0));
            let call = |mut client: Client| async move { unary(client.ingest(request)).await };
            let outcome = workload.callers.call(server, "Ingest", &[], call).await;
            match &outcome {
                Outcome::Done(response) => self.acknowledged(&ids, number, response),
                _ => self.unknown(&ids, number),
            }
            outcome
        });
        response.await?.ok().map(drop)?;
        Some(())
    }

    /// Several requests in a stream. If it breaks, another stream sends the requests that were not acknowledged.
    async fn stream(&mut self) -> Option<()> {
        let count = self.random.random_range(2..6);
        let mut left: Vec<(BTreeSet<String>, u64)> = Vec::new();
        let mut taken = BTreeSet::new();
        for _ in 0..count {
            // Each document once, so that a request that is sent again replaces no later version.
            let mut ids = self.ids(20);
            ids.retain(|id| taken.insert(id.clone()));
            if !ids.is_empty() {
                left.push((ids, self.workload.number()));
            }
        }
        let workload = Arc::clone(&self.workload);
        while !left.is_empty() {
            let turn = workload.turn().await?;
            let requests: Vec<_> =
                (0_i64..).zip(&left).map(|(at, (ids, number))| self.request(ids, *number, at)).collect();
            let server = workload.server();
            let (sender, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
            let call = |mut client: Client| async move {
                let mut responses = client.ingest_stream(timed(tokio_stream::iter(requests))).await?.into_inner();
                while let Some(response) = responses.message().await? {
                    let _ = sender.send(response);
                }
                Ok(())
            };
            let outcome = workload.callers.call(server, "IngestStream", &[], call).await;
            let mut sequence = 0;
            while let Ok(response) = acknowledged.try_recv() {
                let Some((ids, number)) = left.get(sequence) else { break };
                if response.sequence != sequence as i64 {
                    let what = format!("request {sequence} of a stream was acknowledged as {}", response.sequence);
                    workload.report.violation(Kind::Lost, what);
                }
                self.acknowledged(ids, *number, &response);
                sequence += 1;
            }
            left.drain(..sequence);
            if matches!(outcome, Outcome::Done(())) && !left.is_empty() {
                let what = format!("a stream ended well, and {} of its requests were not acknowledged", left.len());
                workload.report.violation(Kind::Lost, what);
            }
            left.iter().for_each(|(ids, number)| self.unknown(ids, *number));
            drop(turn);
            if !left.is_empty() {
                tokio::time::sleep(RETRY).await;
            }
        }
        Some(())
    }

    /// Some documents or a whole group, by ids or by a filter.
    fn some(&mut self, most: u32) -> (BTreeSet<String>, Vec<String>, Option<v1::Filter>) {
        if self.random.random_bool(0.3) {
            let group = self.group();
            let ids = (0..GROUP_SIZE).map(|i| format!("{group}-{i}")).collect();
            return (ids, Vec::new(), Some(in_group(&group)));
        }
        let ids = self.ids(most);
        let listed = ids.iter().cloned().collect();
        (ids, listed, None)
    }

    /// How many of these exist, if that is certain.
    fn existing(&self, ids: &BTreeSet<String>) -> Option<i64> {
        // A document that was never written certainly does not exist.
        let exists = |id: &String| Some(i64::from(self.workload.ledger.certain(self.store, id)?.is_some()));
        ids.iter().map(exists).sum()
    }

    fn counted(&self, what: &str, expected: Option<i64>, reported: i64) {
        if expected.is_some_and(|expected| expected != reported) {
            let what = format!("{what} in {}: {reported} documents, where {expected:?} exist", self.store.name());
            self.workload.report.violation(Kind::Lost, what);
        }
    }

    async fn delete(&mut self) -> Option<()> {
        let (ids, listed, filter) = self.some(5);
        let workload = Arc::clone(&self.workload);
        let deleted = workload.until_done(async |server| {
            let expected = self.existing(&ids);
            let request = timed(v1::DeleteDocumentsRequest {
                collection: self.store.name().to_owned(),
                ids: listed.clone(),
                filter: filter.clone(),
                ..Default::default()
            });
            let call = |mut client: Client| async move { unary(client.delete_documents(request)).await };
            let outcome = workload.callers.call(server, "DeleteDocuments", &[], call).await;
            for id in &ids {
                match &outcome {
                    Outcome::Done(_) => workload.ledger.deleted(self.store, id),
                    _ => workload.ledger.perhaps_deleted(self.store, id),
                }
            }
            if let Outcome::Done(response) = &outcome {
                self.counted("deleted", expected, response.deleted_count);
            }
            outcome
        });
        deleted.await?.ok().map(drop)?;
        Some(())
    }

    async fn mark(&mut self) -> Option<()> {
        let ((ids, listed, filter), mark) = (self.some(5), self.workload.number());
        let workload = Arc::clone(&self.workload);
        let marked = workload.until_done(async |server| {
            let expected = self.existing(&ids);
            let request = timed(v1::UpdateMetadataRequest {
                collection: self.store.name().to_owned(),
                ids: listed.clone(),
                filter: filter.clone(),
                metadata: Some(object([("mark", Json::NumberValue(mark as f64))])),
                ..Default::default()
            });
            let call = |mut client: Client| async move { unary(client.update_metadata(request)).await };
            let outcome = workload.callers.call(server, "UpdateMetadata", &[], call).await;
            for id in &ids {
                match &outcome {
                    Outcome::Done(_) => workload.ledger.marked(self.store, id, mark),
                    _ => workload.ledger.perhaps_marked(self.store, id, mark),
                }
            }
            if let Outcome::Done(response) = &outcome {
                self.counted("marked", expected, response.matched_count);
            }
            outcome
        });
        marked.await?.ok().map(drop)?;
        Some(())
    }

    /// Acknowledged documents exist at either server, and an exact search finds each first.
    async fn look(&mut self) -> Option<()> {
        let ids = self.ids(1);
        let id = ids.first()?.clone();
        let Some(known) = self.workload.ledger.certain(self.store, &id) else { return Some(()) };
        let turn = self.workload.turn().await?;
        let server = self.workload.server();
        let found = readers::get(&self.workload, server, self.store, &id).await;
        if let Some(found) = found {
            let found = found.map(|(state, _)| state);
            if found != known {
                let what = format!("{id} of {} is {found:?}, and was acknowledged as {known:?}", self.store.name());
                self.workload.report.violation(Kind::Lost, what);
            }
        }
        if let Some(known) = known {
            readers::find(&self.workload, 1 - server, self.store, &id, known.number).await;
        }
        drop(turn);
        Some(())
    }
}
