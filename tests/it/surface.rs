//! Things that every gRPC client relies on: reflection, health, deadlines, cancellation, compression, keys, TLS, a
//! clean shutdown.

mod calls;
mod ending;

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::{ApiKeys, Certificate};
use prost::Message as _;
use rstest::rstest;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status, codec::CompressionEncoding::Gzip, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{AN_HOUR, Client, Server, Setup, cluster, eventually, reason, sql, vector_document, vectors};

/// A collection `points` with some vectors.
async fn fill(client: &mut Client) {
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    let documents = (0..100).map(|i| vector_document(&format!("p{i}"), &[i as f32, 0.0, 1.0])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    client.ingest(request).await.unwrap();
}

fn search_request() -> v1::SearchRequest {
    v1::SearchRequest {
        collection: "points".into(),
        query: Some(v1::search_request::Query::Vector(v1::Vector { values: vec![1.0, 2.0, 3.0] })),
        limit: 50,
        ..Default::default()
    }
}

/// Asks the reflection service like grpcurl, with either version of its protocol: one stream, one question at a time.
macro_rules! reflect {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest as Question,
            server_reflection_response::MessageResponse as Answer,
        };
        let mut client = ServerReflectionClient::new($channel);
        let (questions, receiver) = tokio::sync::mpsc::channel(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let ask = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        questions.send(ask(Question::ListServices(String::new()))).await.unwrap();
        let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let Answer::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
        let mut services: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
        services.sort();

        let mut files = std::collections::BTreeMap::new();
        // The second for the details of errors.
        let symbols = ["pgfox.v1.PgfoxService", "google.rpc.ErrorInfo"];
        let mut wanted: Vec<_> = symbols.map(|symbol| Question::FileContainingSymbol(symbol.into())).into();
        while let Some(question) = wanted.pop() {
            questions.send(ask(question)).await.unwrap();
            let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
            let Answer::FileDescriptorResponse(found) = answer else { panic!("{answer:?}") };
            for file in found.file_descriptor_proto {
                let file = prost_types::FileDescriptorProto::decode(&file[..]).unwrap();
                let unknown = file.dependency.iter().filter(|name| !files.contains_key(*name));
                wanted.extend(unknown.map(|name| Question::FileByFilename(name.clone())));
                files.insert(file.name().to_owned(), file);
            }
        }
        questions.send(ask(Question::FileContainingSymbol("pgfox.v1.None".into()))).await.unwrap();
        let missing = answers.message().await;
        let missing = match missing {
            Ok(Some(answer)) => matches!(answer.message_response, Some(Answer::ErrorResponse(_))),
            Ok(None) => false,
            Err(status) => status.code() == Code::NotFound,
        };
        assert!(missing, "a symbol that does not exist");
        (services, files)
    }};
}

#[tokio::test]
async fn reflection_gives_everything_that_a_call_needs() {
    let server = Server::start(18).await;
    let (services, files) = reflect!(v1, server.channel.clone());
    let older = reflect!(v1alpha, server.channel.clone());
    assert!(files == older.1, "both versions tell the same");
    for service in ["grpc.health.v1.Health", "pgfox.v1.PgfoxService"] {
        assert!(
            [&services, &older.0].iter().all(|services| services.iter().any(|name| name == service)),
            "{services:?}"
        );
    }

    let service = &files["pgfox/v1/pgfox_service.proto"].service[0];
    let methods: Vec<&str> = service.method.iter().map(prost_types::MethodDescriptorProto::name).collect();
    let expected = [
        "CreateCollection",
        "GetCollection",
        "ListCollections",
        "UpdateCollection",
        "DeleteCollection",
        "RetryFailed",
        "PauseSource",
        "ResumeSource",
        "Ingest",
        "IngestStream",
        "GetDocuments",
        "ListDocuments",
        "CountDocuments",
        "FacetDocuments",
        "DeleteDocuments",
        "UpdateMetadata",
        "BuildIndex",
        "ListIndexes",
        "DropIndex",
        "Search",
        "SearchBatch",
    ];
    assert_eq!(methods, expected);
    // Every type that a message uses is in one of the files, so that grpcurl can read and write it.
    let messages: Vec<(String, &prost_types::DescriptorProto)> = files
        .values()
        .flat_map(|file| {
            file.message_type.iter().map(move |message| (format!(".{}.{}", file.package(), message.name()), message))
        })
        .collect();
    let enums =
        files.values().flat_map(|file| file.enum_type.iter().map(move |e| format!(".{}.{}", file.package(), e.name())));
    let mut known: std::collections::HashSet<String> = enums.collect();
    for (name, message) in &messages {
        known.insert(name.clone());
        known.extend(message.nested_type.iter().map(|nested| format!("{name}.{}", nested.name())));
    }
    for (name, message) in &messages {
        for field in message.field.iter().filter(|field| !field.type_name().is_empty()) {
            assert!(known.contains(field.type_name()), "{name}.{}: {}", field.name(), field.type_name());
        }
    }
    for method in &service.method {
        assert!(known.contains(method.input_type()) && known.contains(method.output_type()), "{}", method.name());
    }
}

async fn check(server: &Server, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.into() };
    Ok(HealthClient::new(server.channel.clone()).check(request).await?.into_inner().status())
}

#[tokio::test]
async fn health_reports_what_is_served_and_its_end() {
    // A watch that kept the server from ending would be detected here.
    let server = Server::start_with(18, |setup| setup.limits.drain = AN_HOUR).await;
    for service in ["", "pgfox.v1.PgfoxService", "pgfox.embedder", "pgfox.process"] {
        assert_eq!(check(&server, service).await.unwrap(), ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(check(&server, "none").await.expect_err("unknown").code(), Code::NotFound);

    let mut health = HealthClient::new(server.channel.clone());
    let mut watches = Vec::new();
    for service in ["", "pgfox.v1.PgfoxService"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let stopping = tokio::spawn(server.stop());
    for mut watch in watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        while let Ok(Some(message)) = watch.message().await {
            assert_ne!(message.status(), ServingStatus::Serving);
        }
    }
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn health_waits_for_the_database() {
    let cluster = &cluster(18).postgres;
    let (host, _) = cluster.database_url().rsplit_once('/').unwrap();
    let server = Setup::new(format!("{host}/not_yet")).start().await;
    for service in ["", "pgfox.v1.PgfoxService"] {
        assert_eq!(check(&server, service).await.unwrap(), ServingStatus::NotServing);
    }
    assert_eq!(check(&server, "pgfox.process").await.unwrap(), ServingStatus::Serving, "a restart would not help");
    let status = server.client().search(search_request()).await.expect_err("no database yet");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    sql(cluster.database_url()).await.batch_execute("CREATE DATABASE not_yet").await.unwrap();
    server.ready().await;
    fill(&mut server.client()).await;
}

#[tokio::test]
async fn gzip_is_for_those_who_use_it() {
    let server = Server::start(18).await;
    fill(&mut server.client()).await;
    let encoding = async |mut client: Client| {
        let response = client.search(search_request()).await.unwrap();
        let encoding = response.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.into_inner().results.len(), 50);
        encoding
    };
    assert_eq!(encoding(server.client()).await, None);
    // Many clients accept gzip without their user knowing.
    assert_eq!(encoding(server.client().accept_compressed(Gzip)).await, None);
    assert_eq!(encoding(server.client().send_compressed(Gzip).accept_compressed(Gzip)).await.as_deref(), Some("gzip"));
    assert_eq!(encoding(server.client().send_compressed(Gzip)).await, None);
}

#[tokio::test]
async fn keys_open_all_but_health() {
    let server = Server::start_with(18, |setup| setup.api_keys = ApiKeys::new(["first key", "second"])).await;
    let call = async |key: Option<&str>| {
        let mut request = Request::new(v1::ListCollectionsRequest::default());
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", key.parse().unwrap());
        }
        server.client().list_collections(request).await.map(|_| ())
    };
    for wrong in [None, Some("second"), Some("Bearer "), Some("Bearer first"), Some("Basic second")] {
        let status = call(wrong).await.expect_err("no key");
        assert_eq!(
            (status.code(), reason(&status).0.as_str()),
            (Code::Unauthenticated, "UNAUTHENTICATED"),
            "{wrong:?}"
        );
    }
    for right in ["Bearer first key", "bearer second"] {
        call(Some(right)).await.unwrap();
    }
    assert_eq!(check(&server, "").await.unwrap(), ServingStatus::Serving);

    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let list = || ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let status = reflection.server_reflection_info(tokio_stream::once(list())).await.expect_err("no key");
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = Request::new(tokio_stream::once(list()));
    request.metadata_mut().insert("authorization", "Bearer second".parse().unwrap());
    let mut answers = reflection.server_reflection_info(request).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn tls_is_served_from_a_certificate_and_its_key() {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let pem = certificate.cert.pem();
    let key = certificate.signing_key.serialize_pem();
    let database_url = crate::support::create_database(&cluster(18).postgres).await;
    let mut setup = Setup::new(database_url);
    setup.tls = Some(Certificate::from_pem(pem.as_bytes(), key.as_bytes()).unwrap());
    let server = setup.start().await;

    let mut options = pgfox_client::ConnectOptions::new(format!("https://{}", server.address));
    options.ca_pem = Some(pem.into_bytes());
    let mut client = pgfox_client::connect(&options).await.unwrap();
    eventually("the server is ready", async || {
        client.list_collections(v1::ListCollectionsRequest::default()).await.is_ok()
    })
    .await;

    let unknown = pgfox_client::ConnectOptions::new(format!("https://{}", server.address));
    assert!(pgfox_client::connect(&unknown).await.is_err(), "a certificate that nobody vouches for");
    let plain = pgfox_client::ConnectOptions::new(format!("http://{}", server.address));
    if let Ok(mut client) = pgfox_client::connect(&plain).await {
        client.list_collections(v1::ListCollectionsRequest::default()).await.expect_err("no plain text");
    }
}

#[tokio::test]
async fn connections_that_idle_are_kept() {
    let server = Server::start_with(18, |setup| setup.limits.keepalive = std::time::Duration::from_millis(100)).await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut client = PgfoxServiceClient::new(channel);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn old_connections_are_replaced_and_no_call_fails() {
    let age = std::time::Duration::from_millis(200);
    let server = Server::start_with(18, |setup| setup.limits.max_connection_age = Some(age)).await;
    let line = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = pgfox_client::ConnectOptions::new(line.local_addr().unwrap().to_string());
    let calls = async {
        // It retries a call that met the end of a connection.
        let mut client = pgfox_client::connect(&options).await.unwrap();
        for _ in 0..50 {
            client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
            tokio::time::sleep(age / 10).await;
        }
    };
    let mut connections = 0;
    let forward = async {
        loop {
            let (mut near, _) = line.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&server.address).await.unwrap();
            connections += 1;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    };
    tokio::select! {
        () = calls => {}
        () = forward => {}
    }
    assert!(connections > 1, "one connection for a second");
}
