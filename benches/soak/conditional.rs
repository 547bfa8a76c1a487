//! Tasks that write under conditions. Their knowledge is exact even after calls with an unknown result.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pgfox::v1::{self, ErrorReason};
use rand::{RngExt as _, rngs::StdRng};

use super::{
    calls::{Client, Outcome, timed, unary},
    documents::Store,
    readers,
    report::Kind,
    workload::Workload,
};

/// Documents of the writer of versions.
const VERSIONED: u32 = 20;
/// Documents that several tasks count up.
pub(crate) const COUNTERS: usize = 3;

/// Stores a document if it has this version.
async fn store_if(
    workload: &Workload,
    server: usize,
    store: Store,
    id: &str,
    number: u64,
    version: i64,
) -> Outcome<v1::IngestResponse> {
    let request = timed(v1::IngestRequest {
        collection: store.name().to_owned(),
        documents: vec![store.document(id, number)],
        if_version: [(id.to_owned(), version)].into(),
        ..Default::default()
    });
    let call = |mut client: Client| async move { unary(client.ingest(request)).await };
    workload.callers.call(server, "Ingest if_version", &[ErrorReason::VersionMismatch], call).await
}

/// The writer's knowledge of a document.
#[derive(Debug, Default)]
struct Versioned {
    number: u64,
    version: i64,
    /// Numbers from calls with an unknown result. At most one of them was stored, since all had the same condition.
    perhaps: Vec<u64>,
}

/// Writes documents of its own, each on the version that it knows, until the end.
pub(crate) async fn versions(workload: Arc<Workload>, store: Store, mut random: StdRng) -> Option<()> {
    let mut documents: BTreeMap<String, Versioned> = BTreeMap::new();
    loop {
        let turn = workload.turn().await?;
        let id = format!("versioned-{}", random.random_range(0..VERSIONED));
        let document = documents.entry(id.clone()).or_default();
        let server = workload.server();
        if !document.perhaps.is_empty() {
            let Some(found) = readers::get(&workload, server, store, &id).await else { continue };
            let (number, version) = found.map_or((0, 0), |(state, version)| (state.number, version));
            if version == document.version + 1 && document.perhaps.contains(&number) {
                *document = Versioned { number, version, perhaps: Vec::new() };
                workload.ledger.settled(store, &id, number);
            } else if (number, version) != (document.number, document.version) {
                let what = format!("{id} of {} has number {number} and version {version}: {document:?}", store.name());
                workload.report.violation(Kind::Lost, what);
                *document = Versioned { number, version, perhaps: Vec::new() };
                workload.ledger.settled(store, &id, number);
            }
        }
        let number = workload.number();
        match store_if(&workload, 1 - server, store, &id, number, document.version).await {
            Outcome::Done(response) => {
                if response.upserted_count != 1 {
                    let what = format!("{id} of {} is acknowledged with {response:?}", store.name());
                    workload.report.violation(Kind::Lost, what);
                }
                *document = Versioned { number, version: document.version + 1, perhaps: Vec::new() };
                workload.ledger.settled(store, &id, number);
                workload.report.count("conditional writes acknowledged", 1);
            }
            // One of the earlier calls was carried out after all. The next turn reads which one.
            Outcome::Refused(_) if !document.perhaps.is_empty() => {}
            Outcome::Refused(_) => {
                let what = format!("{id} of {} has not the version that was acknowledged: {document:?}", store.name());
                workload.report.violation(Kind::Doubled, what);
                // Let the next turn read it.
                document.perhaps.push(number);
            }
            Outcome::Unknown => {
                document.perhaps.push(number);
                workload.ledger.perhaps_stored(store, &id, number);
            }
        }
        drop(turn);
    }
}

/// Documents that several tasks count up, each on the version that it has read.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    acknowledged: [AtomicU64; COUNTERS],
    unknown: [AtomicU64; COUNTERS],
}

impl Counters {
    pub(crate) fn id(counter: usize) -> String {
        format!("counter-{counter}")
    }

    /// Reports what is wrong with the number of a counter.
    pub(crate) fn check(&self, counter: usize, number: u64, version: i64) -> Option<(Kind, String)> {
        let acknowledged = self.acknowledged[counter].load(Ordering::SeqCst);
        let most = acknowledged + self.unknown[counter].load(Ordering::SeqCst);
        let reported = || format!("{acknowledged} to {most} increments, number {number}, version {version}");
        if number < acknowledged {
            return Some((Kind::Lost, format!("counter {counter} lost some of them: {}", reported())));
        }
        let is_right = number <= most && u64::try_from(version) == Ok(number);
        (!is_right).then(|| (Kind::Doubled, format!("counter {counter} was counted up twice: {}", reported())))
    }
}

/// Counts up, until the end.
pub(crate) async fn count(workload: Arc<Workload>, counters: Arc<Counters>, mut random: StdRng) -> Option<()> {
    loop {
        let turn = workload.turn().await?;
        let counter = random.random_range(0..COUNTERS);
        let id = Counters::id(counter);
        let server = workload.server();
        let Some(found) = readers::get(&workload, server, Store::Points, &id).await else { continue };
        let (number, version) = found.map_or((0, 0), |(state, version)| (state.number, version));
        match store_if(&workload, 1 - server, Store::Points, &id, number + 1, version).await {
            Outcome::Done(_) => counters.acknowledged[counter].fetch_add(1, Ordering::SeqCst),
            Outcome::Refused(_) => 0,
            Outcome::Unknown => counters.unknown[counter].fetch_add(1, Ordering::SeqCst),
        };
        drop(turn);
    }
}

/// Stores the same new document at both servers at once, with different numbers: one of them wins.
pub(crate) async fn race(workload: Arc<Workload>) -> Option<()> {
    let store = Store::Texts;
    for race in 0_u64.. {
        let turn = workload.turn().await?;
        let id = format!("race-{race}");
        let numbers = [workload.number(), workload.number()];
        let insert = async |server: usize| {
            let request = timed(v1::IngestRequest {
                collection: store.name().to_owned(),
                documents: vec![store.document(&id, numbers[server])],
                only_if_absent: true,
                ..Default::default()
            });
            let call = |mut client: Client| async move { unary(client.ingest(request)).await };
            match workload.callers.call(server, "Ingest only_if_absent", &[], call).await {
                Outcome::Done(response) => Some(response.upserted_count == 1),
                _ => None,
            }
        };
        match tokio::join!(insert(0), insert(1)) {
            (Some(true), Some(true)) => {
                workload.report.violation(Kind::Doubled, format!("{id} was stored by both, which only one could"));
            }
            (Some(false), Some(false)) => {
                workload.report.violation(Kind::Lost, format!("{id} was stored by none, as if it had been there"));
            }
            // If one says that it already existed, the other one has stored it.
            (Some(true), _) | (_, Some(false)) => workload.ledger.stored(store, &id, numbers[0]),
            (_, Some(true)) | (Some(false), _) => workload.ledger.stored(store, &id, numbers[1]),
            (None, None) => {
                for number in numbers {
                    workload.ledger.perhaps_stored(store, &id, number);
                }
            }
        }
        workload.report.count("races", 1);
        drop(turn);
        // Each race leaves a document.
        tokio::time::sleep(super::calls::DEADLINE / 4).await;
    }
    None
}
