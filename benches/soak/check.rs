//! Compares what is stored with what was acknowledged, while nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use pgfox::v1;

use super::{
    calls::{Client, DEADLINE, Outcome, timed, unary},
    conditional::{COUNTERS, Counters},
    documents::{self, Store},
    keepers::{ALIAS, Keep},
    readers,
    report::Kind,
    workload::Workload,
    world::World,
};

/// The time after which every abandoned call has ended, wherever it was.
const SETTLED: Duration = Duration::from_secs(DEADLINE.as_secs() + 3);
/// Maximum time for servers to finish or take over running index builds.
const BUILDS_END: Duration = Duration::from_secs(40);

/// Everything that the servers have acknowledged to the tasks of the workload.
pub(crate) struct Acknowledged<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) counters: &'a Counters,
    pub(crate) keep: &'a Keep,
}

/// Compares everything. No fault may be active, and nobody may call.
pub(crate) async fn check(world: &World, reported: &Acknowledged<'_>) -> anyhow::Result<()> {
    let report = &world.report;
    tokio::time::sleep(SETTLED).await;
    let sql = world.postgres.connect().await?;
    report.say(format_args!("checking {} documents", reported.workload.ledger.len()));
    for (position, store) in Store::ALL.into_iter().enumerate() {
        rows(world, &sql, store).await?;
        let mut listed = BTreeMap::new();
        let listing = readers::list(reported.workload, position % 2, store).await.context("nothing is wrong now")?;
        for (id, (state, version)) in listing {
            if id.starts_with("probe-") {
                continue;
            }
            if let Some(counter) = (0..COUNTERS).find(|counter| Counters::id(*counter) == id) {
                if let Some((kind, what)) = reported.counters.check(counter, state.number, version) {
                    report.violation(kind, what);
                }
                continue;
            }
            listed.insert(id, state);
        }
        for difference in reported.workload.ledger.compare(store, listed) {
            report.violation(Kind::Lost, difference);
        }
    }
    builds(world, &sql, reported).await?;
    collections(world, &sql, reported).await
}

/// Every row of the view is complete, and appears as often as it must.
async fn rows(world: &World, sql: &tokio_postgres::Client, store: Store) -> anyhow::Result<()> {
    let report = &world.report;
    let name = store.name();
    let rows = format!(
        "SELECT id, content, (metadata ->> 'number')::bigint, embedding::vector::real[], count(*) OVER (PARTITION BY id, chunk)
         FROM pgfox.{name}"
    );
    let mut chunks: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let rows = sql.query(&rows, &[]).await?;
    for row in &rows {
        let (id, content): (String, String) = (row.get(0), row.get(1));
        let (number, vector): (i64, Vec<f32>) = (row.get(2), row.get(3));
        if row.get::<_, i64>(4) > 1 {
            report.violation(Kind::Doubled, format!("a row of {id} in {name} is there {} times", row.get::<_, i64>(4)));
        }
        let is_whole = content.contains(&format!(" {id} holds number {number} "))
            && documents::is_near(&vector, &documents::vector(&id, number.cast_unsigned()));
        if !is_whole {
            let what = format!("a row of {id} in {name} has the number {number}, {content:?} and {vector:?}");
            report.violation(Kind::Torn, what);
        }
        chunks.entry(id).or_insert((number.cast_unsigned(), 0)).1 += 1;
    }
    for (id, (number, count)) in &chunks {
        let expected = store.text(id, *number).matches("Document ").count() as u64;
        if *count != expected {
            let kind = if *count < expected { Kind::Lost } else { Kind::Doubled };
            report.violation(kind, format!("{id} of {name} has {count} chunks of {expected}"));
        }
    }
    // The view joins, so anything that it leaves out is a leftover.
    let id: i64 = sql.query_one("SELECT id FROM pgfox_internal.collections WHERE name = $1", &[&name]).await?.get(0);
    let space: i64 = sql
        .query_one("SELECT id FROM pgfox_internal.embedding_spaces WHERE collection_id = $1 AND active", &[&id])
        .await?
        .get(0);
    let expected = [
        (format!("documents_{id}"), chunks.len()),
        (format!("chunks_{id}"), rows.len()),
        (format!("embeddings_{id}_{space}"), rows.len()),
    ];
    for (table, expected) in expected {
        let count: i64 = sql.query_one(&format!("SELECT count(*) FROM pgfox_internal.{table}"), &[]).await?.get(0);
        if count != expected as i64 {
            report.violation(Kind::Torn, format!("{table} of {name} has {count} rows, and the view {expected}"));
        }
    }
    Ok(())
}

/// Builds end, leave nothing invalid, and indexes that were acknowledged are there.
async fn builds(world: &World, sql: &tokio_postgres::Client, reported: &Acknowledged<'_>) -> anyhow::Result<()> {
    let unfinished = "SELECT (SELECT count(*) FROM pgfox_internal.indexes WHERE state = 'building')
        + (SELECT count(*) FROM pgfox_internal.metadata_index_jobs)
        + (SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
           WHERE NOT indisvalid AND relnamespace = 'pgfox_internal'::regnamespace)";
    let began = Instant::now();
    loop {
        let left: i64 = sql.query_one(unfinished, &[]).await?.get(0);
        if left == 0 {
            world.report.worst("until index builds end", began.elapsed(), "a check");
            break;
        }
        if began.elapsed() > BUILDS_END {
            world
                .report
                .violation(Kind::Service, format!("{left} builds or invalid indexes are left after {BUILDS_END:?}"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let indexed = "SELECT count(*) FROM pgfox_internal.indexes JOIN pgfox_internal.embedding_spaces ON space_id = embedding_spaces.id
        JOIN pgfox_internal.collections ON collection_id = collections.id WHERE collections.name = $1 AND state = 'ready'";
    let expected = reported.keep.lock().map(|keep| keep.indexed.clone()).unwrap_or_default();
    let mut found = BTreeSet::new();
    for store in Store::ALL {
        if sql.query_one(indexed, &[&store.name()]).await?.get::<_, i64>(0) == 1 {
            found.insert(store);
        } else if expected.contains(&store) {
            world.report.violation(Kind::Lost, format!("the index of {} is gone", store.name()));
        }
    }
    if let Ok(mut keep) = reported.keep.lock() {
        keep.indexed = found;
        keep.perhaps_dropped.clear();
    }
    Ok(())
}

/// Both servers have the acknowledged collections and alias, and no table of another collection is left.
async fn collections(world: &World, sql: &tokio_postgres::Client, reported: &Acknowledged<'_>) -> anyhow::Result<()> {
    let report = &world.report;
    for server in 0..2 {
        let request = timed(v1::ListCollectionsRequest { page_size: 1000, ..Default::default() });
        let call = |mut client: Client| async move { unary(client.list_collections(request)).await };
        let listed = reported.workload.callers.call(server, "ListCollections", &[], call).await;
        let Outcome::Done(listed) = listed else { anyhow::bail!("nothing is wrong now") };
        let Ok(mut keep) = reported.keep.lock() else { continue };
        let base: BTreeSet<String> = Store::ALL.map(|store| store.name().to_owned()).into();
        let found: BTreeSet<String> = listed.collections.iter().map(|collection| collection.name.clone()).collect();
        for lost in base.union(&keep.collections).filter(|name| !found.contains(*name)) {
            report.violation(Kind::Lost, format!("the collection {lost} is gone from server {}", server + 1));
        }
        let known = |name: &&String| {
            !base.contains(*name) && !keep.collections.contains(*name) && !keep.perhaps.contains(*name)
        };
        for stranger in found.iter().filter(known) {
            report.violation(Kind::Doubled, format!("the collection {stranger} is there though it was deleted"));
        }
        let alias = listed.collections.iter().find(|collection| collection.aliases.iter().any(|alias| alias == ALIAS));
        let alias = alias.and_then(|found| Store::ALL.into_iter().find(|store| store.name() == found.name));
        let is_allowed = alias == keep.alias || alias.is_some_and(|alias| keep.perhaps_moved.contains(&alias));
        if !is_allowed {
            let what = format!("the alias leads to {alias:?}: {:?}, {:?}", keep.alias, keep.perhaps_moved);
            report.violation(Kind::Lost, what);
        }
        keep.perhaps.retain(|name| found.contains(name));
        if server == 1 {
            keep.alias = alias;
            keep.perhaps_moved.clear();
        }
    }
    let leftovers = "SELECT coalesce(string_agg(relname, ', '), '') FROM pg_class
        WHERE relnamespace = 'pgfox_internal'::regnamespace AND relkind = 'r'
          AND relname ~ '^(documents|chunks|embeddings)_[0-9]+'
          AND NOT EXISTS (SELECT FROM pgfox_internal.collections WHERE id = substring(relname from '[0-9]+')::bigint)";
    let leftovers: String = sql.query_one(leftovers, &[]).await?.get(0);
    if !leftovers.is_empty() {
        report.violation(Kind::Doubled, format!("tables of no collection are left: {leftovers}"));
    }
    Ok(())
}
