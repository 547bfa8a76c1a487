//! The end of a server: running calls finish, streams get the reason, then Postgres stops.

use std::time::Duration;

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper_util::{client::legacy, rt::TokioExecutor};

use super::*;
use crate::{
    process::{ServerProcess, command},
    support::waiting_for_locks,
};

fn documents(sequence: i64) -> v1::IngestRequest {
    let documents = (0..50).map(|i| vector_document(&format!("{sequence}-{i}"), &[i as f32, 0.0, 1.0])).collect();
    v1::IngestRequest { collection: "points".into(), documents, sequence, ..Default::default() }
}

#[tokio::test]
async fn calls_finish_and_streams_end_after_what_they_stored() {
    let server = Server::start(18).await;
    fill(&mut server.client()).await;
    let mut client = server.client();
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    requests.send(documents(1)).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.ingest_stream(stream).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().upserted_count, 50);

    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let running = tokio::spawn({
        let mut client = server.client();
        async move { client.search(search_request()).await }
    });
    // This one waits for the lock too, and gets its answer when it is stored.
    requests.send(documents(2)).await.unwrap();
    eventually("both wait", async || waiting_for_locks(&server.database_url).await == 2).await;

    let database_url = server.database_url.clone();
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopping.is_finished() && !running.is_finished());
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().into_inner().results.len(), 50);
    let second = answers.message().await.unwrap().unwrap();
    assert_eq!((second.sequence, second.upserted_count), (2, 50));
    let status = answers.message().await.expect_err("the server is going away");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    stopping.await.unwrap().unwrap();
    let stored: i64 =
        sql(&database_url).await.query_one("SELECT count(*) FROM pgfox.points", &[]).await.unwrap().get(0);
    assert_eq!(stored, 200);
}

#[tokio::test]
async fn nothing_that_waits_for_its_caller_holds_up_the_end() {
    use tokio::io::AsyncWriteExt as _;
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let server = Server::start_with(18, |setup| {
        setup.limits.drain = AN_HOUR;
        setup.limits.first_call = AN_HOUR;
    })
    .await;
    fill(&mut server.client()).await;
    let shutting_down = |status: &Status| {
        assert_eq!((status.code(), reason(status).0.as_str()), (Code::Unavailable, "SHUTTING_DOWN"), "{status:?}");
    };

    // Connections without a call.
    let silent = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    let mut half_open = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    half_open.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let connected = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    // Calls of which no message, or only its first bytes, have arrived.
    let half_sent = |service: &str, begin: &'static [u8]| {
        let transport = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let sent = tokio_stream::once(Ok::<_, Status>(Frame::data(Bytes::from_static(begin))));
        let body = StreamBody::new(sent.chain(tokio_stream::pending()));
        let request = hyper::Request::post(format!("http://{}/{service}", server.address))
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(body))
            .unwrap();
        tokio::spawn(transport.request(request))
    };
    let mut unary = Vec::new();
    for service in ["pgfox.v1.PgfoxService/Ingest", "pgfox.v1.PgfoxService/Search", "grpc.health.v1.Health/Check"] {
        unary.push((service, half_sent(service, b"\0\0\0\0")));
        unary.push((service, half_sent(service, b"\0\0\0\x01\0the beginning")));
    }
    // Streams whose callers send nothing more.
    let (ingest, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut ingested = server.client().ingest_stream(requests).await.unwrap().into_inner();
    let (questions, receiver) = tokio::sync::mpsc::channel(1);
    let list = MessageRequest::ListServices(String::new());
    questions.send(ServerReflectionRequest { host: String::new(), message_request: Some(list) }).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    let watch = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(server.channel.clone()).watch(watch).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // The calls are on their way meanwhile.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopping = tokio::spawn(server.stop());
    shutting_down(&ingested.message().await.expect_err("the server is going away"));
    shutting_down(&answers.message().await.expect_err("the server is going away"));
    while let Ok(Some(message)) = watch.message().await {
        assert_ne!(message.status(), ServingStatus::Serving);
    }
    for (service, answer) in unary {
        // A health check without an earlier call may lose its connection instead.
        if !service.contains("Health") {
            let answer = answer.await.unwrap().unwrap();
            shutting_down(&Status::from_header_map(answer.headers()).expect("a status"));
        }
    }
    stopping.await.unwrap().unwrap();
    drop((silent, half_open, connected, ingest, questions));
}

#[tokio::test]
async fn sigterm_ends_the_process_and_its_postgres() {
    let data = tempfile::tempdir().unwrap();
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut serve = command("pgfox-server");
    serve.args(["--listen", "127.0.0.1:0", "--postgres-memory", "256MB", "--local-models", models]);
    serve.args(["--default-model", "local/tiny-bert", "--data-dir"]).arg(data.path());
    let mut server = ServerProcess::spawn(serve).await;
    let mut client = pgfox_client::connect(&pgfox_client::ConnectOptions::new(&server.address)).await.unwrap();
    eventually("the server is ready", async || {
        client.create_collection(vectors("points", 3, v1::Distance::L2)).await.is_ok()
    })
    .await;
    let database_url = std::fs::read_to_string(data.path().join("database-url")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(data.path().join("database-url")).unwrap().permissions()
        ) & 0o777,
        0o600
    );
    sql(database_url.trim()).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    requests.send(documents(1)).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.ingest_stream(stream).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().upserted_count, 50);

    server.terminate();
    let status = answers.message().await.expect_err("the server is going away");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert_eq!(server.exit_code().await, Some(0), "{}", server.log());
    let connected = tokio_postgres::connect(database_url.trim(), tokio_postgres::NoTls).await;
    assert!(connected.is_err(), "its Postgres still runs");
}
