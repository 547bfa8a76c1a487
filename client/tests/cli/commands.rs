//! Exit codes, errors, and the commands that ask and print.

use std::path::Path;

use pgfox_client::v1::{FusionMethod, SearchParams, search_request};
use serde_json::{Value, json};

use crate::{
    pgfox, run,
    server::{Server, collection},
};

async fn films() -> (Server, String) {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let lines =
        br#"{"id": "a", "text": "A fox\nin love", "vector": [0.1, 2, -3], "metadata": {"year": 1999, "tags": ["x"]}}
{"id": "b", "metadata": {"title": "Silent"}}
"#;
    run(&endpoint, &["ingest", "films", "-", "--format", "jsonl"], Path::new("."), lines, &[]).await.expect(0);
    (server, endpoint)
}

#[tokio::test]
async fn nobody_there_is_exit_code_3() {
    let output = pgfox("127.0.0.1:1", &["collections", "list"]).await.expect(3);
    output.says(&["error: cannot connect to http://127.0.0.1:1: ", "refused", "--server or PGFOX_SERVER"]);
    assert!(output.stdout.is_empty());
    let output = pgfox("127.0.0.1:1", &["health", "--json"]).await.expect(3);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 3);
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_code_2() {
    let cases: [&[&str]; 25] = [
        &[],
        &["fly"],
        &["search", "films"],
        &["search", "films", "text", "--id", "a"],
        &["search", "films", "text", "--limit", "0"],
        &["search", "films", "--vector", "[1, x]"],
        &["ingest", "films", "no-such-file.jsonl"],
        &["ingest", "films", "-"],
        &["ingest", "films", "Cargo.toml", "--format", "text", "--distance", "l2"],
        &["search", "films", "x", "--negative", "a"],
        &["search", "films", "x", "--vector-weight", "2"],
        &["search", "films", "x", "--fusion", "relative-score"],
        &["search", "films", "x", "--mode", "hybrid", "--rank-constant", "2"],
        &["search", "films", "x", "--highlight"],
        &["search", "films", "x", "--candidates", "2"],
        &["search", "films", "x", "--include-full-text"],
        &["search", "films", "x", "--where", "year >="],
        &["list", "films", "--where", ""],
        &["count", "films", "--where", "a = b"],
        &["delete", "films"],
        &["delete", "films", "a", "--where", "year = 1"],
        &["delete", "films", "--dry-run"],
        &["update-metadata", "films", "a", "--set", "[]"],
        &["collections", "update", "films"],
        &["collections", "create", "films", "--metadata-index", "year"],
    ];
    for arguments in cases {
        let output = pgfox("http://127.0.0.1:1", arguments).await.expect(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    pgfox("ftp://example:1", &["health"]).await.expect(2).says(&["the scheme must be http or https"]);
}

#[tokio::test]
async fn errors_name_the_field_and_the_rule() {
    let (_server, endpoint) = Server::start().await;
    let output = pgfox(&endpoint, &["collections", "create", "my-films"]).await.expect(1);
    output.says(&["error: collection.name: must match ^[a-z]"]);
    assert_eq!(output.stderr.matches("must match").count(), 1, "{}", output.stderr);
    let output = pgfox(&endpoint, &["collections", "create", "my-films", "--json"]).await.expect(1);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["violations"][0]["field"], "collection.name");
    assert_eq!(error["error"]["code"], "INVALID_ARGUMENT");
    let output = pgfox(&endpoint, &["search", "films", "x"]).await.expect(1);
    output.says(&["there is no collection `films`", "hint: `pgfox collections list`"]);
}

#[tokio::test]
async fn a_call_without_an_answer_ends() {
    let (_server, endpoint) = Server::start().await;
    let output = pgfox(&endpoint, &["search", "slow", "x", "--timeout", "0.3"]).await.expect(1);
    output.says(&["did not answer in time", "--timeout"]);
}

#[tokio::test]
async fn the_api_key_comes_from_the_environment_or_a_file() {
    let (server, endpoint) = films().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "from-file\n").unwrap();
    let get = ["collections", "get", "films"];
    run(&endpoint, &get, folder.path(), b"", &[("PGFOX_API_KEY", "from-env")]).await.expect(0);
    assert_eq!(server.lock().authorization.take().as_deref(), Some("Bearer from-env"));
    let get = ["collections", "get", "films", "--api-key-file", "key"];
    run(&endpoint, &get, folder.path(), b"", &[]).await.expect(0);
    assert_eq!(server.lock().authorization.take().as_deref(), Some("Bearer from-file"));
    pgfox(&endpoint, &["collections", "get", "films"]).await.expect(0);
    assert_eq!(server.lock().authorization, None);
}

#[tokio::test]
async fn collections_from_beginning_to_end() {
    let (_server, endpoint) = Server::start().await;
    let create = ["collections", "create", "images", "--dimensions", "768", "--distance", "cosine", "--json"];
    let created = pgfox(&endpoint, &create).await.expect(0).json();
    assert_eq!(created["collection"]["embedding"]["model"], "");
    assert_eq!(created["collection"]["embedding"]["dimensions"], 768);
    assert_eq!(created["collection"]["distance"], "DISTANCE_COSINE");
    pgfox(&endpoint, &["collections", "create", "films"]).await.expect(0);
    pgfox(&endpoint, &["collections", "create", "films"]).await.expect(1).says(&["the collection exists"]);
    let list = pgfox(&endpoint, &["collections", "list"]).await.expect(0).stdout;
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("none (own vectors)"), "{list}");
    pgfox(&endpoint, &["collections", "delete", "films"]).await.expect(2).says(&["add --yes"]);
    pgfox(&endpoint, &["collections", "delete", "films", "--yes"]).await.expect(0);
    pgfox(&endpoint, &["collections", "get", "films"]).await.expect(1);
}

#[tokio::test]
async fn search_for_people_and_for_programs() {
    let (server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["search", "films", "a fox", "--limit", "5", "--exact"]).await.expect(0);
    assert_eq!(
        output.stdout,
        "#  DISTANCE   SCORE  ID  TEXT\n1    0.1000  0.9091  a   A fox in love\n2    1.1000  0.4762  b   {\"title\":\"Silent\"}\n"
    );
    output.says(&["2 of 5: the collection has no more documents", "exact: nothing nearer is missing"]);
    let arguments =
        ["search", "films", "--vector", "[1, 2, 3]", "--ef-search", "80", "--json", "--include-vector", "-l", "1"];
    let found = pgfox(&endpoint, &arguments).await.expect(0).json();
    assert_eq!(
        found["results"][0]["document"],
        json!({ "id": "a", "text": "A fox\nin love", "vector": [0.1, 2.0, -3.0], "metadata": { "year": 1999, "tags": ["x"] } })
    );
    assert_eq!(found["results"][0]["distance"], 0.1);
    assert_eq!(found["completeness"], "COMPLETENESS_EXACT");
    assert_eq!(found["short_reason"], "SHORT_REASON_UNSPECIFIED");
    pgfox(&endpoint, &["search", "films", "--id", "a"]).await.expect(0);
    let requests = server.lock().search_requests.clone();
    assert_eq!(requests[0].params, Some(SearchParams { exact: true, ..Default::default() }));
    assert_eq!(requests[1].params, Some(SearchParams { ef_search: Some(80), ..Default::default() }));
    assert!(matches!(&requests[1].query, Some(search_request::Query::Vector(v)) if v.values == [1.0, 2.0, 3.0]));
    assert!(matches!(&requests[2].query, Some(search_request::Query::DocumentId(id)) if id == "a"));
}

#[tokio::test]
async fn passages_instead_of_texts() {
    let (server, endpoint) = films().await;
    server.lock().notes = vec!["few words".to_owned()];
    let arguments = ["search", "films", "\"fox\" -dog", "--mode", "full-text", "--highlight"];
    let output = pgfox(&endpoint, &arguments).await.expect(0);
    assert_eq!(
        output.stdout,
        "#  DISTANCE   SCORE  ID  TEXT\n1    0.1000  0.9091  a\n     A fox in love\n2    1.1000  0.4762  b   {\"title\":\"Silent\"}\n"
    );
    output.says(&["left out: texts with dog", "note: few words"]);
    let found = pgfox(&endpoint, &[&arguments[..], &["--json"]].concat()).await.expect(0).json();
    let highlight = json!({ "start": 0, "end": 13, "text": "A fox\nin love", "words": [{ "start": 2, "end": 5 }] });
    assert_eq!(found["results"][0]["highlights"], json!([highlight]));
    assert_eq!(found["excluded_words"], json!(["dog"]));
    assert_eq!(found["results"][1]["highlights"], json!(null));
    // Notes beside those of an explanation.
    let output = pgfox(&endpoint, &[&arguments[..], &["--explain"]].concat()).await.expect(0);
    output.says(&["note: few words", "note: year is never a string"]);

    let arguments =
        ["search", "films", "fox", "--mode", "hybrid", "--fusion", "reciprocal-rank", "--rank-constant", "7"];
    pgfox(&endpoint, &arguments).await.expect(0);
    let fusion = server.lock().search_requests.last().unwrap().fusion.unwrap();
    assert_eq!((fusion.method(), fusion.rank_constant), (FusionMethod::ReciprocalRank, Some(7)));
}

#[tokio::test]
async fn documents_by_id_can_be_ingested_again() {
    let (server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["get", "films", "a", "nope", "--json"]).await.expect(1);
    assert_eq!(output.json()["missing_ids"], json!(["nope"]));
    let before = server.documents("films");
    let document = output.json()["documents"][0].to_string();
    let again =
        run(&endpoint, &["ingest", "films", "-", "-f", "jsonl", "--json"], Path::new("."), document.as_bytes(), &[]);
    assert_eq!(again.await.expect(0).json()["unchanged_count"], 1);
    assert_eq!(server.documents("films"), before);
    pgfox(&endpoint, &["get", "films", "nope"]).await.expect(1).says(&["films has no document nope"]);
    let output = pgfox(&endpoint, &["delete", "films", "a", "nope"]).await.expect(0);
    assert_eq!(output.stdout, "deleted 1 document\n");
    assert_eq!(server.documents("films").into_keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn health_shows_each_part() {
    let (_server, endpoint) = Server::start().await;
    let output = pgfox(&endpoint, &["health"]).await.expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("overall                SERVING"), "{lines:?}");
    assert!(lines[2].starts_with("pgfox.embedder         NOT_SERVING"), "{lines:?}");
    let output = pgfox(&endpoint, &["health", "--json"]).await.expect(0).json();
    assert_eq!(output["services"]["pgfox.v1.PgfoxService"], "SERVING");
}

#[tokio::test]
async fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let script = pgfox("http://127.0.0.1:1", &["completions", shell]).await.expect(0).stdout;
        assert!(script.contains("build-index"), "{shell}");
    }
}

#[tokio::test]
async fn tls_without_a_tls_server_says_so() {
    let (_server, endpoint) = Server::start().await;
    let output = pgfox(&endpoint.replace("http:", "https:"), &["collections", "list"]).await.expect(3);
    output.says(&["cannot connect to https://127.0.0.1"]);
}

#[tokio::test]
async fn tables_are_whole_when_piped_and_as_wide_as_columns_says() {
    let (_server, endpoint) = films().await;
    let (long_id, long_text) = ("i".repeat(120), "many words ".repeat(60));
    let line = json!({"id": long_id, "text": long_text, "vector": [1, 2, 3], "metadata": {"title": "A title"}});
    let line = format!("{line}\n");
    run(&endpoint, &["ingest", "films", "-", "--format", "jsonl"], Path::new("."), line.as_bytes(), &[])
        .await
        .expect(0);
    for command in [&["list", "films"][..], &["search", "films", "many"]] {
        let whole = pgfox(&endpoint, command).await.expect(0).stdout;
        assert!(whole.contains(&long_id) && whole.contains(long_text.trim()), "{whole}");
        assert!(!whole.contains('…'), "{whole}");
        let cut = run(&endpoint, command, Path::new("."), b"", &[("COLUMNS", "100")]).await.expect(0).stdout;
        assert!(cut.lines().all(|line| line.chars().count() <= 100) && cut.contains('…'), "{cut}");
        // A value that is not a width is ignored.
        for columns in ["0", "wide", ""] {
            let output = run(&endpoint, command, Path::new("."), b"", &[("COLUMNS", columns)]).await.expect(0);
            assert_eq!(output.stdout, whole, "{columns}");
        }
    }
}

#[tokio::test]
async fn tables_show_the_fields_that_are_named() {
    let (_server, endpoint) = films().await;
    let fields = "text,metadata.title,metadata.year,metadata.tags";
    for command in ["list", "search"] {
        let arguments: &[&str] = if command == "list" { &["list", "films"] } else { &["search", "films", "fox"] };
        let table = pgfox(&endpoint, &[arguments, &["--fields", fields]].concat()).await.expect(0).stdout;
        let header = table.lines().next().unwrap();
        let titles: Vec<&str> = header.split_whitespace().collect();
        assert!(titles.ends_with(&["ID", "TITLE", "YEAR", "TAGS", "TEXT"]) || command == "list", "{table}");
        assert!(titles.ends_with(&["TITLE", "YEAR", "TAGS", "TEXT"]), "{table}");
        assert!(table.contains("Silent") && table.contains("1999") && table.contains("[\"x\"]"), "{table}");
        let table = pgfox(&endpoint, &[arguments, &["--fields", "metadata.title"]].concat()).await.expect(0).stdout;
        assert!(table.contains("Silent") && !table.contains("TEXT") && !table.contains("in love"), "{table}");
    }
}

#[tokio::test]
async fn totals_name_ids_that_come_again() {
    let (_server, endpoint) = films().await;
    // Twice in one request, and once more in another.
    let lines: String =
        (0..1_201).map(|i| format!("{}\n", json!({"id": format!("d{}", i % 600), "vector": [1, 2, i]}))).collect();
    let ingest = ["ingest", "films", "-", "--format", "jsonl"];
    let output = run(&endpoint, &ingest, Path::new("."), lines.as_bytes(), &[]).await.expect(0);
    assert!(output.stdout.contains("601 documents replaced by a later one with the same id"), "{}", output.stdout);
    let with_json = [&ingest[..], &["--json"]].concat();
    let output = run(&endpoint, &with_json, Path::new("."), lines.as_bytes(), &[]).await.expect(0);
    assert_eq!(output.json()["repeated_count"], 601);
    let output =
        run(&endpoint, &ingest, Path::new("."), b"{\"id\": \"d1\", \"vector\": [1, 2, 3]}\n", &[]).await.expect(0);
    assert!(!output.stdout.contains("replaced"), "{}", output.stdout);
}

#[tokio::test]
async fn following_is_shown_and_controlled() {
    let (_server, endpoint) = films().await;
    let attach = |name: &'static str, table: &'static str| {
        let endpoint = endpoint.clone();
        async move {
            let arguments = ["collections", "attach", name, "--table", table, "--text", "body", "--follow"];
            pgfox(&endpoint, &arguments).await.expect(0)
        }
    };
    assert!(attach("docs", "articles").await.stdout.contains("followed          by triggers"));
    attach("broken", "bad_articles").await;
    let status = pgfox(&endpoint, &["collections", "status", "docs", "--wait"]).await.expect(0);
    assert!(status.stdout.contains("state      up to date"), "{}", status.stdout);
    let status = pgfox(&endpoint, &["collections", "status", "broken"]).await.expect(1);
    assert!(status.stdout.contains("failed 7: text: is too long"), "{}", status.stdout);
    let status = pgfox(&endpoint, &["collections", "status", "broken", "--json"]).await.expect(1);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["source_status"]["failures"], json!([{ "id": "7", "message": "text: is too long" }]));
    assert_eq!(pgfox(&endpoint, &["collections", "pause", "docs"]).await.expect(0).stdout, "paused docs\n");
    assert_eq!(pgfox(&endpoint, &["collections", "resume", "docs"]).await.expect(0).stdout, "resumed docs\n");
    let retried = pgfox(&endpoint, &["collections", "retry-failed", "docs"]).await.expect(0);
    assert_eq!(retried.stdout, "trying 1 row again\n");
    // A collection that follows nothing.
    pgfox(&endpoint, &["collections", "status", "films"]).await.expect(2).says(&["follows no table"]);
    pgfox(&endpoint, &["collections", "pause", "films"]).await.expect(1).says(&["follows no table"]);
    pgfox(&endpoint, &["collections", "attach", "x", "--table", "t", "--updated-at", "c"]).await.expect(2);
}
