//! Building vector indexes: parameters, progress, attaching, replacing, refusals.
//!
//! The modules below interrupt builds. A build of few rows ends at once; [`Hold`] makes one last.

mod crowd;
mod cut;
mod interrupted;
mod published;
mod role_settings;
mod stopped;

use std::time::Duration;

use pgfox::v1::{self, IndexPhase, IndexState, index_spec::Kind, search_request::Query};
use rstest::rstest;
use tonic::{Code, Status, Streaming};

use crate::support::{Client, Server, Setup, eventually, reason, vector_document, vectors};

const ROWS: i32 = 300;

/// A collection `points` with [`ROWS`] vectors on a line.
async fn fill(client: &mut Client) {
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(client, 0..ROWS).await;
}

async fn ingest(client: &mut Client, range: std::ops::Range<i32>) {
    let documents = range.map(|i| vector_document(&format!("p{i}"), &[i as f32, 0.0, 1.0])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    client.ingest(request).await.unwrap();
}

fn hnsw(m: i32, ef_construction: i32) -> v1::BuildIndexRequest {
    request(Kind::Hnsw(v1::Hnsw { m, ef_construction }))
}

fn ivf_flat(lists: i32) -> v1::BuildIndexRequest {
    request(Kind::IvfFlat(v1::IvfFlat { lists }))
}

fn request(kind: Kind) -> v1::BuildIndexRequest {
    let spec = v1::IndexSpec { kind: Some(kind), allow_few_rows: false };
    v1::BuildIndexRequest { collection: "points".into(), spec: Some(spec), rebuild: false }
}

/// Reads the progress of a build to its end, and checks what is true for every build.
async fn finish(mut progress: Streaming<v1::BuildIndexResponse>) -> Result<v1::Index, Status> {
    let (mut fraction, mut elapsed) = (0.0, Duration::ZERO);
    let mut last: Option<v1::BuildIndexResponse> = None;
    while let Some(message) = progress.message().await? {
        assert_ne!(last.map(|last| last.phase()), Some(IndexPhase::Ready), "READY is the last message");
        assert_ne!(message.phase(), IndexPhase::Unspecified);
        assert!((fraction..=1.0).contains(&message.fraction_done), "{fraction} then {}", message.fraction_done);
        fraction = message.fraction_done;
        let now = Duration::try_from(message.elapsed.expect("elapsed")).unwrap();
        assert!(now >= elapsed);
        elapsed = now;
        last = Some(message);
    }
    let last = last.expect("progress");
    assert_eq!((last.phase(), last.fraction_done), (IndexPhase::Ready, 1.0));
    let index = last.index.expect("an index");
    assert_eq!(index.state(), IndexState::Ready);
    assert!(index.size_bytes > 0);
    Ok(index)
}

async fn build(client: &mut Client, request: v1::BuildIndexRequest) -> Result<v1::Index, Status> {
    finish(client.build_index(request).await?.into_inner()).await
}

async fn list(client: &mut Client) -> Vec<v1::Index> {
    let request = v1::ListIndexesRequest { collection: "points".into() };
    client.list_indexes(request).await.unwrap().into_inner().indexes
}

/// The names and the validity of Postgres' vector indexes, and their number in the registry.
async fn in_postgres(server: &Server) -> (Vec<(String, bool)>, i64) {
    let sql = server.sql().await;
    let indexes = "SELECT c.relname, x.indisvalid FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                   JOIN pg_am a ON a.oid = c.relam WHERE a.amname IN ('hnsw', 'ivfflat') ORDER BY 1";
    let indexes = sql.query(indexes, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let jobs = "SELECT count(*) FROM pgfox_internal.indexes WHERE state = 'building'";
    (indexes, sql.query_one(jobs, &[]).await.unwrap().get(0))
}

/// Checks that the database has exactly this index.
async fn assert_only(server: &Server, index: &v1::Index) {
    assert_eq!(in_postgres(server).await, (vec![(index.name.clone(), true)], 0));
    assert_eq!(list(&mut server.client()).await[0].name, index.name);
}

async fn search(client: &mut Client, x: f32, limit: i32) -> (Vec<String>, v1::Completeness) {
    let request = v1::SearchRequest {
        collection: "points".into(),
        query: Some(Query::Vector(v1::Vector { values: vec![x, 0.0, 1.0] })),
        limit,
        ..Default::default()
    };
    let response = client.search(request).await.unwrap().into_inner();
    let completeness = response.completeness();
    (response.results.into_iter().map(|result| result.document.unwrap().id).collect(), completeness)
}

/// A session that keeps builds from ending until it is dropped.
struct Hold {
    client: tokio_postgres::Client,
}

impl Hold {
    /// Like an open transaction that writes to the table: a build waits before it begins.
    async fn writers(server: &Server) -> Self {
        let table = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                     WHERE schemaname = 'pgfox_internal' AND tablename LIKE 'embeddings\\_%'";
        let client = server.sql().await;
        let table: String = client.query_one(table, &[]).await.unwrap().get(0);
        client.batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE")).await.unwrap();
        Self { client }
    }

    /// Like a long report: a build waits before it is complete. The build can still be undone.
    async fn snapshot(server: &Server) -> Self {
        let client = server.sql().await;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
        Self { client }
    }

    async fn release(self) {
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

/// Waits until Postgres waits for a [`Hold`], and reads until the progress shows that. Returns the index.
async fn until_waiting(server: &Server, progress: &mut Streaming<v1::BuildIndexResponse>) -> v1::Index {
    let sql = server.sql().await;
    let waits = "SELECT count(*) FROM pg_stat_progress_create_index
                 WHERE datname = current_database() AND phase LIKE 'waiting for%'";
    eventually("the build waits", async || sql.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    loop {
        let message = progress.message().await.unwrap().expect("a build that lasts");
        if message.phase() == IndexPhase::Waiting {
            return message.index.expect("an index");
        }
    }
}

#[rstest]
#[tokio::test]
async fn parameters_reach_postgres(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let expected = [
        (hnsw(0, 0), Kind::Hnsw(v1::Hnsw { m: 16, ef_construction: 64 }), "m=16,ef_construction=64"),
        (hnsw(40, 0), Kind::Hnsw(v1::Hnsw { m: 40, ef_construction: 80 }), "m=40,ef_construction=80"),
        (hnsw(8, 32), Kind::Hnsw(v1::Hnsw { m: 8, ef_construction: 32 }), "m=8,ef_construction=32"),
        (ivf_flat(5), Kind::IvfFlat(v1::IvfFlat { lists: 5 }), "lists=5"),
        (ivf_flat(0), Kind::IvfFlat(v1::IvfFlat { lists: 1 }), "lists=1"),
    ];
    let sql = server.sql().await;
    for (request, kind, options) in expected {
        let index = build(&mut client, request).await.unwrap();
        assert_eq!(index.spec.as_ref().unwrap().kind, Some(kind));
        let stored = "SELECT array_to_string(reloptions, ',') FROM pg_class WHERE relname = $1";
        assert_eq!(sql.query_one(stored, &[&index.name]).await.unwrap().get::<_, String>(0), options);
        // The previous one is gone.
        assert_only(&server, &index).await;
        let (ids, completeness) = search(&mut client, 41.2, 3).await;
        assert_eq!(
            (ids, completeness),
            (["p41", "p42", "p40"].map(String::from).to_vec(), v1::Completeness::Approximate)
        );
    }
    let default = v1::BuildIndexRequest { collection: "points".into(), ..Default::default() };
    let index = build(&mut client, default).await.unwrap();
    assert_eq!(index.spec.unwrap().kind, Some(Kind::Hnsw(v1::Hnsw { m: 16, ef_construction: 64 })));
}

#[rstest]
#[tokio::test]
async fn the_same_again_is_ready_at_once_and_rebuild_replaces(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let first = build(&mut client, ivf_flat(2)).await.unwrap();
    let again = build(&mut client, ivf_flat(2)).await.unwrap();
    assert_eq!(first.name, again.name);
    let rebuilt = build(&mut client, v1::BuildIndexRequest { rebuild: true, ..ivf_flat(2) }).await.unwrap();
    assert_ne!(first.name, rebuilt.name);
    assert_only(&server, &rebuilt).await;
}

#[rstest]
#[tokio::test]
async fn a_build_reports_progress_and_survives_its_caller(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let hold = Hold::writers(&server).await;

    let mut first = client.build_index(hnsw(8, 0)).await.unwrap().into_inner();
    let index = until_waiting(&server, &mut first).await;
    // The stream sends a message every second even if nothing happens.
    let mut reported = Vec::new();
    for _ in 0..4 {
        let message = first.message().await.unwrap().expect("a build that lasts");
        reported.push(Duration::try_from(message.elapsed.unwrap()).unwrap());
    }
    assert!(reported[3] - reported[0] > Duration::from_secs(2), "{reported:?}");

    let mut second = client.build_index(hnsw(8, 0)).await.unwrap().into_inner();
    let message = second.message().await.unwrap().unwrap();
    assert_eq!(message.index.unwrap().name, index.name);
    let elapsed = Duration::try_from(message.elapsed.unwrap()).unwrap();
    assert!(elapsed >= reported[3], "the time of the build, not of the call: {elapsed:?}");
    drop(first);

    for other in [hnsw(9, 0), ivf_flat(2)] {
        let status = client.build_index(other).await.expect_err("another build");
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::FailedPrecondition, "BUILD_RUNNING"));
    }
    let listed = list(&mut client).await;
    assert_eq!((listed.len(), listed[0].state(), &listed[0].name), (1, IndexState::Building, &index.name));

    ingest(&mut client, ROWS..ROWS + 10).await;
    assert_eq!(search(&mut client, 305.2, 1).await, (vec!["p305".into()], v1::Completeness::Exact));
    hold.release().await;
    let index = finish(second).await.unwrap();
    assert_only(&server, &index).await;
    assert_eq!(search(&mut client, 305.2, 1).await, (vec!["p305".into()], v1::Completeness::Approximate));
}

#[rstest]
#[tokio::test]
async fn two_servers_build_one_index(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let (mut one, mut two) = (server.client(), other.client());
    fill(&mut one).await;
    let (one, two) = tokio::join!(build(&mut one, hnsw(0, 0)), build(&mut two, hnsw(0, 0)));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.name, two.name);
    assert_only(&server, &one).await;
    // A server that did not build the index learns of it with its next search.
    search(&mut other.client(), 7.1, 1).await;
    assert_eq!(search(&mut other.client(), 7.1, 1).await, (vec!["p7".into()], v1::Completeness::Approximate));
}

#[rstest]
#[tokio::test]
async fn what_cannot_be_built_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;

    let status = build(&mut client, ivf_flat(7)).await.expect_err("too few rows");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::FailedPrecondition, "TOO_FEW_ROWS"));
    let mut few = ivf_flat(7);
    few.spec.as_mut().unwrap().allow_few_rows = true;
    build(&mut client, few).await.unwrap();

    for (request, fields) in [
        (hnsw(1, 0), vec!["spec.hnsw.m"]),
        (hnsw(101, 0), vec!["spec.hnsw.m"]),
        (hnsw(-1, 3), vec!["spec.hnsw.m", "spec.hnsw.ef_construction"]),
        (hnsw(0, 31), vec!["spec.hnsw.ef_construction"]),
        (hnsw(0, 1_001), vec!["spec.hnsw.ef_construction"]),
        (ivf_flat(-1), vec!["spec.ivf_flat.lists"]),
        (ivf_flat(32_769), vec!["spec.ivf_flat.lists"]),
    ] {
        let status = build(&mut client, request).await.expect_err("out of range");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason(&status), ("INVALID_FIELD".into(), fields.into_iter().map(String::from).collect()));
    }

    client.create_collection(vectors("taxi", 3, v1::Distance::L1)).await.unwrap();
    let mut wide = vectors("wide", 2_001, v1::Distance::L2);
    wide.collection.as_mut().unwrap().vector_type = v1::VectorType::Vector.into();
    client.create_collection(wide).await.unwrap();
    client.create_collection(vectors("half", 4_001, v1::Distance::L2)).await.unwrap();
    let mut taxi = v1::BuildIndexRequest { collection: "taxi".into(), ..ivf_flat(1) };
    taxi.spec.as_mut().unwrap().allow_few_rows = true;
    let wide = v1::BuildIndexRequest { collection: "wide".into(), ..Default::default() };
    let half = v1::BuildIndexRequest { collection: "half".into(), ..Default::default() };
    for request in [taxi, wide, half] {
        let status = build(&mut client, request).await.expect_err("unsupported");
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::FailedPrecondition, "INDEX_UNSUPPORTED"));
    }
    let taxi = v1::BuildIndexRequest { collection: "taxi".into(), ..Default::default() };
    build(&mut client, taxi).await.expect("HNSW has L1");

    let none = v1::BuildIndexRequest { collection: "none".into(), ..Default::default() };
    let status = build(&mut client, none).await.expect_err("no collection");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::NotFound, "COLLECTION_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn scans_are_counted(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    // Enough rows that Postgres prefers the index.
    for thousand in 0..3 {
        ingest(&mut client, thousand * 1_000..(thousand + 1) * 1_000).await;
    }
    let index = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert!(index.create_time.is_some());
    // Postgres gathers its statistics every second or so.
    eventually("a scan is counted", async || {
        search(&mut client, 1.0, 3).await;
        list(&mut client).await[0].scan_count > 0
    })
    .await;
}
