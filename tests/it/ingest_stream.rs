//! IngestStream: one response for each request, in order, and what requests of a stream have to do with each other.

use std::time::Duration;

use pgfox::v1::{self, Distance, pgfox_service_client::PgfoxServiceClient};
use rstest::rstest;
use tonic::{Code, transport::Endpoint};

use crate::{
    calls::{count, counts, refusal, request},
    support::{Server, eventually, text_document, texts, vector_document, vectors},
};

#[rstest]
#[tokio::test]
async fn one_response_per_request_in_order(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("a", 1, Distance::L2)).await.unwrap();
    client.create_collection(texts("b")).await.unwrap();
    let requests: Vec<v1::IngestRequest> = (0..40)
        .map(|i| {
            let id = (i / 2).to_string();
            let part = if i % 2 == 0 {
                request("a", vec![vector_document(&id, &[i as f32])])
            } else {
                request("b", vec![text_document(&id, "a fox")])
            };
            v1::IngestRequest { sequence: 100 - i, ..part }
        })
        .collect();
    let mut stream = client.ingest_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for i in 0..40 {
        let response = stream.message().await.unwrap().expect("a response for each request, though the client is done");
        assert_eq!((response.sequence, counts(&response)), (100 - i, (1, 0, 0)));
    }
    assert_eq!(stream.message().await.unwrap(), None);
    assert_eq!((count(&mut client, "a").await, count(&mut client, "b").await), (20, 20));
    let mut empty = client.ingest_stream(tokio_stream::empty()).await.unwrap().into_inner();
    assert_eq!(empty.message().await.unwrap(), None);
}

/// A request is prepared while the one before it is stored, but it sees what that one stores.
#[rstest]
#[tokio::test]
async fn requests_of_a_stream_see_those_before(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    // All requests have the same documents, and the text of the last one changes with each second request.
    let requests: Vec<_> = (0..20)
        .map(|number| {
            let same = (0..200).map(|id| text_document(&id.to_string(), "the same"));
            let changing = text_document("z", if number / 2 % 2 == 0 { "a fox" } else { "a dog" });
            request("c", same.chain([changing]).collect())
        })
        .collect();
    let mut stream = client.ingest_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for number in 0..20 {
        let expected = match number {
            0 => (201, 0, 0),
            _ if number % 2 == 0 => (1, 1, 200),
            _ => (0, 0, 201),
        };
        assert_eq!(counts(&stream.message().await.unwrap().unwrap()), expected, "request {number}");
    }
    assert_eq!(stream.message().await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn a_refused_request_ends_the_stream(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let good = |id: &str| request("c", vec![vector_document(id, &[1.0])]);
    let refused = [
        (request("c", vec![vector_document("x", &[1.0]), vector_document("y", &[])]), Code::InvalidArgument),
        (request("unknown", vec![vector_document("x", &[1.0])]), Code::NotFound),
        (request("", vec![]), Code::InvalidArgument),
    ];
    for (position, (bad, code)) in refused.into_iter().enumerate() {
        let (before, after) = (format!("{position} before"), format!("{position} after"));
        let requests = tokio_stream::iter([good(&before), bad, good(&after)]);
        let mut stream = client.ingest_stream(requests).await.unwrap().into_inner();
        assert_eq!(counts(&stream.message().await.unwrap().unwrap()), (1, 0, 0));
        assert_eq!(refusal::<()>(Err(stream.message().await.unwrap_err())).0, code);
    }
    assert_eq!(count(&mut client, "c").await, 3);
    let skip = || v1::IngestRequest { skip_invalid: true, ..request("c", vec![vector_document("", &[])]) };
    let requests = tokio_stream::iter([skip(), good("one"), skip(), good("two")]);
    let mut stream = client.ingest_stream(requests).await.unwrap().into_inner();
    for (stored, errors) in [(0, 1), (1, 0), (0, 1), (1, 0)] {
        let response = stream.message().await.unwrap().unwrap();
        assert_eq!((counts(&response), response.errors.len()), ((stored, 0, 0), errors));
    }
}

/// It holds neither locks nor a transaction: nobody waits for a client that does not read.
#[tokio::test]
async fn a_client_that_reads_no_responses() {
    let server = Server::start(18).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    // Room for one response.
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let channel = endpoint.initial_stream_window_size(16).connect().await.unwrap();
    let requests = (0..200).map(|id: i32| request("c", vec![vector_document(&id.to_string(), &[1.0])]));
    let stream = PgfoxServiceClient::new(channel).ingest_stream(tokio_stream::iter(requests)).await.unwrap();
    let sql = server.sql().await;
    let stored = async || -> i64 {
        let rows = sql.query_one("SELECT count(*) FROM pgfox.c", &[]).await.unwrap();
        rows.get(0)
    };
    eventually("the server waits for the client", async || {
        let before = stored().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        before > 0 && stored().await == before
    })
    .await;
    assert!(stored().await < 100, "{}", stored().await);
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    assert_eq!(sql.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);
    // It continues when the client reads.
    let mut stream = stream.into_inner();
    for _ in 0..200 {
        assert_eq!(counts(&stream.message().await.unwrap().unwrap()), (1, 0, 0));
    }
    assert_eq!(stored().await, 200);
}
