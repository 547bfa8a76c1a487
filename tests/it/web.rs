//! Web pages in a browser: which calls are allowed, what gRPC-Web carries both ways, and that other clients notice
//! nothing.

mod page;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Version, body::Bytes, header::HeaderName};
use hyper_util::{client::legacy, rt::TokioExecutor};
use pgfox::v1;
use pgfox_server::{ApiKeys, Certificate};
use prost::Message;
use tonic::{Code, client::GrpcService as _, codec::CompressionEncoding::Gzip};

use self::page::{Answer, call, call_with, frame, path, preflight, try_send};
use crate::{
    calls::ingest,
    process::{ServerProcess, command},
    support::{
        AN_HOUR, Server, Setup, cluster, create_database, eventually, reason, vector_document, vectors,
        waiting_for_locks,
    },
    telemetry::{Scrape, counted},
};

const APP: &str = "https://app.example.com";
const OTHER_APP: &str = "http://localhost:3000";
const FOREIGN: [&str; 7] = [
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.example",
    "https://evil.app.example.com",
    "*",
    "null",
];

const PROTO: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// Lets the pages of two origins call.
fn for_pages(setup: &mut Setup) {
    setup.web_origins = [APP, OTHER_APP].map(|origin| origin.parse().unwrap()).into();
}

/// A server that pages may call, with a collection `points`.
async fn start(change: impl FnOnce(&mut Setup)) -> Server {
    let server = Server::start_with(18, |setup| {
        for_pages(setup);
        change(setup);
    })
    .await;
    if server.client().create_collection(vectors("points", 2, v1::Distance::L2)).await.is_ok() {
        let documents = (0..50).map(|i| vector_document(&format!("p{i}"), &[i as f32, 1.0])).collect();
        ingest(&mut server.client(), "points", documents).await;
    }
    server
}

fn search_request(collection: &str) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: collection.into(),
        query: Some(v1::search_request::Query::Vector(v1::Vector { values: vec![7.2, 1.0] })),
        limit: 2,
        ..Default::default()
    }
}

fn found(response: &v1::SearchResponse) -> Vec<&str> {
    response.results.iter().map(|result| result.document.as_ref().unwrap().id.as_str()).collect()
}

#[tokio::test]
async fn pages_of_the_configured_origins_may_call() {
    let server = start(|setup| setup.web_headers = vec![HeaderName::from_static("x-tenant")]).await;
    for origin in [APP, OTHER_APP] {
        let answer = preflight(&server.address, Some(origin)).await;
        assert_eq!(answer.code, 200, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert_eq!(answer.names("access-control-allow-methods"), ["POST"]);
        let allowed = answer.names("access-control-allow-headers");
        for name in ["content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "authorization", "x-request-id"] {
            assert!(allowed.contains(&name), "{name}: {allowed:?}");
        }
        for name in ["traceparent", "tracestate", "baggage", "sentry-trace", "b3", "x-tenant"] {
            assert!(allowed.contains(&name), "{name}: {allowed:?}");
        }
        assert_eq!(answer.header("access-control-max-age"), "7200");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        assert!(answer.names("vary").contains(&"origin"), "{answer:?}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_not() {
    let server = start(|_| {}).await;
    for origin in FOREIGN {
        let asked = preflight(&server.address, Some(origin)).await;
        let deletion = v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() };
        let called = call_with(&server, "DeleteCollection", &deletion, &[("origin", origin)]).await;
        for answer in [asked, called] {
            assert_eq!((answer.code, answer.cors_headers()), (403, vec![]), "{origin}: {answer:?}");
            assert!(std::str::from_utf8(&answer.body).unwrap().contains("--web-origins"), "{answer:?}");
        }
    }
    let kept = v1::GetCollectionRequest { name: "points".into() };
    server.client().get_collection(kept).await.expect("nothing was deleted");

    let answer = preflight(&server.address, None).await;
    assert_eq!((answer.code, answer.cors_headers()), (400, vec![]), "{answer:?}");
    // Neither a header of a page nor one of gRPC-Web.
    let answer = try_send(&server.address, Method::GET, "/", &[], Vec::new()).await.unwrap();
    assert_eq!((answer.code, answer.cors_headers()), (415, vec![]), "{answer:?}");
}

#[tokio::test]
async fn calls_of_pages_are_counted_as_all_others() {
    let server = start(|setup| setup.metrics = true).await;
    let metrics = server.metrics_address.expect("an address");
    preflight(&server.address, Some(APP)).await;
    call(&server, "Search", &search_request("points")).await;
    call(&server, "Search", &search_request("missing")).await;
    counted(metrics, "Search", "NOT_FOUND", 1.0).await;
    counted(metrics, "Search", "OK", 1.0).await;
    let scrape = Scrape::of(metrics).await;
    assert_eq!(scrape.errors("Search", "COLLECTION_NOT_FOUND"), 1.0);
    assert_eq!(scrape.calls("Search", "CANCELLED"), 0.0);
}

#[tokio::test]
async fn a_page_searches() {
    let server = start(|_| {}).await;
    let answer = call(&server, "Search", &search_request("points")).await;
    let (messages, trailers) = answer.frames::<v1::SearchResponse>();
    assert_eq!((messages.len(), found(&messages[0])), (1, vec!["p7", "p8"]));
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(answer.header("grpc-encoding"), "", "nothing is compressed for those who did not ask");

    // Programs without an origin may call, too. They get none of the headers that only browsers need.
    let answer = call_with(&server, "Search", &search_request("points"), &[]).await;
    assert_eq!((answer.status().code(), answer.cors_headers()), (Code::Ok, vec![]));
}

#[tokio::test]
async fn a_page_reads_errors() {
    let server = start(|_| {}).await;
    let answer = call(&server, "Search", &search_request("none")).await;
    assert_eq!(answer.error(), (Code::NotFound, "COLLECTION_NOT_FOUND".into()));
    let exposed = answer.names("access-control-expose-headers");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(&name) && answer.headers.contains_key(name), "{name}: {answer:?}");
    }

    let answer = call(&server, "Search", &v1::SearchRequest { limit: -1, ..search_request("points") }).await;
    let status = answer.status();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::InvalidArgument, ("INVALID_FIELD".into(), vec!["limit".into()]))
    );

    let unreadable = [0, 0, 0, 0, 1, 0xff].to_vec();
    let headers = [("content-type", PROTO), ("origin", APP)];
    let answer = try_send(&server.address, Method::POST, &path("Search"), &headers, unreadable).await.unwrap();
    assert_eq!(answer.error(), (Code::InvalidArgument, "INVALID_FIELD".into()));
    assert_eq!(call(&server, "None", &()).await.status().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_page_searches_in_base64() {
    let server = start(|_| {}).await;
    let send = async |collection: &str| {
        let headers = [("content-type", TEXT), ("accept", TEXT), ("x-grpc-web", "1"), ("origin", APP)];
        let body = BASE64_STANDARD.encode(frame(&search_request(collection))).into_bytes();
        let mut answer = try_send(&server.address, Method::POST, &path("Search"), &headers, body).await.unwrap();
        assert_eq!(answer.header("content-type"), "application/grpc-web-text+proto");
        // Each part has its own padding.
        let decode = |four| BASE64_STANDARD.decode(four).expect("base64");
        answer.body = answer.body.chunks(4).flat_map(decode).collect();
        answer
    };
    let answer = send("points").await;
    let (messages, trailers) = answer.frames::<v1::SearchResponse>();
    assert_eq!((messages.len(), found(&messages[0])), (1, vec!["p7", "p8"]));
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(send("none").await.error(), (Code::NotFound, "COLLECTION_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_page_follows_a_build() {
    let server = start(|_| {}).await;
    let request = v1::BuildIndexRequest { collection: "points".into(), ..Default::default() };
    let answer = call(&server, "BuildIndex", &request).await;
    let (messages, trailers) = answer.frames::<v1::BuildIndexResponse>();
    let last = messages.last().expect("progress");
    assert_eq!((last.phase(), last.fraction_done), (v1::IndexPhase::Ready, 1.0), "{messages:?}");
    assert_eq!(trailers["grpc-status"], "0");

    let request = v1::BuildIndexRequest { collection: "none".into(), ..Default::default() };
    let answer = call(&server, "BuildIndex", &request).await;
    assert_eq!(answer.error(), (Code::NotFound, "COLLECTION_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_page_needs_a_key_where_others_do() {
    let server = start(|setup| setup.api_keys = ApiKeys::new(["fox"])).await;
    let list = async |headers: &[(&str, &str)]| {
        let headers = [&[("origin", APP)], headers].concat();
        call_with(&server, "ListCollections", &v1::ListCollectionsRequest::default(), &headers).await
    };
    for headers in [&[][..], &[("authorization", "Bearer hen")]] {
        assert_eq!(list(headers).await.error(), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
    }
    let answer = list(&[("authorization", "Bearer fox")]).await;
    assert_eq!(answer.status().code(), Code::Ok);
    // A browser sends no key with a preflight request.
    assert_eq!(preflight(&server.address, Some(APP)).await.code, 200);
}

#[tokio::test]
async fn a_page_has_deadlines_and_limits() {
    let server = start(|setup| setup.limits.max_request_bytes = 100_000).await;
    for size in [100_001, 400_000, 4_000_000, 14_000_000] {
        let document = v1::Document { text: "x".repeat(size), ..vector_document("large", &[1.0, 1.0]) };
        let request =
            v1::IngestRequest { collection: "points".into(), documents: vec![document], ..Default::default() };
        let answer = call(&server, "Ingest", &request).await;
        assert_eq!(answer.error(), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()), "{size}");
    }

    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let headers = [("origin", APP), ("grpc-timeout", "700m")];
    let answer = call_with(&server, "Search", &search_request("points"), &headers).await;
    assert_eq!(answer.error(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));

    // Leaving a page cancels its query.
    let request = search_request("points");
    {
        let mut left = Box::pin(call(&server, "Search", &request));
        eventually("the query runs", async || {
            let polled = tokio::time::timeout(std::time::Duration::from_millis(20), &mut left).await;
            assert!(polled.is_err(), "an answer while the table is locked");
            waiting_for_locks(&server.database_url).await == 1
        })
        .await;
    }
    eventually("the query is gone", async || waiting_for_locks(&server.database_url).await == 0).await;
}

#[tokio::test]
async fn a_page_that_stays_does_not_keep_the_server_from_its_end() {
    let server = start(|setup| setup.limits.drain = AN_HOUR).await;
    let page = legacy::Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{}{}", server.address, path("Search")));
    let request = request.header("content-type", PROTO).header("origin", APP);
    let body = Full::new(Bytes::from(frame(&search_request("points"))));
    // The connection is kept for further calls.
    page.request(request.body(body).unwrap()).await.unwrap().into_body().collect().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn other_clients_are_not_affected() {
    let server = start(|_| {}).await;
    let search = async |mut client: crate::support::Client| {
        let response = client.search(search_request("points")).await.unwrap();
        assert_eq!(found(response.get_ref()), ["p7", "p8"]);
        response.metadata().clone().into_headers()
    };
    let request = search_request("points");
    let (page, headers) = tokio::join!(call(&server, "Search", &request), search(server.client()));
    assert_eq!(page.status().code(), Code::Ok);
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).filter(|name| *name != "date").collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "grpc-status", "x-request-id"]);
    assert_eq!(headers["content-type"], "application/grpc");

    let compressed = server.client().send_compressed(Gzip).accept_compressed(Gzip);
    assert_eq!(search(compressed).await["grpc-encoding"], "gzip");
    let status = server.client().search(search_request("none")).await.unwrap_err();
    assert_eq!(reason(&status).0, "COLLECTION_NOT_FOUND");
}

/// A call by gRPC-Web over HTTP/2, which is what browsers speak over TLS.
async fn call_over_http_2(mut channel: tonic::transport::Channel, message: &impl Message, origin: &str) -> Answer {
    let request = Request::builder().method(Method::POST).uri(path("Search"));
    let request = request.header("content-type", PROTO).header("origin", origin);
    let body = tonic::body::Body::new(Full::new(Bytes::from(frame(message))));
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let (parts, body) = channel.call(request.body(body).unwrap()).await.unwrap().into_parts();
    assert_eq!(parts.version, Version::HTTP_2);
    let body = body.collect().await.unwrap().to_bytes();
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn a_page_searches_over_tls() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let pem = certificate.cert.pem();
    let mut setup = Setup::new(create_database(&cluster(18).postgres).await);
    setup.tls =
        Some(Certificate::from_pem(pem.as_bytes(), certificate.signing_key.serialize_pem().as_bytes()).unwrap());
    for_pages(&mut setup);
    let server = setup.start().await;

    let tls = tonic::transport::ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(pem));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("https://{}", server.address)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    eventually("the server is ready", async || {
        let answer = call_over_http_2(channel.clone(), &search_request("none"), APP).await;
        assert_eq!((answer.header("content-type"), answer.header("access-control-allow-origin")), (PROTO, APP));
        answer.error() == (Code::NotFound, "COLLECTION_NOT_FOUND".into())
    })
    .await;
    let answer = call_over_http_2(channel, &search_request("none"), "https://evil.example").await;
    assert_eq!((answer.code, answer.cors_headers()), (403, vec![]));
}

#[tokio::test]
async fn without_origins_there_is_nothing_of_it() {
    let server = Server::start(18).await;
    let headers = [("content-type", PROTO), ("origin", APP)];
    let body = frame(&search_request("none"));
    let by_http_1 = try_send(&server.address, Method::POST, &path("Search"), &headers, body).await.unwrap();
    let by_http_2 = call_over_http_2(server.channel.clone(), &search_request("none"), APP).await;
    for answer in [by_http_1, by_http_2] {
        assert_eq!((answer.code, answer.cors_headers()), (415, vec![]), "{answer:?}");
        assert!(std::str::from_utf8(&answer.body).unwrap().contains("--web-origins"), "{answer:?}");
    }
    assert_eq!(preflight(&server.address, Some(APP)).await.cors_headers(), Vec::<&HeaderName>::new());
}

#[tokio::test]
async fn the_program_takes_origins_and_nothing_else() {
    for (origins, reported) in [
        ("*", "name each origin"),
        ("https://*.example.com", "name each origin"),
        ("https://app.example.com/page", "scheme://host"),
        ("app.example.com", "scheme://host"),
        ("https://app.example.com,null", "scheme://host"),
    ] {
        let mut by_flag = command("pgfox-server");
        by_flag.args(["--web-origins", origins]);
        let mut by_variable = command("pgfox-server");
        by_variable.env("PGFOX_WEB_ORIGINS", origins);
        for mut command in [by_flag, by_variable] {
            let output = command.output().await.unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{origins}: {stderr}");
            assert!(stderr.contains("--web-origins") && stderr.contains(reported), "{origins}: {stderr}");
        }
    }

    for headers in ["*", "x tenant"] {
        let mut wrong = command("pgfox-server");
        let output = wrong.args(["--web-headers", headers]).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{headers}: {stderr}");
        assert!(stderr.contains("--web-headers") && stderr.contains("such as x-tenant"), "{headers}: {stderr}");
    }

    let mut command = command("pgfox-server");
    command.args(["--listen", "127.0.0.1:0", "--default-model", "none"]);
    command.env("DATABASE_URL", "postgres://127.0.0.1:1/none");
    command.env("PGFOX_WEB_ORIGINS", format!("{APP}:443, {OTHER_APP}"));
    command.env("PGFOX_WEB_HEADERS", "X-Tenant, x-b3-traceid");
    let server = ServerProcess::spawn(command).await;
    for origin in [APP, OTHER_APP] {
        let answer = preflight(&server.address, Some(origin)).await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let allowed = answer.names("access-control-allow-headers");
        assert!(allowed.contains(&"x-tenant") && allowed.contains(&"x-b3-traceid"), "{allowed:?}");
    }
    assert_eq!(preflight(&server.address, Some("https://evil.example")).await.code, 403);
    server.kill().await;
}

#[tokio::test]
async fn a_page_learns_of_headers_that_are_too_large() {
    let server = start(|_| {}).await;
    let baggage = "x".repeat(20_000);
    let headers = [("origin", APP), ("baggage", &baggage)];
    let answer = call_with(&server, "Search", &search_request("points"), &headers).await;
    assert_eq!(answer.error(), (Code::ResourceExhausted, "HEADERS_TOO_LARGE".into()));
    let headers = [("origin", APP), ("baggage", &baggage[..8_000])];
    let answer = call_with(&server, "Search", &search_request("points"), &headers).await;
    assert_eq!(answer.status().code(), Code::Ok);
}
