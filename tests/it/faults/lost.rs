//! Connections to the database that were lost without a word are let go: they hold neither sockets nor turns of others.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::*;
use crate::{
    proxy::Proxy,
    support::{Setup, cluster, create_database, vector_document, vectors},
};

/// A server that has one pooled connection, or `pool_size`, and reaches its database through a proxy.
async fn start(pool_size: usize) -> (Proxy, Server) {
    let database_url = create_database(&cluster(18).postgres).await;
    let proxy = Proxy::start(&database_url).await;
    let setup = Setup { pool_size, health_timeout: Duration::from_secs(1), ..Setup::new(proxy.through(&database_url)) };
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    (proxy, server)
}

/// Sockets of this process that are connected to a port.
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
async fn an_abandoned_statement_of_a_lost_connection_holds_up_nobody() {
    const POOL_SIZE: usize = 2;
    /// What others wait for when such a statement is cancelled, and its answer waited for, in vain.
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
