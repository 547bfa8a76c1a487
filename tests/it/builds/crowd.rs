//! Many builds at once: few connections, and one query for all watchers.

use std::time::Instant;

use tokio::task::JoinSet;

use super::*;
use crate::telemetry::Scrape;

const BUILDS: usize = 110;
const POOL: usize = 8;
const CONCURRENCY: usize = 2;

/// The sessions of servers, without those of autovacuum and of the test.
async fn sessions(sql: &tokio_postgres::Client) -> usize {
    let row = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'pgfox'";
    sql.query_one(row, &[]).await.unwrap().get::<_, i64>(0) as usize
}

#[tokio::test]
async fn many_builds_take_turns() {
    let server = Server::start_with(18, |setup| {
        setup.pool_size = POOL;
        setup.build_concurrency = CONCURRENCY;
        setup.metrics = true;
    })
    .await;
    let client = server.client();
    let sql = server.sql().await;
    let fill = (0..BUILDS).map(|number| {
        let mut client = client.clone();
        async move {
            let name = format!("points_{number}");
            client.create_collection(vectors(&name, 3, v1::Distance::L2)).await.unwrap();
            let documents = (0..10).map(|i| vector_document(&format!("p{i}"), &[i as f32, 0.0, 1.0])).collect();
            client.ingest(v1::IngestRequest { collection: name, documents, ..Default::default() }).await.unwrap();
        }
    });
    for one in fill {
        one.await;
    }
    let hold = Hold::snapshot(&server).await;
    let begin = (0..BUILDS).map(|number| {
        let mut client = client.clone();
        let request = v1::BuildIndexRequest { collection: format!("points_{number}"), ..hnsw(0, 0) };
        async move { client.build_index(request).await.unwrap().into_inner() }
    });
    let builds = begin.collect::<JoinSet<_>>().join_all().await;

    let mut most = 0;
    let mut watch = async |sql: &tokio_postgres::Client| most = most.max(sessions(sql).await);
    // Every query of the builds takes a connection from the pool.
    let looks = async || Scrape::of(server.metrics_address.unwrap()).await.value("pgfox_pool_wait_seconds_count");
    let all = tokio::spawn(builds.into_iter().map(finish).collect::<JoinSet<_>>().join_all());
    // While the first ones are held, the others wait without a connection.
    let (looking, before) = (Instant::now(), looks().await);
    while looking.elapsed() < Duration::from_secs(4) {
        watch(&sql).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let looks = looks().await - before;
    let attempted =
        "SELECT count(*) FILTER (WHERE attempts > 0), count(*) FROM pgfox_internal.indexes WHERE state = 'building'";
    let row = sql.query_one(attempted, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (CONCURRENCY as i64, BUILDS as i64));
    // All callers together make 5 queries a second, and jobs check occasionally. If each caller made its own, there
    // would be 2,200.
    assert!((5.0..200.0).contains(&looks), "{looks} looks");

    hold.release().await;
    let mut all = all;
    let indexes = loop {
        tokio::select! {
            done = &mut all => break done.unwrap(),
            _ = watch(&sql) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let built =
        indexes.into_iter().filter(|index| index.as_ref().is_ok_and(|index| index.state() == IndexState::Ready));
    assert_eq!(built.count(), BUILDS);
    assert_eq!(in_postgres(&server).await.0.len(), BUILDS);
    // One more probes the database.
    assert!(most <= POOL + CONCURRENCY + 1, "{most} connections");
}
