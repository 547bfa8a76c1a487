//! Database connections that were silently lost are let go: they hold neither sockets nor the turns of other calls.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::*;
use crate::{
    proxy::Proxy,
    support::{Setup, cluster, create_database, vector_document, vectors, waiting_for_locks},
};

/// A server that has one pooled connection, or `pool_size`, and reaches its database through a proxy.
async fn start(pool_size: usize) -> (Proxy, Server) {
    let database_url = create_database(&cluster(18).postgres).await;
    let proxy = Proxy::start(&database_url).await;
    let (health_timeout, pool_wait) = (Duration::from_secs(1), Duration::from_secs(20));
    let setup = Setup { pool_size, pool_wait, health_timeout, ..Setup::new(proxy.through(&database_url)) };
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    (proxy, server)
}

/// The sockets of this process that are connected to a port.
#[cfg(target_os = "linux")]
fn connected_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 3 && fields[2].ends_with(&remote) && fields[3] == ESTABLISHED
    };
    sockets.lines().skip(1).filter(is_one).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lost_connection_keeps_no_socket() {
    let (proxy, server) = start(1).await;
    for _ in 0..3 {
        proxy.freeze();
        proxy.lose();
        becomes(&server, false).await;
        proxy.thaw();
        becomes(&server, true).await;
    }
    // One in the pool, one of the probe.
    eventually("what was lost is closed", async || connected_to(proxy.port()) <= 2).await;
}

#[tokio::test]
async fn calls_on_lost_connections_end_soon_and_make_room() {
    const POOL_SIZE: usize = 2;
    let (proxy, server) = start(POOL_SIZE).await;
    let lock = server.sql().await;
    let holder: i32 = lock.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let searches: JoinSet<_> = (0..POOL_SIZE)
        .map(|_| {
            let mut client = server.client();
            async move { search(&mut client, "points", &[1.0, 2.0, 3.0]).await }
        })
        .collect();
    eventually("both wait", async || waiting_for_locks(&server.database_url).await == POOL_SIZE as i64).await;

    proxy.lose();
    server.sql().await.execute("SELECT pg_terminate_backend($1)", &[&holder]).await.unwrap();
    let began = Instant::now();
    let found = search(&mut server.client(), "points", &[1.0, 2.0, 3.0]).await.unwrap();
    assert_eq!(found.results.len(), 1);
    for lost in searches.join_all().await {
        let status = lost.expect_err("its answer is lost");
        assert_eq!(reported(&status), expected(Code::Unavailable, "DATABASE_UNAVAILABLE", true), "{status:?}");
    }
    // They have 30 s.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_abandoned_statement_of_a_lost_connection_holds_up_nobody() {
    const POOL_SIZE: usize = 2;
    /// The time that others would wait if the cancel of such a statement had no effect.
    const TOO_LONG: Duration = Duration::from_millis(5_000);
    let (proxy, server) = start(POOL_SIZE).await;
    let client = server.client();
    let search_within = async |timeout: Duration| {
        let mut request = tonic::Request::new(v1::SearchRequest {
            collection: "points".into(),
            query: Some(v1::search_request::Query::Vector(v1::Vector { values: vec![1.0, 2.0, 3.0] })),
            ..Default::default()
        });
        request.set_timeout(timeout);
        client.clone().search(request).await
    };
    // Every connection of the pool is open.
    let searches: JoinSet<_> = (0..POOL_SIZE * 4)
        .map(|_| {
            let mut client = client.clone();
            async move { search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap() }
        })
        .collect();
    searches.join_all().await;

    proxy.lose();
    let began = Instant::now();
    let short = Duration::from_millis(200);
    let (first, second) = tokio::join!(search_within(short), search_within(short));
    assert!(first.is_err() && second.is_err(), "both connections lead nowhere");
    while search_within(Duration::from_millis(300)).await.is_err() {}
    assert!(began.elapsed() < TOO_LONG, "{:?}", began.elapsed());
}
