//! Collections that are created, deleted and renamed by several servers at a time, while others use them.

mod moved;

use std::time::{Duration, Instant};

use pgfox::v1;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    calls::{info, near},
    support::{Client, Server, Setup, eventually, reason, vector_document, vectors, waiting_for_locks},
};

async fn create(client: &mut Client, name: &str) -> Result<(), Status> {
    client.create_collection(vectors(name, 2, v1::Distance::L2)).await.map(drop)
}

async fn delete(client: &mut Client, name: &str) -> Result<(), Status> {
    client.delete_collection(v1::DeleteCollectionRequest { name: name.into(), ..Default::default() }).await.map(drop)
}

async fn set_aliases(client: &mut Client, name: &str, aliases: &[&str]) -> Result<(), Status> {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let collection = v1::Collection { name: name.into(), aliases, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["aliases".into()] });
    client.update_collection(v1::UpdateCollectionRequest { collection: Some(collection), update_mask }).await.map(drop)
}

async fn store(client: &mut Client, collection: &str, id: &str) {
    crate::calls::ingest(client, collection, vec![vector_document(id, &[1.0, 2.0])]).await;
}

/// Another server on the same database.
async fn second(server: &Server) -> Server {
    let second = Setup::new(server.database_url.clone()).start().await;
    second.ready().await;
    second
}

/// How many collections, views and tables there are.
async fn left(server: &Server) -> (i64, i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM pgfox_internal.collections),
                      (SELECT count(*) FROM pg_views WHERE schemaname = 'pgfox'),
                      (SELECT count(*) FROM pg_tables WHERE schemaname = 'pgfox_internal' AND tablename ~ '^(documents|chunks|embeddings)_')";
    let row = server.sql().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_deletion_that_waits_for_a_reader_keeps_nobody_else_waiting() {
    let server = Server::start(18).await;
    let other = second(&server).await;
    let mut client = server.client();
    for name in ["doomed", "first", "second"] {
        create(&mut client, name).await.unwrap();
        store(&mut client, name, "p").await;
    }
    let reader = server.sql().await;
    reader.batch_execute("BEGIN; SELECT FROM pgfox.doomed").await.unwrap();

    let mut request = tonic::Request::new(v1::DeleteCollectionRequest { name: "doomed".into(), ..Default::default() });
    request.set_timeout(Duration::from_secs(4));
    let deleting = tokio::spawn(async move { client.delete_collection(request).await });
    eventually("the deletion waits", async || waiting_for_locks(&server.database_url).await >= 1).await;
    let mut client = other.client();
    let (began, mut rounds) = (Instant::now(), 0);
    while !deleting.is_finished() {
        let round = Instant::now();
        create(&mut client, &format!("new_{rounds}")).await.unwrap();
        set_aliases(&mut client, ["first", "second"][rounds % 2], &["current"]).await.unwrap();
        delete(&mut client, &format!("new_{rounds}")).await.unwrap();
        assert!(round.elapsed() < Duration::from_secs(1), "{:?}", round.elapsed());
        // Calls for the collection itself wait for at most one attempt.
        assert_eq!(crate::calls::search(&mut client, near("doomed", &[1.0, 2.0], 1)).await.results.len(), 1);
        assert!(round.elapsed() < Duration::from_secs(3), "{:?}", round.elapsed());
        rounds += 1;
    }
    assert!(rounds >= 2 && began.elapsed() < Duration::from_secs(4), "{rounds} rounds in {:?}", began.elapsed());
    let status = deleting.await.unwrap().expect_err("a reader");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::ResourceExhausted, "DATABASE_BUSY"), "{status:?}");
    assert_eq!(info(&status)["collection"], "doomed");
    assert!(status.get_error_details().retry_info().is_some());

    reader.batch_execute("COMMIT").await.unwrap();
    delete(&mut client, "doomed").await.unwrap();
    assert_eq!(left(&server).await.0, 2);
}

#[tokio::test]
async fn a_deletion_finds_its_moment_among_searches() {
    let server = Server::start(18).await;
    let mut client = server.client();
    create(&mut client, "busy").await.unwrap();
    store(&mut client, "busy", "p").await;
    let mut searches = JoinSet::new();
    for _ in 0..6 {
        let mut client = server.client();
        searches.spawn(async move {
            loop {
                if let Err(status) = client.search(near("busy", &[1.0, 2.0], 1)).await {
                    return status;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    delete(&mut client, "busy").await.unwrap();
    for status in searches.join_all().await {
        assert_eq!(reason(&status).0, "COLLECTION_NOT_FOUND", "{status:?}");
    }
}

#[tokio::test]
async fn a_locked_registry_is_reported() {
    let server = Server::start(18).await;
    let mut client = server.client();
    create(&mut client, "points").await.unwrap();
    let holder = server.sql().await;
    holder.batch_execute("BEGIN; LOCK TABLE pgfox_internal.aliases IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    let timeout = Duration::from_secs(2);
    let mut create = tonic::Request::new(vectors("more", 2, v1::Distance::L2));
    create.set_timeout(timeout);
    let status = client.create_collection(create).await.expect_err("a lock");
    assert_eq!((reason(&status).0.as_str(), info(&status)["collection"].as_str()), ("DATABASE_BUSY", "more"));
    let mut delete = tonic::Request::new(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() });
    delete.set_timeout(timeout);
    let status = client.delete_collection(delete).await.expect_err("a lock");
    assert_eq!((reason(&status).0.as_str(), info(&status)["collection"].as_str()), ("DATABASE_BUSY", "points"));
    // A caller that only reads is not affected.
    assert!(client.get_collection(v1::GetCollectionRequest { name: "points".into() }).await.is_ok());
}

#[tokio::test]
async fn many_at_a_time_create_and_delete() {
    const COLLECTIONS: usize = 68;
    let server = Server::start(18).await;
    let other = second(&server).await;
    let servers = [&server, &other];
    let created: JoinSet<_> = (0..COLLECTIONS)
        .map(|number| {
            let mut client = servers[number % 2].client();
            async move { create(&mut client, &format!("c_{number}")).await }
        })
        .collect();
    for created in created.join_all().await {
        created.unwrap();
    }

    // Both servers do this with each collection, while aliases move over all of them.
    let moving: JoinSet<_> = (0..8)
        .map(|number| {
            let mut client = servers[number % 2].client();
            async move {
                let mut ends = Vec::new();
                for name in 0..COLLECTIONS / 8 {
                    let name = format!("c_{}", name * 8 + number);
                    ends.push(set_aliases(&mut client, &name, &["current", &format!("alias_{number}")]).await);
                }
                ends
            }
        })
        .collect();
    let deleted: JoinSet<_> = (0..2 * COLLECTIONS)
        .map(|number| {
            let mut client = servers[number % 2].client();
            async move { delete(&mut client, &format!("c_{}", number / 2)).await }
        })
        .collect();
    let deleted = deleted.join_all().await;
    let moved: Vec<_> = moving.join_all().await.into_iter().flatten().collect();
    assert_eq!(deleted.iter().filter(|deleted| deleted.is_ok()).count(), COLLECTIONS);
    for status in deleted.into_iter().chain(moved).filter_map(Result::err) {
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::NotFound, "COLLECTION_NOT_FOUND"), "{status:?}");
    }
    assert_eq!(left(&server).await, (0, 0, 0));
}

#[tokio::test]
async fn one_of_many_callers_gets_a_name() {
    let server = Server::start(18).await;
    let other = second(&server).await;
    create(&mut server.client(), "holder").await.unwrap();
    for round in 0..10 {
        let name = format!("wanted_{round}");
        let wanting: JoinSet<_> = (0..9)
            .map(|number| {
                let (mut client, name) = ([&server, &other][number % 2].client(), name.clone());
                async move {
                    match number {
                        0 => set_aliases(&mut client, "holder", &[&name]).await,
                        _ => create(&mut client, &name).await,
                    }
                }
            })
            .collect();
        let ends = wanting.join_all().await;
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1, "{ends:?}");
        for status in ends.into_iter().filter_map(Result::err) {
            assert_eq!(reason(&status).0, "COLLECTION_EXISTS", "{status:?}");
        }
    }
}

#[tokio::test]
async fn a_deletion_keeps_to_its_collection() {
    let server = Server::start(18).await;
    let mut client = server.client();
    create(&mut client, "old").await.unwrap();
    create(&mut client, "new").await.unwrap();
    store(&mut client, "new", "p").await;
    // The deletion knows its collection, and waits.
    let reader = server.sql().await;
    reader.batch_execute("BEGIN; SELECT FROM pgfox.old").await.unwrap();
    let deleting = tokio::spawn(async move { delete(&mut client, "old").await });
    eventually("the deletion waits", async || waiting_for_locks(&server.database_url).await >= 1).await;
    // Meanwhile the name becomes an alias, as if another server deleted the collection and set the alias.
    let moved = "BEGIN; DELETE FROM pgfox_internal.collections WHERE name = 'old';
                 INSERT INTO pgfox_internal.aliases SELECT 'old', id FROM pgfox_internal.collections WHERE name = 'new'; COMMIT";
    server.sql().await.batch_execute(moved).await.unwrap();
    reader.batch_execute("COMMIT").await.unwrap();
    let status = deleting.await.unwrap().expect_err("it is gone");
    assert_eq!(reason(&status).0, "COLLECTION_NOT_FOUND", "{status:?}");
    let mut client = server.client();
    assert_eq!(crate::calls::search(&mut client, near("old", &[1.0, 2.0], 1)).await.results.len(), 1);
}
