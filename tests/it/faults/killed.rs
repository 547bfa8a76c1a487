//! kill -9 in the middle of a stream: nothing acknowledged is lost, and nothing is stored twice.

use std::time::Duration;

use pgfox_client::{ConnectOptions, IngestEvent, IngestOptions};

use super::*;
use crate::{
    process::ServerProcess,
    support::{create_database, sql, start_postgres, vector_document, vectors},
};

const DOCUMENTS: u64 = 6_000;

#[tokio::test]
async fn a_stream_survives_kills_of_postgres_and_of_the_server() {
    let postgres = start_postgres(18).await;
    let database_url = create_database(&postgres).await;
    let mut server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let address = server.address.clone();
    let mut client = pgfox_client::connect(&ConnectOptions::new(&address)).await.unwrap();
    eventually("the server is ready", async || {
        client.create_collection(vectors("points", 3, v1::Distance::L2)).await.is_ok()
    })
    .await;

    // So slow that every kill comes in the middle.
    let (source, documents) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for i in 0..DOCUMENTS {
            if i % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let document = vector_document(&i.to_string(), &[i as f32, 0.0, 1.0]);
            source.send(Ok::<_, std::convert::Infallible>(document)).await.expect("a reader");
        }
    });
    let documents = tokio_stream::wrappers::ReceiverStream::new(documents);
    let options = IngestOptions { documents_per_request: 100, ..Default::default() };
    let (acknowledged, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let mut interruptions = 0;
    let ingest = pgfox_client::ingest(&client, "points", documents, &options, |event| match event {
        IngestEvent::Acknowledged { totals, .. } => acknowledged.send(totals.documents).unwrap(),
        IngestEvent::Interrupted { .. } => interruptions += 1,
    });
    let kills = async {
        let mut until = async |least: u64| while progress.recv().await.expect("progress") < least {};
        until(1_000).await;
        postgres.kill().unwrap();
        until(2_500).await;
        server.kill().await;
        // Not at once, so that the client meets a closed port too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        server = ServerProcess::start(&database_url, &address).await;
        until(4_000).await;
        postgres.kill().unwrap();
        server
    };
    let (totals, server) = tokio::join!(ingest, kills);

    let totals = totals.unwrap();
    assert!(interruptions >= 3, "{interruptions} interruptions");
    assert_eq!((totals.documents, totals.updated, totals.skipped), (DOCUMENTS, 0, 0));
    // Documents that were stored but not acknowledged were sent twice and found unchanged.
    assert_eq!(totals.upserted + totals.unchanged, DOCUMENTS);
    let stored = "SELECT count(*), count(DISTINCT id), count(DISTINCT embedding::text), sum(id::bigint)::bigint
                  FROM pgfox.points";
    let stored = sql(&database_url).await.query_one(stored, &[]).await.unwrap();
    let all = DOCUMENTS as i64;
    assert_eq!([0, 1, 2].map(|column| stored.get::<_, i64>(column)), [all; 3]);
    assert_eq!(stored.get::<_, i64>(3), all * (all - 1) / 2);

    server.kill().await;
    postgres.stop().await;
}
