//! A search is one round trip to the database: over a slow line it takes the line's delay once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pgfox::v1::{self, search_request::Query};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::{Server, cluster, vector_document, vectors};

/// Long beside the work of a search, even on a busy machine.
const DELAY: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_search_is_one_round_trip() {
    let slow = Arc::new(AtomicBool::new(false));
    let (host, port) = ("127.0.0.1", relay(&cluster(18).postgres, Arc::clone(&slow)).await);
    let server = Server::start_with(18, |setup| {
        let (start, end) = setup.database_url.split_once('@').expect("a user");
        let (_, database) = end.split_once('/').expect("a database");
        setup.database_url = format!("{start}@{host}:{port}/{database}");
        setup.pool_size = 1;
    })
    .await;
    let mut client = server.client();
    client.create_collection(vectors("points", 2, v1::Distance::L2)).await.unwrap();
    let documents = (0..100).map(|i| vector_document(&format!("p{i}"), &[i as f32, 1.0])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    client.ingest(request).await.unwrap();
    let request = v1::BuildIndexRequest { collection: "points".into(), ..Default::default() };
    let mut progress = client.build_index(request).await.unwrap().into_inner();
    while progress.message().await.unwrap().is_some() {}

    let mut search = async || {
        let query = Query::Vector(v1::Vector { values: vec![41.2, 1.0] });
        let request =
            v1::SearchRequest { collection: "points".into(), query: Some(query), limit: 3, ..Default::default() };
        let found = client.search(request).await.unwrap().into_inner();
        assert_eq!(found.completeness(), v1::Completeness::Approximate);
    };
    // The second search on a connection prepares its statement.
    search().await;
    search().await;
    slow.store(true, Ordering::Relaxed);
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        search().await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest >= DELAY, "{fastest:?}: the relay does not delay");
    assert!(fastest < DELAY * 2, "{fastest:?}: more than one round trip");
}

/// Relays connections to Postgres; while `slow`, what goes there arrives late. Returns its port.
async fn relay(postgres: &pgfox_server::EmbeddedPostgres, slow: Arc<AtomicBool>) -> u16 {
    let (_, address) = postgres.database_url().split_once('@').expect("a user");
    let (address, _) = address.split_once('/').expect("a database");
    let address = address.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.expect("Postgres");
            client.set_nodelay(true).expect("a socket");
            server.set_nodelay(true).expect("a socket");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            // What is under way on a line does not hold up what follows it.
            let (sender, mut under_way) = mpsc::unbounded_channel();
            let slow = Arc::clone(&slow);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    let delay = if slow.load(Ordering::Relaxed) { DELAY } else { Duration::ZERO };
                    let _ = sender.send((Instant::now() + delay, buffer[..read].to_vec()));
                }
            });
            tokio::spawn(async move {
                while let Some((due, bytes)) = under_way.recv().await {
                    tokio::time::sleep_until(due.into()).await;
                    if to_server.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
