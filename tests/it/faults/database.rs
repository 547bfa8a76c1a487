//! A database that is unreachable, busy, or changed underneath the server.

use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    support::{
        AN_HOUR, Setup, create_database, in_time, start_postgres_in, text_document, texts, vector_document, vectors,
        waiting_for_locks,
    },
    telemetry::Scrape,
};

#[tokio::test]
async fn a_stopped_database_is_reported_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start_postgres_in(folder.path(), 18).await;
    let mut setup = Setup::new(create_database(&postgres).await);
    setup.pool_wait = AN_HOUR;
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(texts("foxes")).await.unwrap();
    ingest(&mut client, "foxes", text_document("fox", "a fox")).await.unwrap();

    postgres.stop().await;
    let unavailable = expected(Code::Unavailable, "DATABASE_UNAVAILABLE", true);
    let status = get(&mut client, "foxes", "fox").await.expect_err("no database");
    assert_eq!(reported(&status), unavailable, "{status:?}");
    becomes(&server, false).await;
    let status = in_time("reported at once", ingest(&mut client, "foxes", text_document("hen", "a hen"))).await;
    let status = status.expect_err("no database");
    assert_eq!(reported(&status), unavailable, "{status:?}");

    let postgres = start_postgres_in(folder.path(), 18).await;
    becomes(&server, true).await;
    assert_eq!(get(&mut client, "foxes", "fox").await.unwrap().documents.len(), 1);
    assert_eq!(get(&mut client, "foxes", "hen").await.unwrap().missing_ids, ["hen"]);
    drop(server);
    postgres.stop().await;
}

#[tokio::test]
async fn a_killed_database_is_reported_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start_postgres_in(folder.path(), 16).await;
    let server = Setup::new(create_database(&postgres).await).start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(texts("foxes")).await.unwrap();
    ingest(&mut client, "foxes", text_document("fox", "a fox")).await.unwrap();
    postgres.kill().unwrap();
    let mut failures = 0;
    eventually("the database is back", async || match get(&mut client, "foxes", "fox").await {
        Ok(found) => failures > 0 && found.documents.len() == 1,
        Err(status) => {
            failures += 1;
            assert_eq!(reported(&status), expected(Code::Unavailable, "DATABASE_UNAVAILABLE", true), "{status:?}");
            false
        }
    })
    .await;
    drop(server);
    postgres.stop().await;
}

#[tokio::test]
async fn a_full_pool_is_reported() {
    let server = Server::start_with(18, |setup| {
        setup.pool_size = 1;
        setup.pool_wait = Duration::from_millis(200);
        setup.metrics = true;
    })
    .await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut waiting = server.client();
    let waiting = tokio::spawn(async move { search(&mut waiting, "points", &[1.0, 2.0, 3.0]).await });
    eventually("the connection is busy", async || waiting_for_locks(&server.database_url).await == 1).await;
    let status = search(&mut client, "points", &[1.0, 2.0, 3.0]).await.expect_err("no connection");
    assert_eq!(reported(&status), expected(Code::ResourceExhausted, "DATABASE_BUSY", true), "{status:?}");
    // Work is not an outage: the server keeps asking its database without an answer and stays healthy.
    let metrics = server.metrics_address.unwrap();
    let waits = async || Scrape::of(metrics).await.value("pgfox_pool_wait_seconds_count");
    let before = waits().await;
    eventually("the database is asked for", async || waits().await >= before + 2.0).await;
    assert_eq!(health(&server, "").await, ServingStatus::Serving);
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().results.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_dropped_extension_is_reported_until_it_is_back(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    let sql = server.sql().await;
    sql.batch_execute("DROP EXTENSION vector CASCADE").await.unwrap();
    becomes(&server, false).await;
    let status = search(&mut client, "points", &[1.0, 2.0, 3.0]).await.expect_err("no extension");
    assert_eq!(reported(&status), expected(Code::FailedPrecondition, "EXTENSION_MISSING", false), "{status:?}");
    assert!(status.message().contains("CREATE EXTENSION vector"), "{status:?}");

    sql.batch_execute("CREATE EXTENSION vector").await.unwrap();
    becomes(&server, true).await;
    // CASCADE dropped the vectors, so the collection is created again.
    client
        .delete_collection(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() })
        .await
        .unwrap();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
}

#[rstest]
#[tokio::test]
async fn types_that_are_new_are_used(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap();
    // As pg_restore --clean does: the same names, other types and tables, without a moment in which they are missing.
    let embeddings: String = server
        .sql()
        .await
        .query_one("SELECT relname FROM pg_class WHERE relname LIKE 'embeddings\\_%' AND relkind = 'r'", &[])
        .await
        .unwrap()
        .get(0);
    server
        .sql()
        .await
        .batch_execute(&format!(
            "BEGIN;
         CREATE TEMP TABLE kept AS SELECT document_key, chunk, embedding::text AS embedding
             FROM pgfox_internal.{embeddings};
         DROP EXTENSION vector CASCADE; CREATE EXTENSION vector;
         ALTER TABLE pgfox_internal.{embeddings} ADD embedding vector(3);
         UPDATE pgfox_internal.{embeddings} e SET embedding = k.embedding::vector FROM kept k
             WHERE (k.document_key, k.chunk) = (e.document_key, e.chunk);
         COMMIT"
        ))
        .await
        .unwrap();
    let found = search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap();
    assert_eq!(found.results[0].distance, Some(0.0));
    ingest(&mut client, "points", vector_document("q", &[1.0, 2.0, 4.0])).await.unwrap();
    assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 2);
}
