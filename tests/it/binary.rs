//! The two programs as a user runs them: `pgfox-server` on a database, and `pgfox` against it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use crate::{
    process::{ServerProcess, command},
    support::{cluster, create_database, eventually},
};

/// The output of a program, and its exit code.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(mut command: tokio::process::Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that reads no input may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("the program ends").expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn pgfox_server(arguments: &[&str]) -> Ran {
    let mut command = command("pgfox-server");
    command.args(arguments);
    run(command, "").await
}

async fn pgfox(address: &str, arguments: &[&str], input: &str) -> Ran {
    let mut command = command("pgfox");
    command.args(["--server", address]).args(arguments);
    run(command, input).await
}

/// A ready server on its own database.
async fn start() -> (ServerProcess, String) {
    let database_url = create_database(&cluster(18).postgres).await;
    let server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    eventually("the server is ready", async || pgfox(&server.address, &["health"], "").await.code == Some(0)).await;
    (server, database_url)
}

/// Writes a file into the folder and returns its path.
fn write_file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn help_names_every_setting() {
    let help = pgfox_server(&["--help"]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for named in [
        "demo",
        "migrate",
        "database-url",
        "healthcheck",
        "--database-url",
        "DATABASE_URL",
        "--listen",
        "PGFOX_LISTEN",
        "--data-dir",
        "--cache-dir",
        "--openai-base-url",
        "OPENAI_API_KEY",
        "PGFOX_API_KEYS",
        "--api-keys-file",
        "--tls-cert",
        "--tls-key",
        "--insecure",
        "--metrics-listen",
        "PGFOX_METRICS_LISTEN",
        "--log-format",
        "--web-origins",
        "PGFOX_WEB_ORIGINS",
        "--web-headers",
        "127.0.0.1:50051",
    ] {
        assert!(help.stdout.contains(named), "{named} is not in the help:\n{}", help.stdout);
    }
}

#[tokio::test]
async fn wrong_settings_are_reported_all_at_once() {
    let ran = pgfox_server(&["--database-url", "mysql://x", "--tls-cert", "/none.pem", "--schema", "a b"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    for named in ["database", "--tls-key", "--schema"] {
        assert!(ran.stderr.to_lowercase().contains(named), "{named} is not named:\n{}", ran.stderr);
    }
    let ran = pgfox_server(&["--no-such-flag"]).await;
    assert_eq!(ran.code, Some(2));
}

#[tokio::test]
async fn an_open_port_needs_keys() {
    let ran = pgfox_server(&["--listen", "0.0.0.0:0", "--database-url", "postgres://127.0.0.1:1/none"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("--insecure") && ran.stderr.contains("PGFOX_API_KEYS"), "{ran:?}");

    let mut with_keys = command("pgfox-server");
    with_keys.args(["--listen", "0.0.0.0:0", "--default-model", "none"]);
    with_keys
        .env("PGFOX_API_KEYS", "topsecretkey-of-many-characters")
        .env("DATABASE_URL", "postgres://fox:hunter2@127.0.0.1:1/none");
    let server = ServerProcess::spawn(with_keys).await;
    let log = server.log();
    assert!(log.contains("WARN") && log.contains("TLS"), "keys without TLS are warned about:\n{log}");
    assert!(!log.contains("topsecretkey-of-many-characters") && !log.contains("hunter2"), "{log}");
    server.kill().await;
}

#[tokio::test]
async fn without_a_default_model_callers_send_vectors() {
    let database_url = create_database(&cluster(18).postgres).await;
    let mut command = command("pgfox-server");
    command.args(["--listen", "127.0.0.1:0", "--default-model", "none"]).env("DATABASE_URL", &database_url);
    let server = ServerProcess::spawn(command).await;
    eventually("the server is ready", async || pgfox(&server.address, &["health"], "").await.code == Some(0)).await;
    let ran = pgfox(&server.address, &["collections", "create", "texts"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("collection.embedding.dimensions is required without a model"), "{ran:?}");
    let ran = pgfox(&server.address, &["collections", "create", "points", "--dimensions", "3"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    server.kill().await;
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = pgfox_server(&["--listen", &address, "--database-url", "postgres://127.0.0.1:1/none"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("--listen"), "{ran:?}");
}

#[tokio::test]
async fn migrate_sets_up_and_healthcheck_reports() {
    let database_url = create_database(&cluster(18).postgres).await;
    for _ in 0..2 {
        let ran = pgfox_server(&["migrate", "--database-url", &database_url]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let tables = "SELECT count(*) FROM pgfox_internal.schema_migrations";
    let sql = crate::support::sql(&database_url).await;
    assert!(sql.query_one(tables, &[]).await.unwrap().get::<_, i64>(0) > 0);

    let mut server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let address = server.address.clone();
    eventually("the check passes", async || pgfox_server(&["healthcheck", "--listen", &address]).await.code == Some(0))
        .await;
    let ran = pgfox_server(&["database-url", "--database-url", &database_url]).await;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), database_url.as_str()));
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let ran = pgfox_server(&["healthcheck", "--listen", &address]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&address), "{ran:?}");
}

#[tokio::test]
async fn a_newer_schema_ends_the_server() {
    let database_url = create_database(&cluster(16).postgres).await;
    pgfox_server(&["migrate", "--database-url", &database_url]).await;
    let sql = crate::support::sql(&database_url).await;
    sql.batch_execute("INSERT INTO pgfox_internal.schema_migrations (version) VALUES (999)").await.unwrap();
    let mut server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    assert_eq!(server.exit_code().await, Some(1));
    assert!(server.log().contains("version 999"), "{}", server.log());
    let ran = pgfox_server(&["migrate", "--database-url", &database_url]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test]
async fn the_command_line_does_the_whole_walk() {
    let (server, _) = start().await;
    let address = server.address.as_str();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write_file(&folder, name, content);
    let lines: String = (0..100)
        .map(|i| format!("{{\"id\": \"l{i}\", \"text\": \"line {i}\", \"metadata\": {{\"n\": {i}}}}}\n"))
        .collect();
    let jsonl = file("films.jsonl", &lines);
    let csv = file("more.csv", "id,text,genre\nc1,\"foxes, in love\",romance\nc2,the moon,space\n");

    let ran = pgfox(address, &["ingest", "films", &jsonl, "--create"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = pgfox(address, &["ingest", "films", &csv], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let stdin = "{\"id\": \"s1\", \"text\": \"an earlier one\"}\n{\"id\": \"s1\", \"text\": \"from a pipe\"}\n";
    let ran = pgfox(address, &["ingest", "films", "-", "--format", "jsonl"], stdin).await;
    let said = "1 document replaced by a later one with the same id";
    assert!(ran.code == Some(0) && format!("{ran:?}").contains(said), "{ran:?}");
    let ran = pgfox(address, &["collections", "get", "films", "--json"], "").await;
    let collection: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(ran.stdout.contains("103"), "103 documents: {collection}");

    let ran = pgfox(address, &["build-index", "films"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = pgfox(address, &["search", "films", "foxes, in love", "--limit", "3"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("c1") && ran.stdout.contains("foxes, in love"), "{ran:?}");
    let ran = pgfox(address, &["search", "films", "foxes, in love", "--limit", "3", "--json"], "").await;
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found["results"][0]["document"]["id"], "c1", "{found}");
    assert_eq!(found["results"].as_array().unwrap().len(), 3);

    let ran = pgfox(address, &["get", "films", "l7", "--json"], "").await;
    assert!(ran.code == Some(0) && ran.stdout.contains("line 7"), "{ran:?}");
    let ran = pgfox(address, &["get", "films", "none"], "").await;
    assert!(ran.code == Some(1) && ran.stderr.contains("none"), "{ran:?}");
    let ran = pgfox(address, &["delete", "films", "l7", "none"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = pgfox(address, &["get", "films", "l7"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let ran = pgfox(address, &["health"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    server.kill().await;
}

/// The output of `pgfox`, which must have succeeded.
async fn printed(address: &str, arguments: &[&str], input: &str) -> String {
    let ran = pgfox(address, arguments, input).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran.stdout
}

async fn json(address: &str, arguments: &[&str]) -> serde_json::Value {
    let stdout = printed(address, &[arguments, &["--json"]].concat(), "").await;
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

/// Sixty documents with metadata; each has words that no other has.
fn corpus() -> String {
    let line = |i: u32| {
        serde_json::json!({
            "_id": format!("d{i}"),
            "title": format!("title{i}"),
            "text": format!("word{i} and more"),
            "metadata": { "year": 1960 + i, "lang": if i.is_multiple_of(2) { "en" } else { "de" }, "first": i < 10,
                "tags": [format!("t{}", i % 3)], "at": format!("2024-05-{:02}T12:00:00Z", i % 28 + 1) },
        })
        .to_string()
            + "\n"
    };
    (0..60).map(line).collect()
}

#[tokio::test]
async fn documents_are_listed_counted_changed_and_deleted_by_filters() {
    let (server, _) = start().await;
    let address = server.address.as_str();
    let ingest =
        ["ingest", "films", "-", "-f", "jsonl", "--id-field", "_id", "--text-fields", "title,text", "--create"];
    let indexed = ["--metadata-index", "gin", "--metadata-index", "year:number", "--alias", "movies"];
    printed(address, &[&ingest[..], &indexed].concat(), &corpus()).await;
    let count =
        async |filter: &str| printed(address, &["count", "movies", "--where", filter], "").await.trim().to_owned();
    for (filter, expected) in [
        ("year >= 2000", "20"),
        ("year >= 2000 and lang in ('en', 'fr')", "10"),
        ("first and not lang = 'de'", "5"),
        ("tags contains 't1' or year < 1961", "21"),
        ("at since 2024-05-15 and at before 2024-05-16", "2"),
        ("lang starts with 'd' and id in ('d1', 'd2', 'd3')", "2"),
        ("exists nothing or nothing is not null", "0"),
        ("lang not in ('en') and tags = [\"t0\"]", "10"),
        ("year = '1999'", "0"),
    ] {
        assert_eq!(count(filter).await, expected, "{filter}");
    }

    let newest = ["list", "films", "--where", "year < 2000", "--order", "created", "--desc", "--limit", "2"];
    let table = printed(address, &newest, "").await;
    let ids: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    // The documents of one request are stored in the order of their ids.
    assert_eq!(ids, ["d9", "d8"], "{table}");

    let arguments = ["update-metadata", "films", "--where", "year < 1965", "--set", r#"{"old": true, "tags": null}"#];
    let changed = printed(address, &[&arguments[..], &["--yes"]].concat(), "").await;
    assert_eq!(changed, "changed 5 of 5 documents that match\n");
    assert_eq!(count("old and tags is null").await, "5");
    assert_eq!(count("old and not year < 1965").await, "0");

    let delete = ["delete", "films", "--where", "old"];
    let asked = pgfox(address, &delete, "").await;
    assert!(asked.code == Some(2) && asked.stderr.contains("Delete 5 documents of films?"), "{asked:?}");
    assert_eq!(printed(address, &[&delete[..], &["--dry-run"]].concat(), "").await, "would delete 5 documents\n");
    assert_eq!(printed(address, &[&delete[..], &["--yes"]].concat(), "").await, "deleted 5 documents\n");
    assert_eq!(printed(address, &["count", "films"], "").await, "55\n");

    // An export, and back: nothing is embedded.
    let export = printed(address, &["list", "films", "--json", "--include-vector"], "").await;
    assert_eq!(export.lines().count(), 55);
    let again = printed(address, &["ingest", "films", "-", "-f", "jsonl", "--only-if-absent", "--json"], &export).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap()["existing_count"], 55, "{again}");
    let ingest = ["ingest", "copy", "-", "-f", "jsonl", "--create", "--json"];
    let copied = printed(address, &ingest, &export).await;
    let copied: serde_json::Value = serde_json::from_str(&copied).unwrap();
    assert_eq!((&copied["upserted_count"], &copied["embedded_count"]), (&55.into(), &0.into()), "{copied}");
    let document = json(address, &["get", "copy", "d20"]).await["documents"][0].clone();
    assert_eq!((&document["text"], &document["version"]), (&"title20 word20 and more".into(), &1.into()));

    // The alias moves, and an index goes.
    printed(address, &["collections", "update", "copy", "--add-alias", "movies", "--drop-metadata-index", "gin"], "")
        .await;
    let copy = json(address, &["collections", "get", "movies"]).await;
    assert_eq!(copy["collection"]["name"], "copy");
    assert_eq!(copy["collection"]["metadata_indexes"], serde_json::json!([]));
    server.kill().await;
}

#[tokio::test]
async fn searches_are_made_and_measured_in_every_mode() {
    let (server, _) = start().await;
    let address = server.address.as_str();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write_file(&folder, name, content);
    let ingest =
        ["ingest", "films", "-", "-f", "jsonl", "--id-field", "_id", "--text-fields", "title,text", "--create"];
    let chunks = ["--chunking", "text", "--distance", "cosine"];
    printed(address, &[&ingest[..], &chunks].concat(), &corpus()).await;

    let found = json(address, &["search", "films", "word7", "--mode", "full-text", "--where", "year > 1960"]).await;
    assert_eq!(found["results"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["results"][0]["document"]["id"], "d7");
    assert_eq!(found["results"][0]["chunk"]["ordinal"], 0);
    let text = "title7 word7 and more";
    let explained = json(address, &["search", "films", text, "--mode", "hybrid", "--explain"]).await;
    assert_eq!(explained["results"][0]["document"]["id"], "d7", "{explained}");
    assert!(explained["explanation"]["plan_node"].is_string(), "{explained}");
    let near = json(address, &["search", "films", text, "--max-distance", "0.001", "--fields", "metadata.year"]).await;
    assert_eq!(near["results"][0]["document"]["metadata"], serde_json::json!({ "year": 1967 }));
    let like =
        ["search", "films", "--positive", "d1", "--positive", "d2", "--negative", "d3", "--diversity=0.7", "-l", "5"];
    assert_eq!(json(address, &like).await["results"].as_array().unwrap().len(), 5);

    let queries: String = (0..40).map(|i| format!("q{i}\ttitle{i} word{i} and more\n")).collect();
    let qrels: String = (0..40).map(|i| format!("q{i} 0 d{i} 1\n")).collect();
    let (queries, qrels) = (file("queries.tsv", &queries), file("qrels.txt", &qrels));
    for mode in ["vector", "full-text", "hybrid"] {
        let evaluate = ["evaluate", "films", "--queries", &queries, "--qrels", &qrels, "--mode", mode];
        let measured = json(address, &evaluate).await;
        assert_eq!(measured["queries"], 40, "{measured}");
        assert_eq!((&measured["ndcg_10"], &measured["mrr_10"]), (&1.0.into(), &1.0.into()), "{mode}: {measured}");
    }
    let batch = "{\"id\": 1, \"text\": \"title7 word7 and more\"}\n{\"id\": 2, \"document_id\": \"d8\"}\n";
    let answers = printed(address, &["search", "films", "--batch", "-", "--limit", "1", "--exact"], batch).await;
    let answers: Vec<serde_json::Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&answers[0]["id"], &answers[1]["id"]), (&1.into(), &2.into()));
    assert_eq!(answers[0]["results"][0]["document"]["id"], "d7");
    assert_ne!(answers[1]["results"][0]["document"]["id"], "d8");
    server.kill().await;
}

#[tokio::test]
async fn exit_codes_tell_who_is_at_fault() {
    let (server, _) = start().await;
    let address = server.address.clone();
    let refused = pgfox(&address, &["search", "none", "x"], "").await;
    assert!(refused.code == Some(1) && refused.stderr.contains("none"), "{refused:?}");
    for usage in [&["search"][..], &["search", "films"], &["ingest", "films", "/no/such/file"]] {
        let ran = pgfox(&address, usage, "").await;
        assert_eq!(ran.code, Some(2), "{usage:?}: {ran:?}");
    }
    let bad = "{\"id\": \"good\", \"text\": \"x\"}\n{\"id\": \"\", \"text\": \"no id\"}\n";
    let skipped = pgfox(&address, &["ingest", "some", "-", "--format", "jsonl", "--create"], bad).await;
    assert_eq!(skipped.code, Some(1), "{skipped:?}");
    assert_eq!(pgfox(&address, &["get", "some", "good"], "").await.code, Some(0));
    server.kill().await;
    let gone = pgfox(&address, &["health"], "").await;
    assert!(gone.code == Some(3) && gone.stderr.contains(&address), "{gone:?}");
}
