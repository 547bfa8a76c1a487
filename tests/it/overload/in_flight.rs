//! Bytes in flight: many large requests at once, requests without room, and the memory of chunks.

use std::time::{Duration, Instant};

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use super::{RawClient, body, framed, stalled};
use crate::{
    calls::{near, request},
    process::ServerProcess,
    support::{
        AN_HOUR, Server, cluster, create_database, eventually, in_time, reason, text_document, vector_document, vectors,
    },
};

/// Nearly 15 MiB.
fn large_request(round: usize, caller: usize) -> v1::IngestRequest {
    let document = |i: usize| vector_document(&format!("{caller}-{i}"), &[(round * 1_000 + i) as f32 + 0.5; 3_900]);
    request("large", (0..1_000).map(document).collect())
}

#[tokio::test]
async fn many_large_ingests_stay_within_their_memory_and_give_it_back() {
    // A limit for release builds. A number in the environment turns this into a trial.
    let setting = |name: &str, usual: usize| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let (callers, rounds) = (setting("PGFOX_TEST_CALLERS", 12), setting("PGFOX_TEST_ROUNDS", 1));
    let database_url = create_database(&cluster(18).postgres).await;
    let server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let connect = || {
        let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
        PgfoxServiceClient::new(channel)
    };
    let mut client = connect();
    let create = |name: &str, dimensions| {
        let mut request = vectors(name, dimensions, v1::Distance::L2);
        request.collection.as_mut().unwrap().vector_type = v1::VectorType::Vector.into();
        request
    };
    eventually("the server is ready", async || client.create_collection(create("large", 3_900)).await.is_ok()).await;
    client.create_collection(create("small", 3)).await.unwrap();
    client.ingest(request("small", vec![vector_document("a", &[1.0, 2.0, 3.0])])).await.unwrap();
    let (idle, _) = server.memory();

    let began = Instant::now();
    let mut searches = Vec::new();
    for round in 0..rounds {
        let mut calls = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let mut client = connect();
            // Like real clients, which a busy machine can need.
            calls.spawn(async move {
                let request = large_request(round, caller);
                loop {
                    match client.ingest(request.clone()).await {
                        Err(status) if reason(&status).0 == "TOO_MANY_BYTES" => {}
                        done => return done.map(|_| ()),
                    }
                }
            });
        }
        while !calls.is_empty() {
            let began = Instant::now();
            in_time("a search", client.search(near("small", &[1.0, 2.0, 3.0], 1))).await.unwrap();
            searches.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
            while let Some(done) = calls.try_join_next() {
                done.unwrap().unwrap();
            }
        }
    }
    searches.sort();
    let (_, most) = server.memory();
    let report = format!(
        "{callers} callers, {rounds} rounds in {:?}: idle {} MB, most {} MB, searches {:?} at p50, {:?} at p95",
        began.elapsed(),
        idle >> 20,
        most >> 20,
        searches[searches.len() / 2],
        searches[searches.len() * 95 / 100]
    );
    println!("{report}");
    assert!(most < 500 << 20, "{report}");
    eventually("the memory is given back", async || server.memory().0 < idle + (60 << 20)).await;
    println!("back at {} MB after {:?}", server.memory().0 >> 20, began.elapsed());
}

#[tokio::test]
async fn requests_without_room_are_refused_and_searches_continue() {
    let server = Server::start_with(18, |setup| {
        setup.limits.max_bytes_in_flight = 4 << 20;
        setup.limits.bytes_wait = Duration::from_millis(200);
        setup.limits.call_timeout = AN_HOUR;
    })
    .await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    client.ingest(request("points", vec![vector_document("a", &[1.0, 2.0, 3.0])])).await.unwrap();

    // It announces much and sends nothing, over its own connection.
    let holder = RawClient::new(&server.address);
    let holding = tokio::spawn(async move { holder.refusal("Ingest", stalled(16 << 20)).await });
    let large = || {
        let text = "x".repeat(100_000);
        let refused = v1::Document { text, ..vector_document("c", &[1.0]) };
        request("points", vec![vector_document("b", &[1.0, 2.0, 3.0]), refused])
    };
    let status = in_time("a refusal", async {
        loop {
            match client.ingest(large()).await {
                Err(status) if status.code() == Code::ResourceExhausted => return status,
                // The holder had not come yet, or the vector of another length was refused.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    assert_eq!(reason(&status).0, "TOO_MANY_BYTES");
    assert!(status.get_error_details().retry_info().is_some());
    // Small requests and those of other kinds do not wait.
    client.ingest(request("points", vec![vector_document("d", &[1.0, 2.0, 3.0])])).await.unwrap();
    let mut search = near("points", &[1.0, 2.0, 3.0], 10);
    search.read_mask = Some(prost_types::FieldMask { paths: vec![format!("metadata.{}", "x".repeat(1_000)); 90] });
    assert_eq!(client.search(search).await.unwrap().into_inner().results.len(), 2);
    // The bytes of the holder are free again when it leaves.
    holding.abort();
    let mut with_vectors = large();
    with_vectors.documents[1].vector = Some(v1::Vector { values: vec![1.0; 3] });
    eventually("there is room", async || client.ingest(with_vectors.clone()).await.is_ok()).await;
}

#[tokio::test]
async fn a_request_that_is_too_large_in_memory_is_refused_with_its_size() {
    let server = Server::start_with(18, |setup| setup.limits.max_bytes_in_flight = 8 << 20).await;
    // A metadata of many objects: 700 bytes of memory for six on the wire.
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let object = || {
        let fields = [(String::new(), value(prost_types::value::Kind::BoolValue(true)))].into();
        value(prost_types::value::Kind::StructValue(prost_types::Struct { fields }))
    };
    let list = prost_types::ListValue { values: vec![object(); 20_000] };
    let fields = [("list".to_owned(), value(prost_types::value::Kind::ListValue(list)))].into();
    let mut document = vector_document("a", &[1.0]);
    document.metadata = Some(prost_types::Struct { fields });
    let message = prost::Message::encode_to_vec(&request("points", vec![document]));
    let status = RawClient::new(&server.address).refusal("Ingest", body(framed(0, &message))).await;
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert!(status.message().contains("6291456"), "{status:?}");
}

#[tokio::test]
async fn chunks_of_a_request_are_bounded() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut collection = crate::support::texts("passages").collection.unwrap();
    collection.chunking = Some(v1::Chunking {
        method: v1::ChunkingMethod::Text.into(),
        unit: v1::ChunkUnit::Characters.into(),
        max_size: 100,
        overlap: 50,
        embed_headings: None,
    });
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await
        .unwrap();
    let text: String = (0..210_000).map(|i| format!("{:04} ", i % 10_000)).collect();
    let status = client.ingest(request("passages", vec![text_document("a", &text)])).await.expect_err("too many");
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::InvalidArgument, ("INVALID_FIELD".into(), vec!["documents".into()]))
    );
    assert!(status.message().contains("at most 20000 chunks together, not 2"), "{status:?}");
}
