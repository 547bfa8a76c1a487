//! Changes of metadata indexes that meet, outlive their callers, or fail.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::*;
use crate::{
    process::ServerProcess,
    support::{cluster, create_database, eventually, sql},
};

/// A session that keeps indexes from becoming complete, like a long report.
async fn hold(server: &Server) -> tokio_postgres::Client {
    hold_in(&server.database_url).await
}

async fn hold_in(database_url: &str) -> tokio_postgres::Client {
    let hold = sql(database_url).await;
    hold.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    hold
}

async fn until_held(server: &Server) {
    let waits = "SELECT count(*) FROM pg_stat_progress_create_index
                 WHERE datname = current_database() AND phase LIKE 'waiting for%'";
    let sql = server.sql().await;
    eventually("the index waits", async || sql.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
}

fn wish(wanted: &[(&str, Type)]) -> v1::UpdateCollectionRequest {
    update("c", &["metadata_indexes"], |c| c.metadata_indexes = indexes(wanted))
}

/// Every index of the database is in the registry and ready, and no job is left.
async fn assert_settled(server: &Server, wanted: &[(&str, Type)]) {
    assert_eq!(definitions(server).await.len(), wanted.len());
    let left = "SELECT (SELECT count(*) FROM pgfox_internal.metadata_index_jobs WHERE state = 'running')
                     + (SELECT count(*) FROM pgfox_internal.metadata_indexes WHERE NOT ready)";
    assert_eq!(server.sql().await.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    let request = v1::GetCollectionRequest { name: "c".into() };
    let collection = server.client().get_collection(request).await.unwrap().into_inner().collection.unwrap();
    let sorted = |mut indexes: Vec<v1::MetadataIndex>| {
        indexes.sort_by(|a, b| (&a.field, a.r#type).cmp(&(&b.field, b.r#type)));
        indexes
    };
    assert_eq!(sorted(collection.metadata_indexes), sorted(indexes(wanted)));
}

async fn revision(server: &Server) -> i64 {
    let revision = "SELECT revision FROM pgfox_internal.collections";
    server.sql().await.query_one(revision, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn callers_with_equal_and_different_requests_all_succeed() {
    let server = Server::start(18).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    create(&mut server.client(), "c", "one").await;
    let wishes: [&[(&str, Type)]; 3] =
        [&[("year", Type::Number)], &[("year", Type::Number), ("title", Type::String)], &[("", Type::Gin)]];
    let mut calls = JoinSet::new();
    for number in 0..12 {
        let mut client = if number % 2 == 0 { server.client() } else { other.client() };
        let request = wish(wishes[number % wishes.len()]);
        calls.spawn(async move { client.update_collection(request).await.map(drop) });
    }
    let began = Instant::now();
    for done in calls.join_all().await {
        done.expect("every caller succeeds in the end");
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    for wanted in wishes {
        other.client().update_collection(wish(wanted)).await.unwrap();
        assert_settled(&server, wanted).await;
    }
}

#[tokio::test]
async fn a_job_outlives_its_caller_and_another_one_attaches() {
    let server = Server::start(18).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    create(&mut server.client(), "c", "one").await;
    let before = revision(&server).await;
    let hold = hold(&server).await;
    let wanted: [(&str, Type); 2] = [("", Type::Gin), ("year", Type::Number)];
    let mut hurried = tonic::Request::new(wish(&wanted));
    hurried.set_timeout(Duration::from_millis(500));
    let status = server.client().update_collection(hurried).await.expect_err("no time");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    until_held(&server).await;

    let mut client = other.client();
    let attached = tokio::spawn(async move { client.update_collection(wish(&wanted)).await });
    // The request of another caller waits for its turn, without a deadlock with the waiting job.
    let mut client = server.client();
    let next = tokio::spawn(async move { client.update_collection(wish(&[])).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!attached.is_finished() && !next.is_finished());
    let jobs = "SELECT count(*) FROM pgfox_internal.metadata_index_jobs";
    assert_eq!(server.sql().await.query_one(jobs, &[]).await.unwrap().get::<_, i64>(0), 1, "one job for both callers");
    hold.batch_execute("COMMIT").await.unwrap();
    attached.await.unwrap().unwrap();
    next.await.unwrap().unwrap();
    assert_settled(&server, &[]).await;
    // One job for the new index, and one for each of the two dropped ones.
    assert!(revision(&server).await >= before + 3, "every server is to learn of each change");
}

#[tokio::test]
async fn a_job_whose_server_ended_is_finished_by_another() {
    let server = Server::start(18).await;
    create(&mut server.client(), "c", "one").await;
    let leaving = Setup::new(server.database_url.clone()).start().await;
    leaving.ready().await;
    let hold = hold(&server).await;
    let mut client = leaving.client();
    let call = tokio::spawn(async move { client.update_collection(wish(&[("year", Type::Number)])).await });
    until_held(&server).await;
    call.abort();
    leaving.stop().await.unwrap();
    hold.batch_execute("COMMIT").await.unwrap();
    // Nobody requests it.
    let sql = server.sql().await;
    eventually("the job is finished", async || {
        let left = "SELECT count(*) FROM pgfox_internal.metadata_index_jobs";
        sql.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_settled(&server, &[("year", Type::Number)]).await;
}

#[tokio::test]
async fn a_job_that_fails_says_so_and_leaves_nothing() {
    let server = Server::start(18).await;
    create(&mut server.client(), "c", "one").await;
    let hold = hold(&server).await;
    let mut client = server.client();
    let wanted = [("", Type::Gin), ("year", Type::Number)];
    let call = tokio::spawn(async move { client.update_collection(wish(&wanted)).await });
    until_held(&server).await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND state = 'active'";
    assert_eq!(server.sql().await.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0), 1);
    let status = call.await.unwrap().expect_err("a cancelled job");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Aborted, "BUILD_FAILED"), "{status:?}");
    assert_settled(&server, &[("", Type::Gin)]).await;
    hold.batch_execute("COMMIT").await.unwrap();
    // The failure does not block the next attempt either.
    server.client().update_collection(wish(&wanted)).await.unwrap();
    assert_settled(&server, &wanted).await;
}

#[tokio::test]
async fn deleting_the_collection_ends_a_job() {
    let server = Server::start(18).await;
    create(&mut server.client(), "c", "one").await;
    let _hold = hold(&server).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.update_collection(wish(&[("year", Type::Number)])).await });
    until_held(&server).await;
    server
        .client()
        .delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() })
        .await
        .unwrap();
    let status = call.await.unwrap().expect_err("a collection that is gone");
    assert!(matches!(status.code(), Code::NotFound | Code::Aborted), "{status:?}");
    assert_eq!(definitions(&server).await.len(), 0);
}

#[tokio::test]
async fn what_ends_with_its_collection_is_not_logged_as_an_error() {
    let database_url = create_database(&cluster(18).postgres).await;
    let server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let address = format!("http://{}", server.address);
    let channel = tonic::transport::Channel::from_shared(address).unwrap().connect_lazy();
    let mut client = Client::new(channel);
    eventually("the server is ready", async || {
        client.create_collection(vectors("c", 2, v1::Distance::L2)).await.is_ok()
    })
    .await;
    store(&mut client, "c", "one").await;
    let hold = hold_in(&database_url).await;
    let spec = v1::IndexSpec { kind: Some(Kind::Hnsw(v1::Hnsw::default())), allow_few_rows: true };
    let build = v1::BuildIndexRequest { collection: "c".into(), spec: Some(spec), rebuild: false };
    let mut progress = client.build_index(build).await.unwrap().into_inner();
    let mut other = client.clone();
    let change = tokio::spawn(async move { other.update_collection(wish(&[("year", Type::Number)])).await });
    let admin = sql(&database_url).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'";
    let sessions = async || admin.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0);
    eventually("both indexes are being built", async || sessions().await == 2).await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    change.await.unwrap().expect_err("a change of what is gone");
    while let Ok(message) = progress.message().await {
        message.expect("not ready");
    }
    hold.batch_execute("COMMIT").await.unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the jobs end", async || {
        sessions().await == 0 && admin.query_one(locks, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    // The log arrives through a pipe.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = server.log();
    assert!(!log.contains("ERROR"), "{log}");
    server.kill().await;
}

#[tokio::test]
async fn an_index_that_is_gone_is_missed() {
    let server = Server::start(18).await;
    let mut client = server.client();
    create(&mut client, "c", "one").await;
    let wanted = [("", Type::Gin), ("year", Type::Number)];
    client.update_collection(wish(&wanted)).await.unwrap();
    let before = revision(&server).await;
    server.sql().await.batch_execute("DROP INDEX pgfox_internal.documents_1_metadata_2").await.unwrap();
    eventually("the registry is repaired", async || revision(&server).await > before).await;
    client.update_collection(wish(&wanted)).await.unwrap();
    assert_settled(&server, &wanted).await;
}
