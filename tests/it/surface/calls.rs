//! Deadlines and cancellation, down to the query in Postgres; many calls at once.

use std::time::Duration;

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper_util::{client::legacy, rt::TokioExecutor};

use super::*;
use crate::support::{in_time, waiting_for_locks};

/// A client without timers of its own, so that every answer comes from the server.
fn patient(server: &Server) -> PgfoxServiceClient<legacy::Client<legacy::connect::HttpConnector, tonic::body::Body>> {
    let transport = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    PgfoxServiceClient::with_origin(transport, format!("http://{}", server.address).parse().unwrap())
}

fn with_deadline<T>(message: T, timeout: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn assert_deadline(status: &Status) {
    assert_eq!((status.code(), reason(status).0.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
}

/// Makes searches wait until it is dropped.
async fn lock_documents(server: &Server) -> tokio_postgres::Client {
    let client = server.sql().await;
    client.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    client
}

#[rstest]
#[tokio::test]
async fn a_deadline_ends_the_call_and_its_query(#[values(16, 18)] major: u32) {
    let server = Server::start_with(major, |setup| setup.limits.call_timeout = AN_HOUR).await;
    fill(&mut server.client()).await;
    let lock = lock_documents(&server).await;
    let call = tokio::spawn({
        let mut client = patient(&server);
        async move { client.search(with_deadline(search_request(), "3000m")).await }
    });
    eventually("the query runs", async || waiting_for_locks(&server.database_url).await == 1).await;
    assert_deadline(&in_time("the deadline", call).await.unwrap().expect_err("a deadline"));
    eventually("the query is gone", async || waiting_for_locks(&server.database_url).await == 0).await;
    lock.batch_execute("COMMIT").await.unwrap();
    // The cancelled connection is not handed out in a bad state.
    for _ in 0..20 {
        server.client().search(search_request()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_does_not_come_whole_meets_its_deadline() {
    let server = Server::start(18).await;
    let transport = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
    let request = hyper::Request::post(format!("http://{}/pgfox.v1.PgfoxService/Ingest", server.address))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "300m")
        .body(tonic::body::Body::new(never))
        .unwrap();
    let answer = transport.request(request).await.unwrap();
    assert_deadline(&Status::from_header_map(answer.headers()).unwrap());
}

#[tokio::test]
async fn the_servers_own_limit_is_a_deadline_too() {
    let server = Server::start_with(18, |setup| setup.limits.call_timeout = Duration::from_millis(400)).await;
    fill(&mut server.client()).await;
    let _lock = lock_documents(&server).await;
    assert_deadline(&patient(&server).search(search_request()).await.expect_err("a limit"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_query_along() {
    let server = Server::start(18).await;
    fill(&mut server.client()).await;
    let _lock = lock_documents(&server).await;
    let call = tokio::spawn({
        let mut client = server.client();
        async move { client.search(search_request()).await }
    });
    eventually("the query runs", async || waiting_for_locks(&server.database_url).await == 1).await;
    call.abort();
    eventually("the query is gone", async || waiting_for_locks(&server.database_url).await == 0).await;
}

#[tokio::test]
async fn streams_have_deadlines() {
    let server = Server::start_with(18, |setup| {
        setup.limits.call_timeout = AN_HOUR;
        setup.limits.ingest_timeout = AN_HOUR;
    })
    .await;
    fill(&mut server.client()).await;
    let mut client = patient(&server);

    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let first = v1::IngestRequest { collection: "points".into(), sequence: 1, ..Default::default() };
    requests.send(first).await.unwrap();
    let mut answers = client.ingest_stream(with_deadline(stream, "700m")).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    assert_deadline(&in_time("the deadline", answers.message()).await.expect_err("a deadline"));

    // A build continues when its watcher leaves.
    let hold = server.sql().await;
    hold.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let request = v1::BuildIndexRequest { collection: "points".into(), ..Default::default() };
    let mut progress = client.build_index(with_deadline(request.clone(), "700m")).await.unwrap().into_inner();
    let status = loop {
        match in_time("the deadline", progress.message()).await {
            Ok(message) => assert!(message.is_some(), "the stream ends with a status"),
            Err(status) => break status,
        }
    };
    assert_deadline(&status);
    hold.batch_execute("COMMIT").await.unwrap();
    let mut progress = client.build_index(request).await.unwrap().into_inner();
    while progress.message().await.unwrap().is_some() {}
}

#[tokio::test]
async fn more_calls_than_connections_take_turns() {
    let server = Server::start_with(18, |setup| setup.pool_size = 4).await;
    fill(&mut server.client()).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut client = server.client();
        calls.spawn(async move {
            client.search(search_request()).await.map(|response| response.into_inner().results.len())
        });
    }
    for found in calls.join_all().await {
        assert_eq!(found.unwrap(), 50);
    }
}
