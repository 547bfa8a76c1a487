//! A database that answers but refuses: it is full, read-only, stopped by an administrator, or locked.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::{
    process::ServerProcess,
    support::{Setup, cluster, create_database, sql, vector_document, vectors, waiting_for_locks},
};

const VALUES: [f32; 3] = [1.0, 2.0, 3.0];

async fn fill(client: &mut Client) {
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(client, "points", vector_document("p", &VALUES)).await.unwrap();
}

/// A role that has the database for itself, with at most `connections` connections.
async fn owner(database_url: &str, connections: u32) -> String {
    let (_, host) = database_url.rsplit_once('@').unwrap();
    let (_, database) = host.rsplit_once('/').unwrap();
    let role = format!("owner_{database}");
    let admin = sql(database_url).await;
    admin
        .batch_execute(&format!(
            "CREATE EXTENSION vector; DROP ROLE IF EXISTS {role};
             CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT {connections};
             GRANT CREATE ON DATABASE {database} TO {role}"
        ))
        .await
        .unwrap();
    format!("postgres://{role}:secret@{host}")
}

#[tokio::test]
async fn calls_share_what_a_full_database_has_given() {
    let database_url = create_database(&cluster(18).postgres).await;
    // One of three is the probe's.
    let pool_wait = Duration::from_secs(600);
    let server = Setup { pool_size: 16, pool_wait, ..Setup::new(owner(&database_url, 3).await) }.start().await;
    server.ready().await;
    let mut client = server.client();
    fill(&mut client).await;
    let searches: JoinSet<_> = (0..300)
        .map(|_| {
            let mut client = client.clone();
            async move { search(&mut client, "points", &VALUES).await }
        })
        .collect();
    for found in searches.join_all().await {
        assert_eq!(found.unwrap().results.len(), 1);
    }
    becomes(&server, true).await;
}

#[tokio::test]
async fn a_full_database_is_reported_after_the_wait() {
    let database_url = create_database(&cluster(18).postgres).await;
    let url = owner(&database_url, 3).await;
    let pool_wait = Duration::from_millis(500);
    let server = Setup { pool_wait, ..Setup::new(url.clone()) }.start().await;
    server.ready().await;
    let mut client = server.client();
    fill(&mut client).await;
    // One is the probe's, the others wait.
    let lock = sql(&database_url).await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting: JoinSet<_> = (0..2)
        .map(|_| {
            let mut client = client.clone();
            async move {
                // A job of the server may have the connection just then.
                loop {
                    let found = search(&mut client, "points", &VALUES).await;
                    if found.as_ref().err().map(tonic::Status::code) != Some(Code::ResourceExhausted) {
                        return found;
                    }
                }
            }
        })
        .collect();
    eventually("the connections are busy", async || waiting_for_locks(&database_url).await == 2).await;
    let began = std::time::Instant::now();
    let status = search(&mut client, "points", &VALUES).await.expect_err("no connection");
    assert_eq!(reported(&status), expected(Code::ResourceExhausted, "DATABASE_BUSY", true), "{status:?}");
    assert!((pool_wait..pool_wait * 6).contains(&began.elapsed()), "{:?}", began.elapsed());
    lock.batch_execute("COMMIT").await.unwrap();
    for found in waiting.join_all().await {
        assert_eq!(found.unwrap().results.len(), 1);
    }
}

#[tokio::test]
async fn a_read_only_database_serves_searches_and_says_when_to_write_again() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    let database = server.database_url.rsplit_once('/').unwrap().1;
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    server.sql().await.batch_execute(&set).await.unwrap();
    let reader = Setup::new(server.database_url.clone()).start().await;
    reader.ready().await;
    let mut client = reader.client();
    assert_eq!(search(&mut client, "points", &VALUES).await.unwrap().results.len(), 1);
    let read_only = expected(Code::Unavailable, "DATABASE_READ_ONLY", true);
    let statuses = [
        ingest(&mut client, "points", vector_document("q", &VALUES)).await.expect_err("no writes"),
        client.create_collection(vectors("more", 3, v1::Distance::L2)).await.expect_err("no writes"),
        client
            .delete_collection(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() })
            .await
            .expect_err("no writes"),
    ];
    for status in statuses {
        assert_eq!(reported(&status), read_only, "{status:?}");
    }
    becomes(&reader, true).await;

    // Connections that were opened before are not used again: they may lead to a server that is no longer the primary.
    let admin = sql(cluster(18).postgres.database_url()).await;
    admin.batch_execute(&format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await.unwrap();
    eventually("writes are possible", async || {
        ingest(&mut client, "points", vector_document("q", &VALUES)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn what_an_administrator_stops_is_no_timeout() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    for (function, expected) in [
        ("pg_cancel_backend", expected(Code::Aborted, "QUERY_CANCELLED", false)),
        ("pg_terminate_backend", expected(Code::Unavailable, "DATABASE_UNAVAILABLE", true)),
    ] {
        let lock = server.sql().await;
        lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut waiting = server.client();
        let waiting = tokio::spawn(async move { search(&mut waiting, "points", &VALUES).await });
        eventually("the search waits", async || waiting_for_locks(&server.database_url).await == 1).await;
        let stop = format!(
            "SELECT {function}(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'"
        );
        server.sql().await.query_one(&stop, &[]).await.unwrap();
        let status = waiting.await.unwrap().expect_err("a search that was stopped");
        assert_eq!(reported(&status), expected, "{status:?}");
    }
}

#[tokio::test]
async fn timeouts_may_be_longer_than_those_of_postgres() {
    let server = Server::start_with(18, |setup| {
        setup.limits.call_timeout = Duration::from_secs(60 * 24 * 3600);
        setup.limits.fill_up = Duration::from_secs(60 * 24 * 3600);
        setup.limits.ingest_timeout = Duration::from_secs(60 * 24 * 3600);
    })
    .await;
    let mut client = server.client();
    fill(&mut client).await;
    assert_eq!(search(&mut client, "points", &VALUES).await.unwrap().results.len(), 1);
}

#[tokio::test]
async fn waiting_for_the_migration_lock_is_reported() {
    let database_url = create_database(&cluster(18).postgres).await;
    // Like another server that migrates the schema pgfox.
    let holder = sql(&database_url).await;
    holder.execute("SELECT pg_advisory_lock($1, 0)", &[&lock_class("pgfox")]).await.unwrap();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let line = "waiting for the migration lock of the schema \"pgfox_internal\"";
    eventually("the wait is reported", async || server.log().contains(line)).await;
    assert!(server.log().contains(&format!("process {pid}")), "{}", server.log());
    assert!(!server.log().contains("migrating the schema"), "{}", server.log());
    drop(holder);
    eventually("the schema is there", async || server.log().contains("migrating the schema")).await;
    server.kill().await;
}
