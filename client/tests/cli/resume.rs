//! Ingest over broken connections and busy servers: nothing is lost, nothing is stored twice, and it ends if retrying
//! does not help.

use std::{
    fmt::Write as _,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pgfox_client::{IngestOptions, v1};
use tonic::Code;

use crate::{
    pgfox,
    proxy::Proxy,
    run,
    server::{Server, collection, failed},
};

/// Documents with repeated ids. The last text of each id must win.
fn lines(count: usize, ids: usize) -> Vec<u8> {
    let mut text = String::new();
    for i in 0..count {
        writeln!(text, r#"{{"id": "{}", "text": "version {i} {}"}}"#, i % ids, "x".repeat(200)).unwrap();
    }
    text.into_bytes()
}

#[tokio::test]
async fn nothing_is_lost_when_connections_break() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let proxy = Proxy::start(&endpoint).await;
    server.lock().ingest_pause = Duration::from_millis(20);
    let input = lines(4_000, 3_000);
    let arguments = ["ingest", "films", "-", "--format", "jsonl", "--batch-size", "50", "--json"];
    let ingest = run(&proxy.endpoint, &arguments, std::path::Path::new("."), &input, &[]);
    let cutter = async {
        for stored in [300, 1_500, 2_800] {
            while server.lock().stored < stored {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.cut();
        }
    };
    let (output, ()) = tokio::join!(ingest, cutter);
    let totals = output.expect(0).json();
    assert_eq!(totals["documents"], 4_000);
    assert_eq!(totals["skipped_count"], 0);
    assert!(proxy.connections.load(Ordering::SeqCst) >= 4, "no connection was broken");
    let documents = server.documents("films");
    assert_eq!(documents.len(), 3_000);
    for (id, document) in documents {
        let id: usize = id.parse().unwrap();
        let last = if id < 1_000 { id + 3_000 } else { id };
        assert!(document.text.starts_with(&format!("version {last} ")), "{id}: {}", document.text);
    }
}

#[tokio::test]
async fn a_server_that_stays_away_is_exit_code_3() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    server.lock().ingest_pause = Duration::from_secs(30);
    let proxy = Proxy::start(&endpoint).await;
    let input = lines(10, 10);
    let arguments = ["ingest", "films", "-", "--format", "jsonl", "--retry-timeout", "1"];
    let ingest = run(&proxy.endpoint, &arguments, std::path::Path::new("."), &input, &[]);
    let cutter = async {
        while proxy.connections.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.cut();
        }
    };
    let output = tokio::select! {
        output = ingest => output,
        () = cutter => unreachable!(),
    };
    output.expect(3).says(&["error: gave up after", "the server is http://127.0.0.1:", "PGFOX_SERVER"]);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let busy = failed(Code::ResourceExhausted, "DATABASE_BUSY", "busy", Some(Duration::from_millis(1_200)));
    server.lock().refuse_ingest.push_back(busy);
    let started = Instant::now();
    let arguments = ["ingest", "films", "-", "--format", "jsonl", "--json"];
    let output = run(&endpoint, &arguments, std::path::Path::new("."), &lines(10, 10), &[]).await;
    assert_eq!(output.expect(0).json()["upserted_count"], 10);
    assert!(started.elapsed() >= Duration::from_millis(1_200));
}

#[tokio::test]
async fn a_refusal_ends_the_ingest_and_says_what_is_stored() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let quota = failed(Code::ResourceExhausted, "PROVIDER_QUOTA_EXHAUSTED", "the quota is used up", None);
    {
        let mut state = server.lock();
        state.ingest_pause = Duration::from_millis(50);
        state.refuse_ingest.push_back(quota);
    }
    let arguments = ["ingest", "films", "-", "--format", "jsonl", "--json"];
    let output = run(&endpoint, &arguments, std::path::Path::new("."), &lines(10, 10), &[]).await.expect(1);
    let totals = output.json();
    assert_eq!((&totals["complete"], &totals["documents"]), (&false.into(), &0.into()));
    let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["reason"], "PROVIDER_QUOTA_EXHAUSTED");
    assert_eq!(error["error"]["code"], "RESOURCE_EXHAUSTED");
}

#[tokio::test]
async fn a_slow_server_holds_the_reader_back() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    server.lock().ingest_pause = Duration::from_millis(500);
    let client = pgfox_client::connect(&pgfox_client::ConnectOptions::new(&endpoint)).await.unwrap();
    let options = IngestOptions { documents_per_request: 10, requests_in_flight: 2, ..Default::default() };
    let mut taken = 0;
    let documents = std::iter::from_fn(|| {
        taken += 1;
        let document = v1::Document { id: taken.to_string(), ..Default::default() };
        Some(Ok::<_, std::convert::Infallible>(document))
    });
    // The endless stream stops only when the window is full.
    let ingest = pgfox_client::ingest(&client, "films", tokio_stream::iter(documents), &options, |_| {});
    assert!(tokio::time::timeout(Duration::from_millis(250), ingest).await.is_err());
    assert!((20..=31).contains(&taken), "{taken} documents were taken for a window of 20");
}

#[tokio::test]
async fn a_failing_source_ends_the_ingest_with_its_own_error() {
    let (_server, endpoint) = Server::with_collection(collection("films")).await;
    let client = pgfox_client::connect(&pgfox_client::ConnectOptions::new(&endpoint)).await.unwrap();
    let documents =
        [Ok(v1::Document { id: "1".into(), ..Default::default() }), Err(std::io::Error::other("the disk is gone"))];
    let options = IngestOptions::default();
    let error =
        pgfox_client::ingest(&client, "films", tokio_stream::iter(documents), &options, |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
}

#[tokio::test]
async fn options_outside_their_range_are_refused_before_any_request() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let client = pgfox_client::connect(&pgfox_client::ConnectOptions::new(&endpoint)).await.unwrap();
    let set = |change: &dyn Fn(&mut IngestOptions)| {
        let mut options = IngestOptions::default();
        change(&mut options);
        options
    };
    let long = Duration::from_secs(86_401);
    for (options, message) in [
        (set(&|o| o.documents_per_request = 0), "documents_per_request must be 1 to 1000, not 0"),
        (set(&|o| o.documents_per_request = 1_001), "documents_per_request must be 1 to 1000, not 1001"),
        (set(&|o| o.bytes_per_request = 0), "bytes_per_request must be 1 to 16711680, not 0"),
        (set(&|o| o.bytes_per_request = 16 << 20), "bytes_per_request must be 1 to 16711680, not 16777216"),
        (set(&|o| o.requests_in_flight = 0), "requests_in_flight must be 1 to 100, not 0"),
        (set(&|o| o.requests_in_flight = 101), "requests_in_flight must be 1 to 100, not 101"),
        (
            set(&|o| o.acknowledge_timeout = Duration::ZERO),
            "acknowledge_timeout must be above 0 and at most 86400 s, not 0ns",
        ),
        (set(&|o| o.acknowledge_timeout = long), "acknowledge_timeout must be above 0 and at most 86400 s, not 86401s"),
        (set(&|o| o.retry_timeout = long), "retry_timeout must be 0 to 86400 s, not 86401s"),
    ] {
        let documents = std::iter::from_fn(|| -> Option<Result<v1::Document, std::io::Error>> {
            panic!("the source was read with {message}");
        });
        let refused = pgfox_client::ingest(&client, "films", tokio_stream::iter(documents), &options, |_| {});
        assert_eq!(refused.await.unwrap_err().to_string(), message);
    }
    assert_eq!(server.lock().ingest_requests, 0);

    let document = Ok::<_, std::io::Error>(v1::Document { id: "1".into(), text: "a fox".into(), ..Default::default() });
    let outermost = IngestOptions {
        documents_per_request: 1_000,
        bytes_per_request: (16 << 20) - (64 << 10),
        requests_in_flight: 100,
        acknowledge_timeout: Duration::from_secs(86_400),
        retry_timeout: Duration::ZERO,
        ..Default::default()
    };
    let totals = pgfox_client::ingest(&client, "films", tokio_stream::iter([document]), &outermost, |_| {}).await;
    assert_eq!(totals.unwrap().documents, 1);
}

#[tokio::test]
async fn an_unknown_collection_names_the_way_out() {
    let (_server, endpoint) = Server::start().await;
    let output = pgfox(&endpoint, &["ingest", "films", "Cargo.toml", "--format", "text"]).await;
    output.expect(1).says(&["there is no collection `films`", "add --create"]);
}

/// Starts an ingest of 1,000 documents into a server that takes a second for 10, and kills it with `signal` once
/// `stored` are there. Returns the exit code and the output.
async fn interrupted(signal: &str, json: bool, stored: usize) -> (Option<i32>, String, String) {
    let mut films = collection("films");
    let method = v1::ChunkingMethod::Markdown.into();
    films.chunking = Some(v1::Chunking { method, ..Default::default() });
    let (server, endpoint) = Server::with_collection(films).await;
    server.lock().ingest_pause = Duration::from_millis(700);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jsonl"), lines(1_000, 1_000)).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pgfox"));
    command.args(["ingest", "films", "a.jsonl", "--batch-size", "10"]).current_dir(folder.path());
    if json {
        command.arg("--json");
    }
    let (stdout, stderr) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let child = command.env("PGFOX_SERVER", endpoint).stdout(stdout).stderr(stderr).kill_on_drop(true).spawn().unwrap();
    let started = Instant::now();
    while server.lock().stored < stored || started.elapsed() < Duration::from_millis(1_500) {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is stored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = child.id().unwrap().to_string();
    let kill = format!("kill -{signal} \"$1\"");
    assert!(std::process::Command::new("/bin/sh").args(["-c", &kill, "sh", &pid]).status().unwrap().success());
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn an_interrupted_ingest_says_what_is_stored_and_how_to_go_on() {
    let (code, stdout, stderr) = interrupted("INT", false, 20).await;
    assert_eq!(code, Some(130), "{stderr}");
    // The first line of progress, with the number of chunks, comes in about the first second.
    assert!(stderr.contains("/s; ") && stderr.contains(" chunks, "), "{stderr}");
    assert!(
        stderr.contains("error: interrupted: ") && stderr.contains(" are stored\nhint: run the same command again")
    );
    assert!(stdout.starts_with("films: "), "{stdout}");

    let (code, stdout, stderr) = interrupted("TERM", true, 20).await;
    assert_eq!(code, Some(130), "{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary["complete"], false);
    assert!(summary["documents"].as_u64().unwrap() >= 10, "{stdout}");
    let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 130);
}
