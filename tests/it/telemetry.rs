//! Metrics by HTTP, ids of calls, and logs as JSON.

use std::{net::SocketAddr, time::Duration};

use pgfox::v1::{self, index_spec::Kind, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::ApiKeys;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, metadata::MetadataMap, transport::Channel};

use crate::{
    attached::{attach, source},
    calls::{about, build_index, ingest, near, request, search, with_provider},
    process::{self, ServerProcess},
    provider::{Answer, Provider},
    support::{Server, cluster, create_database, eventually, text_document, texts, vector_document, vectors},
};

/// Status line and the rest of the answer to a request by HTTP/1.1.
async fn http(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (status, rest) = answer.split_once("\r\n").expect("a status line");
    (status.to_owned(), rest.to_owned())
}

/// The samples at this moment.
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let (status, text) = http(address, "GET", "/metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(text.contains("application/openmetrics-text") && text.ends_with("# EOF\n"), "{text}");
        Self(text)
    }

    /// The value of a sample, named with its labels; 0 if it does not exist.
    pub(crate) fn value(&self, sample: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    pub(crate) fn errors(&self, method: &str, reason: &str) -> f64 {
        self.value(&format!("pgfox_rpc_errors_total{{method=\"{method}\",reason=\"{reason}\"}}"))
    }

    pub(crate) fn calls(&self, method: &str, code: &str) -> f64 {
        self.value(&format!("pgfox_rpc_duration_seconds_count{{method=\"{method}\",code=\"{code}\"}}"))
    }
}

async fn start(change: impl FnOnce(&mut crate::support::Setup)) -> (Server, SocketAddr) {
    let server = Server::start_with(18, |setup| {
        setup.metrics = true;
        change(setup);
    })
    .await;
    let metrics = server.metrics_address.expect("an address");
    (server, metrics)
}

/// Waits until `calls` calls are counted. A call counts once its answer has left.
pub(crate) async fn counted(metrics: SocketAddr, method: &str, code: &str, calls: f64) {
    let what = format!("{calls} calls of {method} with {code}");
    eventually(&what, async || Scrape::of(metrics).await.calls(method, code) == calls).await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let provider = Provider::start().await;
    let (server, metrics) = start(with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("notes")).await.expect("created");
    search(&mut client, about("notes", "ice", 1)).await;
    search(&mut client, about("notes", "ice", 1)).await;
    let missing = client.search(about("missing", "ice", 1)).await.expect_err("refused");
    assert_eq!(missing.code(), Code::NotFound);
    counted(metrics, "CreateCollection", "OK", 1.0).await;
    counted(metrics, "Search", "OK", 2.0).await;
    counted(metrics, "Search", "NOT_FOUND", 1.0).await;

    // One caller leaves, and one has a deadline that passes.
    let _held = (provider.hold(), provider.hold());
    let mut leaving = client.clone();
    let left = tokio::spawn(async move { leaving.search(about("notes", "snow", 1)).await });
    eventually("the provider is asked", async || provider.under_way() == 1).await;
    left.abort();
    counted(metrics, "Search", "CANCELLED", 1.0).await;
    let mut late = Request::new(about("notes", "fog", 1));
    late.set_timeout(Duration::from_secs(2));
    assert_eq!(client.search(late).await.expect_err("too late").code(), Code::DeadlineExceeded);
    counted(metrics, "Search", "DEADLINE_EXCEEDED", 1.0).await;

    let scrape = Scrape::of(metrics).await;
    let labels = "method=\"Search\",code=\"DEADLINE_EXCEEDED\"";
    let bucket = |bound: &str| scrape.value(&format!("pgfox_rpc_duration_seconds_bucket{{le=\"{bound}\",{labels}}}"));
    assert_eq!((bucket("0.1"), bucket("+Inf")), (0.0, 1.0), "{}", scrape.0);
    let seconds = scrape.value(&format!("pgfox_rpc_duration_seconds_sum{{{labels}}}"));
    assert!(seconds > 0.1, "{seconds}");
    // Health checks are not calls of the API.
    assert!(!scrape.0.contains("Health"), "{}", scrape.0);
}

#[tokio::test]
async fn streams_are_counted_at_their_end() {
    let (server, metrics) = start(|_| {}).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 2, v1::Distance::L2)).await.expect("created");
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = client.ingest_stream(stream).await.expect("a stream").into_inner();
    requests.send(request("points", vec![vector_document("a", &[0.0, 1.0])])).await.expect("sent");
    assert!(answers.message().await.expect("an answer").is_some());
    assert_eq!(Scrape::of(metrics).await.calls("IngestStream", "OK"), 0.0);
    drop(requests);
    assert!(answers.message().await.expect("the end").is_none());
    counted(metrics, "IngestStream", "OK", 1.0).await;

    let refused = tokio_stream::iter([request("points", vec![vector_document("b", &[1.0])])]);
    let mut answers = client.ingest_stream(refused).await.expect("a stream").into_inner();
    assert_eq!(answers.message().await.expect_err("refused").code(), Code::InvalidArgument);
    counted(metrics, "IngestStream", "INVALID_ARGUMENT", 1.0).await;

    build_index(&mut client, "points", Kind::Hnsw(v1::Hnsw::default())).await;
    counted(metrics, "BuildIndex", "OK", 1.0).await;
    eventually("the build is over", async || Scrape::of(metrics).await.value("pgfox_index_builds_running") == 0.0)
        .await;
    let scrape = Scrape::of(metrics).await;
    for (event, count) in [("started", 1.0), ("succeeded", 1.0), ("failed", 0.0)] {
        assert_eq!(scrape.value(&format!("pgfox_index_builds_total{{event=\"{event}\"}}")), count, "{event}");
    }
}

/// What an operator sees of a table that a collection is attached to.
#[tokio::test]
async fn errors_are_counted_by_reason() {
    let (server, metrics) = start(|_| {}).await;
    let sql = server.sql().await;
    let table = "CREATE TABLE points (id int PRIMARY KEY, name text CHECK (name <> ''), embedding vector(2))";
    sql.batch_execute(table).await.expect("a table");
    let mut client = server.client();
    client.create_collection(attach(source("points", &["name"]))).await.expect("attached");
    let point = |name: &str| v1::Document { text: name.into(), ..vector_document("1", &[0.0, 1.0]) };
    ingest(&mut client, "c", vec![point("one")]).await;
    client.ingest(request("c", vec![point("")])).await.expect_err("refused by the table");
    let mut answers = client.ingest_stream(tokio_stream::iter([request("c", vec![point("")])])).await.unwrap();
    answers.get_mut().message().await.expect_err("refused by the table");
    sql.batch_execute("ALTER TABLE points DROP COLUMN name").await.expect("changed");
    client.ingest(request("c", vec![point("two")])).await.expect_err("the table has changed");
    client.search(near("c", &[0.0, 1.0], 1)).await.expect_err("the table has changed");

    let wanted = [
        ("Ingest", "COLLECTION_ATTACHED"),
        ("IngestStream", "COLLECTION_ATTACHED"),
        ("Ingest", "SOURCE_CHANGED"),
        ("Search", "SOURCE_CHANGED"),
    ];
    eventually("the errors are counted", async || {
        let scrape = Scrape::of(metrics).await;
        wanted.iter().all(|(method, reason)| scrape.errors(method, reason) == 1.0)
    })
    .await;
    let scrape = Scrape::of(metrics).await;
    assert_eq!(scrape.value("pgfox_ingested_rows_total{result=\"inserted\"}"), 1.0);
    assert_eq!(scrape.0.matches("pgfox_rpc_errors_total{").count(), wanted.len(), "{}", scrape.0);
}

#[tokio::test]
async fn embedding_rows_and_the_cache_are_counted() {
    let provider = Provider::start().await;
    let (server, metrics) = start(with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("notes")).await.expect("created");
    // The model was asked for its dimensions.
    let openai =
        |scrape: &Scrape, what: &str| scrape.value(&format!("pgfox_embed_{what}_total{{provider=\"openai\"}}"));
    let before = Scrape::of(metrics).await;
    assert_eq!((openai(&before, "calls"), openai(&before, "texts")), (1.0, 1.0));

    provider.script(Answer::Status(503), 1);
    let documents = |text: &str| vec![text_document("a", text), text_document("b", "two words")];
    ingest(&mut client, "notes", documents("now three words")).await;
    ingest(&mut client, "notes", documents("another")).await;
    search(&mut client, about("notes", "ice", 1)).await;
    search(&mut client, about("notes", "ice", 1)).await;
    provider.script(Answer::QuotaExhausted, 1);
    client.search(about("notes", "snow", 1)).await.expect_err("no quota");

    let scrape = Scrape::of(metrics).await;
    let reported = ["calls", "texts", "tokens", "retries", "failures"].map(|what| openai(&scrape, what));
    let tokens_before = openai(&before, "tokens");
    assert_eq!(reported, [5.0, 5.0, tokens_before + 7.0, 1.0, 1.0], "{}", scrape.0);
    let result = |name: &str, result: &str| scrape.value(&format!("pgfox_{name}_total{{result=\"{result}\"}}"));
    assert_eq!(["inserted", "updated", "unchanged"].map(|of| result("ingested_rows", of)), [2.0, 1.0, 1.0]);
    assert_eq!(["hit", "miss"].map(|of| result("query_cache", of)), [1.0, 1.0]);
}

#[tokio::test]
async fn the_pool_and_local_models_are_watched() {
    let (server, metrics) = start(|setup| setup.pool_size = 1).await;
    let mut client = server.client();
    client.create_collection(texts("notes")).await.expect("created");
    client.create_collection(vectors("points", 2, v1::Distance::L2)).await.expect("created");
    ingest(&mut client, "notes", vec![text_document("a", "one text")]).await;
    ingest(&mut client, "points", vec![vector_document("a", &[0.0, 1.0])]).await;
    let scrape = Scrape::of(metrics).await;
    assert_eq!(scrape.value("pgfox_embed_calls_total{provider=\"local\"}"), 1.0);
    assert_eq!(scrape.value("pgfox_embed_texts_total{provider=\"local\"}"), 1.0);
    assert!(scrape.value("pgfox_embed_tokens_total{provider=\"local\"}") >= 3.0);
    assert!(!scrape.0.contains("openai"), "{}", scrape.0);
    assert_eq!((scrape.value("pgfox_pool_max_connections"), scrape.value("pgfox_pool_connections")), (1.0, 1.0));

    // The only connection is held by a write that waits for a lock.
    let mut other = server.sql().await;
    let lock = other.transaction().await.expect("a transaction");
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE tablename ~ '^documents_[0-9]+$'";
    for table in lock.query(tables, &[]).await.expect("tables") {
        let table: String = table.get(0);
        lock.batch_execute(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await.expect("locked");
    }
    let mut writer = client.clone();
    let writing = tokio::spawn(async move {
        ingest(&mut writer, "points", vec![vector_document("b", &[1.0, 1.0])]).await;
    });
    eventually("a write holds the connection", async || {
        crate::support::waiting_for_locks(&server.database_url).await > 0
    })
    .await;
    let mut searcher = client.clone();
    let waiting = tokio::spawn(async move {
        search(&mut searcher, near("points", &[0.0, 1.0], 1)).await;
    });
    eventually("a search waits", async || {
        let scrape = Scrape::of(metrics).await;
        scrape.value("pgfox_pool_connections_in_use") == 1.0 && scrape.value("pgfox_pool_waiting") >= 1.0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.rollback().await.expect("unlocked");
    writing.await.expect("written");
    waiting.await.expect("found");
    let scrape = Scrape::of(metrics).await;
    assert!(scrape.value("pgfox_pool_wait_seconds_sum") >= 0.3, "{}", scrape.0);
    assert!(scrape.value("pgfox_pool_wait_seconds_count") >= 5.0, "{}", scrape.0);
}

#[tokio::test]
async fn only_the_metrics_are_served_and_silence_is_not_waited_for() {
    let (_server, metrics) = start(|_| {}).await;
    assert_eq!(http(metrics, "GET", "/").await.0, "HTTP/1.1 404 Not Found");
    assert_eq!(http(metrics, "POST", "/metrics").await.0, "HTTP/1.1 405 Method Not Allowed");
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(metrics).await.expect("a connection"));
    }
    let scrape = tokio::time::timeout(Duration::from_secs(30), Scrape::of(metrics)).await.expect("an answer");
    assert!(scrape.0.contains("pgfox_pool_connections"));
}

fn id(metadata: &MetadataMap) -> &str {
    metadata.get("x-request-id").expect("an id").to_str().expect("ASCII")
}

fn with_id<T>(message: T, id: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().expect("a value"));
    request
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_call() {
    let (server, _) = start(|setup| setup.api_keys = ApiKeys::new(["key"])).await;
    let mut client = server.client();
    let keyed = |message: v1::ListCollectionsRequest, id: Option<&'static str>| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", "Bearer key".parse().unwrap());
        if let Some(id) = id {
            request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        }
        request
    };
    let list = v1::ListCollectionsRequest::default;
    let given = client.list_collections(keyed(list(), Some("order/42"))).await.expect("a list");
    assert_eq!(id(given.metadata()), "order/42");
    let one = client.list_collections(keyed(list(), None)).await.expect("a list");
    let other = client.list_collections(keyed(list(), Some("two words"))).await.expect("a list");
    for made in [&one, &other] {
        let made = id(made.metadata());
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    assert_ne!(id(one.metadata()), id(other.metadata()));

    // Errors of the service, of the layers in front of it, and of a stream.
    let invalid = v1::ListCollectionsRequest { page_size: -1, ..list() };
    let refused = client.list_collections(keyed(invalid, Some("bad"))).await.expect_err("refused");
    assert_eq!((refused.code(), id(refused.metadata())), (Code::InvalidArgument, "bad"));
    let stranger = client.list_collections(with_id(list(), "who")).await.expect_err("refused");
    assert_eq!((stranger.code(), id(stranger.metadata())), (Code::Unauthenticated, "who"));
    let mut stream = keyed(list(), Some("stream")).map(|_| tokio_stream::iter([request("missing", Vec::new())]));
    stream.metadata_mut().insert("authorization", "Bearer key".parse().unwrap());
    let answers = client.ingest_stream(stream).await.expect("a stream");
    assert_eq!(id(answers.metadata()), "stream");
    assert_eq!(answers.into_inner().message().await.expect_err("refused").code(), Code::NotFound);
}

#[tokio::test]
async fn lines_of_json_name_their_call() {
    let provider = Provider::start().await;
    let mut command = process::command("pgfox-server");
    command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--log", "info,pgfox_server::layers::telemetry=debug"]);
    command.env("DATABASE_URL", create_database(&cluster(18).postgres).await);
    command.env("OPENAI_BASE_URL", provider.base_url());
    let server = ServerProcess::spawn(command).await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("a URL").connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("the database is set up", async || client.create_collection(texts("notes")).await.is_ok()).await;

    provider.script(Answer::Status(503), 1);
    let documents = tokio_stream::iter([request("notes", vec![text_document("a", "ice")])]);
    let mut answers = client.ingest_stream(with_id(documents, "load-7")).await.expect("a stream").into_inner();
    assert!(answers.message().await.expect("an answer").is_some());
    client.search(with_id(about("missing", "ice", 1), "order-42")).await.expect_err("refused");

    let lines = || -> Vec<Value> {
        let log = server.log();
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    };
    let of = |id: &str, message: &str| {
        lines().into_iter().find(|line| line["span"]["request_id"] == id && line["message"] == message)
    };
    // A line from the middle of a stream, whose work other tasks do.
    eventually("the retry is reported", async || of("load-7", "retrying an embedding request").is_some()).await;
    eventually("the end is reported", async || of("order-42", "answered").is_some()).await;
    let end = of("order-42", "answered").expect("a line");
    assert_eq!(
        (&end["level"], &end["code"], &end["reason"], &end["span"]["method"]),
        (&"DEBUG".into(), &"NOT_FOUND".into(), &"COLLECTION_NOT_FOUND".into(), &"Search".into())
    );

    let metrics = lines().iter().find_map(|line| {
        let address = line["message"].as_str()?.strip_prefix("metrics are at http://")?.strip_suffix("/metrics")?;
        address.parse().ok()
    });
    counted(metrics.expect("an address"), "Search", "NOT_FOUND", 1.0).await;
}
