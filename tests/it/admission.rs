//! Which calls wait for a database connection, which are refused, and which connection a call gets.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use pgfox::v1;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    calls::{ingest, near, search},
    support::{AN_HOUR, Client, Server, Setup, eventually, reason, vector_document, vectors, waiting_for_locks},
};

const VALUES: [f32; 3] = [1.0, 2.0, 3.0];

async fn create(client: &mut Client, name: &str) {
    client.create_collection(vectors(name, 3, v1::Distance::L2)).await.unwrap();
    ingest(client, name, vec![vector_document("a", &VALUES)]).await;
}

#[tokio::test]
async fn a_locked_collection_stops_no_other() {
    const POOL: usize = 6;
    const WAITING: usize = 20;
    let server = Server::start_with(18, |setup| {
        (setup.pool_size, setup.max_waiting) = (POOL, WAITING);
        setup.pool_wait = Duration::from_secs(600);
        // Nothing may wait for the moment in which the server looks for changes of followed tables: the queue is full.
        setup.limits.follow.look_every = AN_HOUR;
    })
    .await;
    let mut client = server.client();
    create(&mut client, "locked").await;
    create(&mut client, "free").await;
    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let mut searches: JoinSet<_> = (0..300)
        .map(|_| {
            let mut client = client.clone();
            async move { client.search(near("locked", &VALUES, 1)).await }
        })
        .collect();
    // Calls that neither run nor wait are refused at once.
    for _ in 0..300 - (POOL - 2) - WAITING {
        let status = searches.join_next().await.unwrap().unwrap().expect_err("there is no room");
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::ResourceExhausted, "DATABASE_BUSY"));
        assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
    }
    eventually("the others wait", async || waiting_for_locks(&server.database_url).await == POOL as i64 - 2).await;

    for _ in 0..3 {
        assert_eq!(search(&mut client, near("free", &VALUES, 1)).await.results.len(), 1);
        ingest(&mut client, "free", vec![vector_document("b", &VALUES)]).await;
        let request = v1::GetCollectionRequest { name: "free".into() };
        client.get_collection(request).await.unwrap();
    }

    // Writers into the locked collection leave room, too.
    let mut writes: JoinSet<_> = (0..8)
        .map(|_| {
            let mut client = client.clone();
            async move { ingest(&mut client, "locked", vec![vector_document("b", &VALUES)]).await }
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let request = v1::GetCollectionRequest { name: "free".into() };
    client.get_collection(request).await.unwrap();

    lock.batch_execute("COMMIT").await.unwrap();
    while let Some(found) = searches.join_next().await {
        assert_eq!(found.unwrap().expect("it waited").into_inner().results.len(), 1);
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
}

#[tokio::test]
async fn a_call_is_refused_before_its_text_is_embedded() {
    let server = Server::start_with(18, |setup| {
        (setup.pool_size, setup.max_waiting) = (1, 1);
        setup.pool_wait = Duration::from_secs(600);
        // Looking for changes of followed tables needs the connection too.
        setup.limits.follow.look_every = AN_HOUR;
    })
    .await;
    let mut client = server.client();
    create(&mut client, "locked").await;
    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let searches: JoinSet<_> = (0..2)
        .map(|_| {
            let mut client = client.clone();
            async move {
                // A job of the server may have the connection at this moment.
                loop {
                    match client.search(near("locked", &VALUES, 1)).await {
                        Err(status) if status.code() == Code::ResourceExhausted => {}
                        found => return found.expect("it is found"),
                    }
                }
            }
        })
        .collect();
    eventually("one runs", async || waiting_for_locks(&server.database_url).await == 1).await;
    eventually("one waits", async || {
        let mut client = client.clone();
        let attempt = client.search(near("locked", &VALUES, 1));
        let refused = tokio::time::timeout(Duration::from_millis(500), attempt).await;
        refused.is_ok_and(|answer| answer.is_err_and(|status| status.code() == Code::ResourceExhausted))
    })
    .await;
    // An unknown collection: the server does not even ask whether it exists.
    let began = Instant::now();
    let status = client.search(near("missing", &VALUES, 1)).await.expect_err("it is refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(searches.join_all().await.len(), 2);
}

#[tokio::test]
async fn a_collection_is_served_by_the_connections_that_know_it() {
    const COLLECTIONS: usize = 60;
    let (most, connections) = (40, 4);
    let creator = Server::start(18).await;
    let mut client = creator.client();
    for number in 0..COLLECTIONS {
        create(&mut client, &format!("c{number}")).await;
    }
    let mut setup = Setup::new(creator.database_url.clone());
    (setup.pool_size, setup.max_collections) = (connections, most);
    drop(creator);
    let server = setup.start().await;
    server.ready().await;
    let (sql, mut client) = (server.sql().await, server.client());
    let mut backends = BTreeSet::new();
    for _ in 0..4 {
        for number in 0..COLLECTIONS {
            assert_eq!(search(&mut client, near(&format!("c{number}"), &VALUES, 1)).await.results.len(), 1);
        }
        let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                    AND pid <> pg_backend_pid() AND query LIKE '%search%'";
        backends.extend(sql.query(pids, &[]).await.unwrap().iter().map(|row| row.get::<_, i32>(0)));
    }
    // If each collection used every connection, each connection would be replaced after 30 to 40 collections.
    assert!((2..=connections).contains(&backends.len()), "{backends:?}");
}
