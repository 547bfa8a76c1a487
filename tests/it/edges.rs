//! The edges of the service: callers without gRPC or TLS, and headers and answers that are nearly too large.

use std::time::Duration;

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::Certificate;
use prost::Message as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use crate::{
    calls::ingest,
    metadata::object,
    process::command,
    support::{Client, Server, Setup, cluster, create_database, in_time, reason, vector_document, vectors},
};

/// Sends bytes over a new connection, and returns everything that comes back.
async fn answer(address: &str, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    in_time("an answer and its end", socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn with_tls() -> Server {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = Certificate::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes());
    let mut setup = Setup::new(create_database(&cluster(18).postgres).await);
    setup.tls = Some(certificate.unwrap());
    setup.start().await
}

#[tokio::test]
async fn http_1_gets_a_sentence() {
    for with_pages in [false, true] {
        let server = Server::start_with(18, |setup| {
            if with_pages {
                setup.web_origins = vec!["https://app.example.com".parse().unwrap()];
            }
        })
        .await;
        let grpc = "POST /pgfox.v1.PgfoxService/Search HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\
                    content-length: 5\r\n\r\n\0\0\0\0\0";
        for (request, status, said) in [
            ("GET / HTTP/1.1\r\nhost: x\r\nuser-agent: curl\r\n\r\n", "415", "This is pgfox, a gRPC server"),
            ("GET /health HTTP/1.0\r\n\r\n", "415", "This is pgfox, a gRPC server"),
            (
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"a\": 1}\n",
                "415",
                "gRPC",
            ),
            (grpc, "505", "gRPC needs HTTP/2"),
        ] {
            let answer = answer(&server.address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.") && answer[9..].starts_with(status), "{answer}");
            assert!(answer.contains("content-type: text/plain") && answer.contains(said), "{answer}");
        }
    }
}

#[tokio::test]
async fn strangers_by_http_1_take_no_room() {
    let server = Server::start_with(18, |setup| {
        setup.limits.first_call = Duration::from_secs(1);
        setup.limits.max_connections = 8;
    })
    .await;
    // One after another, each asking to keep the connection.
    for _ in 0..50 {
        let answer = answer(&server.address, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n").await;
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // Half a request, and one whose body never comes.
    for begun in [&b"GET / HTTP/1.1\r\nhost"[..], b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{"] {
        answer(&server.address, begun).await;
    }
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 1_000_000]].concat();
    let mut socket = TcpStream::connect(&server.address).await.unwrap();
    // The server may close before everything is sent.
    let _ = in_time("an end", socket.write_all(&endless)).await;
    let _ = in_time("an end", socket.read_to_end(&mut Vec::new())).await;
    server.client().list_collections(v1::ListCollectionsRequest::default()).await.expect("there is room");
}

#[tokio::test]
async fn a_port_with_tls_says_so() {
    let server = with_tls().await;
    let said = answer(&server.address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("this port speaks TLS: use https://\n"), "{said}");
    let said = answer(&server.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(said.ends_with("this port speaks TLS: use https://"), "{said}");
    // Bytes that are neither get a TLS alert.
    let said = answer(&server.address, b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    assert!(!said.contains("HTTP"), "{said}");

    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap();
    if let Ok(channel) = channel.connect().await {
        let mut client = PgfoxServiceClient::new(channel);
        client.list_collections(v1::ListCollectionsRequest::default()).await.expect_err("no plain text");
    }
}

/// A call with a header of `bytes` bytes.
async fn call_with_header(client: &mut Client, bytes: usize) -> Result<(), tonic::Status> {
    let mut request = Request::new(v1::ListCollectionsRequest::default());
    request.metadata_mut().insert("x-large", MetadataValue::try_from("x".repeat(bytes)).unwrap());
    in_time("an answer", client.list_collections(request)).await.map(drop)
}

#[tokio::test]
async fn headers_that_are_too_large_are_answered() {
    let server = Server::start(18).await;
    let mut client = server.client();
    call_with_header(&mut client, 15_000).await.unwrap();
    for bytes in [16_400, 30_000, 60_000] {
        let status = call_with_header(&mut client, bytes).await.expect_err("too large");
        assert_eq!(
            (status.code(), reason(&status).0),
            (Code::ResourceExhausted, "HEADERS_TOO_LARGE".into()),
            "{bytes}"
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["limit"], "16384");
        assert!(info.metadata["bytes"].parse::<usize>().unwrap() >= bytes, "{info:?}");
        assert!(status.get_details_retry_info().is_none());
        // The connection can still be used.
        call_with_header(&mut client, 10).await.unwrap();
    }
    // HTTP/2 itself refuses this one, with an HTTP status.
    let status = call_with_header(&mut client, 100_000).await.expect_err("too large");
    assert!(status.message().contains("431"), "{status:?}");
    call_with_header(&mut client, 10).await.unwrap();
}

#[tokio::test]
async fn errors_fit_into_what_clients_read_of_headers() {
    let server = Server::start(18).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    // As many and as large violations as possible, in letters that headers escape.
    let name = "🦊".repeat(300);
    let documents: Vec<v1::Document> =
        (0..1_000).map(|i| vector_document(&format!("{i}{name}"), &[f32::NAN, 1.0])).collect();
    let ids = vec!["ü".repeat(256); 100];
    let large: Vec<tonic::Status> = vec![
        client
            .ingest(v1::IngestRequest { collection: name.clone(), documents, ..Default::default() })
            .await
            .unwrap_err(),
        client
            .get_documents(v1::GetDocumentsRequest { collection: "c".into(), ids, ..Default::default() })
            .await
            .unwrap_err(),
        client.get_collection(v1::GetCollectionRequest { name }).await.unwrap_err(),
    ];
    for status in large {
        let message: usize = status.message().bytes().map(|byte| if byte.is_ascii() { 1 } else { 3 }).sum();
        let headers = status.metadata().clone().into_headers();
        let others: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let bytes = message + status.details().len().div_ceil(3) * 4 + others + 3 * 32;
        // 500 bytes are left for a long id of the call and for headers of web pages.
        assert!(bytes < 8_192 - 500, "{bytes} {}", status.code());
    }
}

/// All pages; each is below what clients receive by default.
async fn pages(client: &mut Client, mut request: v1::ListDocumentsRequest) -> Vec<usize> {
    let mut pages = Vec::new();
    loop {
        let page = client.list_documents(request.clone()).await.expect("a page").into_inner();
        let bytes = page.encoded_len() + 5;
        assert!(bytes < 4 << 20 || page.documents.len() == 1, "{bytes} bytes in {} documents", page.documents.len());
        pages.push(page.documents.len());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn pages_are_below_what_clients_receive() {
    let server = Server::start(18).await;
    let mut client = server.client();
    // Sizes that bring the documents of a page close to the limit from both sides, and one above it.
    for (name, dimensions, count, sizes) in [
        ("quarters", 1, 12, 1_048_400..1_048_580),
        ("thousandths", 1, 1_100, 3_600..3_720),
        ("vectors", 1_000, 1_100, 20..260),
        ("alone", 1, 4, 4_194_000..4_194_360),
    ] {
        client.create_collection(vectors(name, dimensions, v1::Distance::L2)).await.unwrap();
        let vector = vec![0.5; dimensions as usize];
        let documents: Vec<v1::Document> = (0..count)
            .map(|i| {
                let size = sizes.start + (i * 7919) % sizes.len();
                // The longest ids make the longest tokens.
                let id = format!("{:0512}", (i * 389) % 1_103);
                v1::Document { text: "x".repeat(size), ..vector_document(&id, &vector) }
            })
            .collect();
        for documents in documents.chunks(if name == "alone" { 2 } else { 12 }) {
            ingest(&mut client, name, documents.to_vec()).await;
        }
        for order in [v1::DocumentOrder::Id, v1::DocumentOrder::CreateTime] {
            let request = v1::ListDocumentsRequest {
                collection: name.into(),
                page_size: 1_000,
                order: order.into(),
                include_vector: true,
                ..Default::default()
            };
            let pages = pages(&mut client, request).await;
            assert_eq!(pages.iter().sum::<usize>(), count, "{name}: {pages:?}");
            // The pages are full, not merely small.
            let fewest = match name {
                "alone" => 1,
                "quarters" => 3,
                _ => 480,
            };
            assert!(pages[..pages.len() - 1].iter().all(|page| *page >= fewest), "{name}: {pages:?}");
        }
    }
    // Metadata is larger in a message than in storage.
    client.create_collection(vectors("metadata", 1, v1::Distance::L2)).await.unwrap();
    for i in 0..40 {
        let metadata = Some(object(&json!({ "zeros": vec![0; 20_000 + i] })));
        let document = v1::Document { metadata, ..vector_document(&format!("d{i}"), &[1.0]) };
        ingest(&mut client, "metadata", vec![document]).await;
    }
    let request = v1::ListDocumentsRequest { collection: "metadata".into(), ..Default::default() };
    assert_eq!(pages(&mut client, request).await.iter().sum::<usize>(), 40);

    // A client with default settings.
    let mut default = PgfoxServiceClient::new(server.channel.clone());
    let request = v1::ListDocumentsRequest { collection: "quarters".into(), page_size: 1_000, ..Default::default() };
    assert!(pages(&mut default, request).await.len() >= 3);
}

/// The stderr of `pgfox` when it lists the collections of the server at `endpoint`.
async fn cli(endpoint: &str, arguments: &[&str]) -> String {
    let mut command = command("pgfox");
    command.args(["--server", endpoint, "collections", "list"]).args(arguments);
    let output = command.output().await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn mistakes_of_tls_have_different_messages() {
    let (plain, tls) = tokio::join!(Server::start(18), with_tls());
    let said = cli(&format!("https://{}", plain.address), &[]).await;
    assert!(said.contains("the server speaks without TLS; write http://"), "{said}");
    let said = cli(&format!("http://{}", tls.address), &[]).await;
    assert!(said.contains("the server speaks TLS; write https://"), "{said}");
    // The name in the certificate is localhost, and no known CA has signed it.
    let said = cli(&format!("https://{}", tls.address), &[]).await;
    assert!(said.contains("is not trusted"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()).unwrap();
    let said = cli(&format!("https://{}", tls.address), &["--ca", ca.to_str().unwrap()]).await;
    assert!(said.contains("is not trusted"), "{said}");

    // The right CA, and another name.
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = Certificate::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes());
    let mut setup = Setup::new(create_database(&cluster(18).postgres).await);
    setup.tls = Some(certificate.unwrap());
    let server = setup.start().await;
    std::fs::write(&ca, pair.cert.pem()).unwrap();
    let said = cli(&format!("https://{}", server.address), &["--ca", ca.to_str().unwrap()]).await;
    assert!(said.contains("is not for the name 127.0.0.1"), "{said}");
}

#[tokio::test]
async fn a_refusal_is_printed_once() {
    let server = Server::start(18).await;
    let endpoint = format!("http://{}", server.address);
    let run = async |arguments: &[&str]| {
        let mut command = command("pgfox");
        let output = command.args(["--server", &endpoint]).args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = run(&["list", "c", "--fields", "texts"]).await;
    assert_eq!((said.matches("paths[0]").count(), said.matches("must be").count()), (1, 1), "{said}");
    let said = run(&["list", "c", "--fields", "texts,meta"]).await;
    assert_eq!((said.matches("paths[0]").count(), said.matches("paths[1]").count()), (1, 1), "{said}");
    assert_eq!(said.matches("must be").count(), 2, "{said}");
    let said = run(&["collections", "get", "unknown", "--json"]).await;
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    let error = &error["error"];
    assert_eq!(
        (&error["reason"], &error["metadata"]["collection"]),
        (&json!("COLLECTION_NOT_FOUND"), &json!("unknown"))
    );
    assert!(error["request_id"].is_string(), "{said}");
    let said = run(&["list", "c", "--fields", "texts", "--json"]).await;
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(error["error"]["violations"][0]["field"], "read_mask.paths[0]", "{said}");
}
