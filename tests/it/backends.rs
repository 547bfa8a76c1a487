//! The Postgres processes that serve the pool stay small, however many collections there are.

use std::{
    fs,
    time::{Duration, Instant},
};

use pgfox::v1;

use crate::{
    calls::{ingest, near, search},
    support::{Client, Server, vector_document, vectors},
};

/// The private memory of the largest backend of the pool in kB. `None` if the system does not report it.
async fn largest(sql: &tokio_postgres::Client) -> Option<u64> {
    let backends = "SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut largest = None;
    for row in sql.query(backends, &[]).await.unwrap() {
        let Ok(memory) = fs::read_to_string(format!("/proc/{}/smaps_rollup", row.get::<_, i32>(0))) else { continue };
        let private = memory.lines().filter_map(|line| {
            let (name, size) = line.split_once(':')?;
            name.starts_with("Private_").then(|| size.trim().strip_suffix(" kB")?.parse::<u64>().ok())?
        });
        largest = largest.max(Some(private.sum()));
    }
    largest
}

async fn create(client: &mut Client, name: &str) {
    client.create_collection(vectors(name, 3, v1::Distance::L2)).await.unwrap();
    ingest(client, name, vec![vector_document("a", &[1.0, 2.0, 3.0])]).await;
}

/// Creates, uses and deletes `collections` collections, one after another. Returns the size of the largest backend.
async fn create_and_delete(server: &Server, collections: usize) -> u64 {
    let sql = server.sql().await;
    let mut client = server.client();
    let mut most = 0;
    for number in 0..collections {
        let name = format!("c{number}");
        create(&mut client, &name).await;
        for _ in 0..3 {
            let found = search(&mut client, near(&name, &[1.0, 2.0, 3.0], 3)).await;
            assert_eq!(found.results.len(), 1);
        }
        if number % 10 == 9 {
            most = most.max(largest(&sql).await.unwrap_or_default());
        }
        client.delete_collection(v1::DeleteCollectionRequest { name, ..Default::default() }).await.unwrap();
    }
    most
}

#[tokio::test]
async fn collections_that_come_and_go_leave_nothing() {
    let server = Server::start_with(18, |setup| (setup.pool_size, setup.max_collections) = (1, 30)).await;
    let most = create_and_delete(&server, 100).await;
    // If nothing was closed or replaced, each collection left about 0.2 MB, and 400 of them 84 MB.
    assert!(most < 14_000, "{most} kB");
}

/// Prints figures, in about five minutes: `cargo test --release --test it -- --ignored --nocapture backends::`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn no_backend_passes_60_mb() {
    const COLLECTIONS: usize = 2_000;
    let server = Server::start_with(18, |setup| setup.pool_size = 1).await;
    let most = create_and_delete(&server, COLLECTIONS).await;
    println!("{COLLECTIONS} collections created and deleted: {most} kB");
    assert!(most < 60_000);

    let mut client = server.client();
    for number in 0..COLLECTIONS {
        create(&mut client, &format!("c{number}")).await;
    }
    let url = server.database_url.clone();
    drop(server);
    let mut random = 1_u64;
    // Alternates between runs with and without replaced connections.
    for (turn, max_collections) in [750, usize::MAX, 750, usize::MAX, 750, usize::MAX].into_iter().enumerate() {
        let mut setup = crate::support::Setup::new(url.clone());
        (setup.pool_size, setup.max_collections) = (1, max_collections);
        let server = setup.start().await;
        server.ready().await;
        let (sql, mut client) = (server.sql().await, server.client());
        let (mut most, mut searches, mut spent) = (0, 0, Duration::ZERO);
        for _ in 0..100 {
            let began = Instant::now();
            for _ in 0..100 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let name = format!("c{}", (random >> 33) % COLLECTIONS as u64);
                let found = search(&mut client, near(&name, &[1.0, 2.0, 3.0], 3)).await;
                assert_eq!(found.results.len(), 1);
                searches += 1;
            }
            spent += began.elapsed();
            most = most.max(largest(&sql).await.unwrap_or_default());
        }
        let rate = f64::from(searches) / spent.as_secs_f64();
        println!("turn {turn}, {max_collections} collections: {rate:.0} searches/s, {most} kB");
        assert!(max_collections == usize::MAX || most < 60_000);
    }
}
