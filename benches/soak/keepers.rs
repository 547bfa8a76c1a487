//! Tasks that build indexes, create and delete collections, and move an alias.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use pgfox::v1::{self, ErrorReason, index_spec};
use prost_types::FieldMask;
use rand::{RngExt as _, rngs::StdRng};
use tonic::Status;

use super::{
    calls::{Client, Outcome, timed, unary},
    documents::{DIMENSIONS, Store},
    report::Kind,
    workload::Workload,
};

/// An alias that moves between two collections.
pub(crate) const ALIAS: &str = "current";

/// Everything that was acknowledged, except documents.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Collections that certainly exist.
    pub(crate) collections: BTreeSet<String>,
    /// Collections that a call with an unknown result may have created, or created again.
    pub(crate) perhaps: BTreeSet<String>,
    /// Collections that certainly have an index.
    pub(crate) indexed: BTreeSet<Store>,
    /// Collections whose index a call with an unknown result may have dropped, or may still drop.
    pub(crate) perhaps_dropped: BTreeSet<Store>,
    /// The collection that the alias certainly names.
    pub(crate) alias: Option<Store>,
    /// Collections that the alias may name after a call with an unknown result.
    pub(crate) perhaps_moved: BTreeSet<Store>,
}

/// Shared with the checks.
pub(crate) type Keep = Mutex<Kept>;

fn with<T>(keep: &Keep, change: impl FnOnce(&mut Kept) -> T) -> T {
    change(&mut keep.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Builds an index and waits until it is ready.
async fn build(mut client: Client, store: Store, spec: v1::IndexSpec) -> Result<v1::IndexPhase, Status> {
    let request = v1::BuildIndexRequest { collection: store.name().to_owned(), spec: Some(spec), ..Default::default() };
    let mut progress = client.build_index(timed(request)).await?.into_inner();
    let mut phase = v1::IndexPhase::Unspecified;
    while let Some(message) = progress.message().await? {
        phase = message.phase();
    }
    Ok(phase)
}

/// Builds indexes and drops them, until the end.
pub(crate) async fn indexer(workload: Arc<Workload>, keep: Arc<Keep>, mut random: StdRng) -> Option<()> {
    loop {
        let store = Store::ALL[random.random_range(0..Store::ALL.len())];
        let kind = if random.random_bool(0.5) {
            index_spec::Kind::Hnsw(v1::Hnsw { m: random.random_range(8..24), ef_construction: 64 })
        } else {
            index_spec::Kind::IvfFlat(v1::IvfFlat { lists: random.random_range(1..10) })
        };
        let spec = v1::IndexSpec { kind: Some(kind), allow_few_rows: true };
        let is_dropped = random.random_bool(0.4);
        let done = workload.until_done(async |server| {
            let call = |client: Client| build(client, store, spec);
            let running = [ErrorReason::BuildRunning];
            let outcome = workload.callers.call(server, "BuildIndex", &running, call).await;
            if let Outcome::Done(phase) = &outcome {
                if *phase != v1::IndexPhase::Ready {
                    let what = format!("a build over {} ended in the phase {phase:?}", store.name());
                    workload.report.violation(Kind::Lost, what);
                }
                workload.report.count("indexes built", 1);
                with(&keep, |kept| {
                    if !kept.perhaps_dropped.contains(&store) {
                        kept.indexed.insert(store);
                    }
                });
            }
            outcome
        });
        done.await?.ok();
        if is_dropped {
            let done = workload.until_done(async |server| {
                with(&keep, |kept| kept.indexed.remove(&store));
                let request = timed(v1::DropIndexRequest { collection: store.name().to_owned(), ..Default::default() });
                let call = |mut client: Client| async move { unary(client.drop_index(request)).await };
                let none = [ErrorReason::IndexNotFound];
                let outcome = workload.callers.call(server, "DropIndex", &none, call).await;
                if matches!(outcome, Outcome::Unknown) {
                    with(&keep, |kept| kept.perhaps_dropped.insert(store));
                }
                outcome
            });
            done.await?.ok();
        }
    }
}

/// Creates collections, fills and deletes them, until the end.
pub(crate) async fn churner(workload: Arc<Workload>, keep: Arc<Keep>) -> Option<()> {
    for churn in 0_u64.. {
        let name = format!("churn_{churn}");
        let created = workload.until_done(async |server| {
            let embedding = v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() };
            let collection = v1::Collection { name: name.clone(), embedding: Some(embedding), ..Default::default() };
            let request = timed(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() });
            let call = |mut client: Client| async move { unary(client.create_collection(request)).await };
            // An earlier attempt may have done it.
            let exists = [ErrorReason::CollectionExists];
            let outcome = workload.callers.call(server, "CreateCollection", &exists, call).await;
            with(&keep, |kept| match outcome {
                Outcome::Unknown => drop(kept.perhaps.insert(name.clone())),
                Outcome::Refused(_) if !kept.perhaps.contains(&name) => {
                    workload.report.violation(Kind::Doubled, format!("{name} exists before it is created"));
                }
                _ => drop(kept.collections.insert(name.clone())),
            });
            outcome
        });
        created.await?.ok();
        // The other server must know it at once, by its own name.
        let stored = workload.until_done(async |server| {
            let request = timed(v1::IngestRequest {
                collection: name.clone(),
                documents: (0..5).map(|i| Store::Points.document(&format!("churn-{i}"), churn)).collect(),
                ..Default::default()
            });
            let call = |mut client: Client| async move { unary(client.ingest(request)).await };
            workload.callers.call(server, "Ingest", &[], call).await
        });
        stored.await?.ok();
        let deleted = workload.until_done(async |server| {
            with(&keep, |kept| {
                // From now on it may be deleted.
                kept.collections.remove(&name);
                kept.perhaps.insert(name.clone())
            });
            let request = timed(v1::DeleteCollectionRequest { name: name.clone(), ..Default::default() });
            let call = |mut client: Client| async move { unary(client.delete_collection(request)).await };
            let gone = [ErrorReason::CollectionNotFound];
            workload.callers.call(server, "DeleteCollection", &gone, call).await
        });
        deleted.await?.ok();
        workload.report.count("collections created and deleted", 1);
    }
    None
}

/// Moves the alias between two collections, until the end.
pub(crate) async fn mover(workload: Arc<Workload>, keep: Arc<Keep>) -> Option<()> {
    for move_ in 0_usize.. {
        let store = [Store::Points, Store::Texts][move_ % 2];
        let moved = workload.until_done(async |server| {
            let collection =
                v1::Collection { name: store.name().to_owned(), aliases: vec![ALIAS.to_owned()], ..Default::default() };
            let update_mask = Some(FieldMask { paths: vec!["aliases".to_owned()] });
            let request = timed(v1::UpdateCollectionRequest { collection: Some(collection), update_mask });
            let call = |mut client: Client| async move { unary(client.update_collection(request)).await };
            let outcome = workload.callers.call(server, "UpdateCollection", &[], call).await;
            with(&keep, |kept| match outcome {
                Outcome::Done(_) => kept.alias = Some(store),
                _ => drop(kept.perhaps_moved.insert(store)),
            });
            outcome
        });
        moved.await?.ok();
        // Either server finds it, wherever it is.
        for server in 0..2 {
            let turn = workload.turn().await?;
            let request = timed(v1::GetCollectionRequest { name: ALIAS.to_owned() });
            let call = |mut client: Client| async move { unary(client.get_collection(request)).await };
            let found = workload.callers.call(server, "GetCollection by alias", &[], call).await;
            let allowed: Vec<Store> =
                with(&keep, |kept| kept.alias.iter().chain(&kept.perhaps_moved).copied().collect());
            if let Outcome::Done(v1::GetCollectionResponse { collection: Some(found) }) = found
                && !allowed.iter().any(|store| store.name() == found.name)
            {
                let what = format!("the alias leads to {}, and was moved to {allowed:?}", found.name);
                workload.report.violation(Kind::Lost, what);
            }
            drop(turn);
        }
        workload.report.count("moves of an alias", 1);
    }
    None
}
