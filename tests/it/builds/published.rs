//! A published index stays: cancels after that, and a registry that disagrees with the database.

use std::time::Instant;

use super::*;

async fn drop_index(client: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::DropIndexRequest { collection: "points".into(), name: name.into() };
    client.drop_index(request).await.map(|_| ())
}

/// A session that keeps the indexes of the collection from being dropped, like `BEGIN; SELECT ...` in psql.
async fn reader(server: &Server) -> tokio_postgres::Client {
    let reader = server.sql().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM pgfox.points").await.unwrap();
    reader
}

/// Waits until a session tries to drop an index, which the reader blocks.
async fn until_dropping(server: &Server) {
    let dropping = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'DROP INDEX%' AND state = 'active'";
    let sql = server.sql().await;
    eventually("the old index is dropped", async || sql.query_one(dropping, &[]).await.unwrap().get::<_, i64>(0) == 1)
        .await;
}

async fn assert_serves(server: &Server, index: &v1::Index) {
    let mut client = server.client();
    let listed = list(&mut client).await;
    assert_eq!((&listed[0].name, listed[0].state()), (&index.name, IndexState::Ready));
    let (indexes, _) = in_postgres(server).await;
    assert!(indexes.contains(&(index.name.clone(), true)), "{indexes:?}");
    assert_eq!(search(&mut client, 3.1, 1).await, (vec!["p3".into()], v1::Completeness::Approximate));
}

#[tokio::test]
async fn stopping_the_next_build_leaves_the_published_index() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    build(&mut client, hnsw(16, 0)).await.unwrap();
    let reader = reader(&server).await;
    let published = build(&mut client, hnsw(8, 0)).await.unwrap();
    until_dropping(&server).await;

    let mut queued = client.build_index(hnsw(24, 0)).await.unwrap().into_inner();
    let message = queued.message().await.unwrap().unwrap();
    let began = Instant::now();
    drop_index(&mut client, &message.index.unwrap().name).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "nothing is to be waited for: {:?}", began.elapsed());
    let status = finish(queued).await.expect_err("a build that was dropped");
    assert_eq!(reason(&status).0, "BUILD_FAILED");
    until_dropping(&server).await;
    assert_serves(&server, &published).await;

    reader.batch_execute("COMMIT").await.unwrap();
    eventually("the old index is gone", async || in_postgres(&server).await.0.len() == 1).await;
    assert_only(&server, &published).await;
}

#[tokio::test]
async fn a_cancel_after_publish_only_delays_the_drop_of_the_old_index() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    build(&mut client, hnsw(16, 0)).await.unwrap();
    let reader = reader(&server).await;
    let published = build(&mut client, hnsw(8, 0)).await.unwrap();
    until_dropping(&server).await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE 'DROP INDEX%' AND state = 'active'";
    assert_eq!(server.sql().await.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0), 1);
    reader.batch_execute("COMMIT").await.unwrap();
    assert_serves(&server, &published).await;
    // The registry does not know the old one, so it is found again.
    eventually("the old index is gone", async || in_postgres(&server).await.0.len() == 1).await;
    assert_only(&server, &published).await;
}

#[tokio::test]
async fn an_old_index_in_use_keeps_nobody_from_building() {
    let server = Server::start_with(18, |setup| setup.build_concurrency = 1).await;
    let mut client = server.client();
    fill(&mut client).await;
    build(&mut client, hnsw(16, 0)).await.unwrap();
    let reader = reader(&server).await;
    for m in [8, 12, 20] {
        let published = build(&mut client, hnsw(m, 0)).await.unwrap();
        assert_serves(&server, &published).await;
    }
    reader.batch_execute("COMMIT").await.unwrap();
    eventually("the old indexes are gone", async || in_postgres(&server).await.0.len() == 1).await;
}

#[tokio::test]
async fn an_index_that_became_invalid_is_built_again() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    let index = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert_serves(&server, &index).await;
    // As an interrupted DROP INDEX CONCURRENTLY leaves it.
    let sql = server.sql().await;
    let invalidate =
        format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgfox_internal.{}'::regclass", index.name);
    sql.batch_execute(&invalidate).await.unwrap();
    let listed = list(&mut client).await;
    assert_eq!((listed.len(), listed[0].state()), (1, IndexState::Building));
    // A caller that asks for the same index does not get READY for an index that searches cannot use.
    let again = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert_only(&server, &again).await;
    assert_serves(&server, &again).await;
}

#[tokio::test]
async fn an_index_that_is_gone_is_not_ready() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    let index = build(&mut client, hnsw(0, 0)).await.unwrap();
    let sql = server.sql().await;
    let revision = async || -> i64 {
        let revision = "SELECT revision FROM pgfox_internal.collections WHERE name = 'points'";
        sql.query_one(revision, &[]).await.unwrap().get(0)
    };
    let before = revision().await;
    sql.batch_execute(&format!("DROP INDEX pgfox_internal.{}", index.name)).await.unwrap();
    eventually("the registry forgets it", async || list(&mut client).await.is_empty()).await;
    assert!(revision().await > before, "every server is to learn of it");
    assert_eq!(search(&mut client, 3.1, 1).await, (vec!["p3".into()], v1::Completeness::Exact));
    let again = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert_ne!(again.name, index.name);
    assert_only(&server, &again).await;
}
