//! `--where` on its way to the server, and the commands with this flag.

use std::path::Path;

use pgfox_client::v1::{
    Condition, DocumentOrder, Filter, MetadataUpdate, SearchMode, condition::Test, filter::Node, search_request,
};
use prost_types::value::Kind;
use serde_json::{Value, json};

use crate::{
    pgfox, run,
    server::{Server, collection},
};

/// Three documents.
async fn films() -> (Server, String) {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let lines = br#"{"id": "a", "text": "A fox\nin love", "metadata": {"year": 1999}}
{"id": "b", "metadata": {"title": "Silent"}}
{"id": "c", "text": "The moon", "vector": [1, 2, 3]}
"#;
    run(&endpoint, &["ingest", "films", "-", "--format", "jsonl"], Path::new("."), lines, &[]).await.expect(0);
    (server, endpoint)
}

fn since_2000() -> Option<Filter> {
    let year = prost_types::Value { kind: Some(Kind::NumberValue(2000.0)) };
    let condition = Condition { field: "year".into(), test: Some(Test::AtLeast(year)), ignore_case: false };
    Some(Filter { node: Some(Node::Condition(condition)) })
}

#[tokio::test]
async fn a_wrong_filter_is_pointed_at() {
    let output = pgfox("http://127.0.0.1:1", &["count", "films", "--where", "year >= and lang = 'en'"]).await.expect(2);
    let expected =
        "error: --where: column 9: expected a value after >=, found `and`\n  year >= and lang = 'en'\n          ^\n";
    assert_eq!(output.stderr, expected);
}

#[tokio::test]
async fn every_command_sends_its_filter() {
    let (server, endpoint) = films().await;
    let filter = ["--where", "year >= 2000"];
    let with = |arguments: &[&'static str]| [arguments, &filter].concat();
    pgfox(&endpoint, &with(&["search", "films", "x"])).await.expect(0);
    pgfox(&endpoint, &with(&["list", "films"])).await.expect(0);
    pgfox(&endpoint, &with(&["count", "films", "--estimated"])).await.expect(0);
    pgfox(&endpoint, &with(&["update-metadata", "films", "--set", "{}", "--dry-run"])).await.expect(0);
    pgfox(&endpoint, &with(&["delete", "films", "--dry-run"])).await.expect(0);
    let state = server.lock();
    assert_eq!(state.search_requests[0].filter, since_2000());
    assert_eq!(state.list_requests[0].filter, since_2000());
    let count = state.last_count.clone().unwrap();
    assert_eq!((count.filter, count.estimated), (since_2000(), true));
    assert_eq!((&state.metadata_requests[0].filter, state.metadata_requests[0].dry_run), (&since_2000(), true));
    assert_eq!((&state.delete_requests[0].filter, state.delete_requests[0].dry_run), (&since_2000(), true));
}

#[tokio::test]
async fn notes_go_to_stderr_or_into_the_json() {
    let (server, endpoint) = films().await;
    let note = "`title` contains_any compares lists, but the field contains strings: nothing matches";
    server.lock().notes = vec![note.to_owned(), "another".to_owned()];
    let pointed = "note: --where: column 7: `title` contains strings: write contains text\n  title contains 'x'\n        ^\n\
                   note: another\n";
    let filter = ["--where", "title contains 'x'"];
    let with = |arguments: &[&'static str]| [arguments, &filter].concat();
    let commands: [&[&str]; 6] = [
        &["search", "films", "find nothing"],
        &["list", "films"],
        &["count", "films"],
        &["facets", "films", "title"],
        &["delete", "films", "--dry-run"],
        &["update-metadata", "films", "--set", "{}", "--dry-run"],
    ];
    for command in commands {
        let is_list = command[0] == "list";
        if is_list {
            server.lock().collections.get_mut("films").unwrap().1.clear();
        }
        let output = pgfox(&endpoint, &with(command)).await.expect(0);
        assert!(output.stderr.ends_with(pointed), "{command:?}: {}", output.stderr);
        let quiet = pgfox(&endpoint, &[&with(command)[..], &["--quiet"]].concat()).await.expect(0);
        assert_eq!(quiet.stderr, "", "{command:?}");
        let output = pgfox(&endpoint, &[&with(command)[..], &["--json"]].concat()).await.expect(0);
        if is_list {
            // Its lines are documents.
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", pointed));
        } else {
            assert_eq!(output.json()["notes"], json!([note, "another"]), "{command:?}");
        }
    }
}

#[tokio::test]
async fn all_documents_on_purpose() {
    let (server, endpoint) = films().await;
    assert_eq!(pgfox(&endpoint, &["count", "films", "--all"]).await.expect(0).stdout, "3\n");
    assert_eq!(server.lock().last_count.take().unwrap().filter, None);
    pgfox(&endpoint, &["count", "films", "--all", "--where", "x"]).await.expect(2);
    pgfox(&endpoint, &["delete", "films"]).await.expect(2).says(&["--where", "--all"]);
    pgfox(&endpoint, &["delete", "films", "a", "--all"]).await.expect(2);
    pgfox(&endpoint, &["delete", "films", "--all"]).await.expect(2).says(&["Delete 3 documents of films?", "--yes"]);
    let update = ["update-metadata", "films", "--all", "--set", "{}", "--yes"];
    pgfox(&endpoint, &update).await.expect(0);
    let everything = Some(Filter { node: Some(Node::Everything(true)) });
    assert_eq!(server.lock().metadata_requests[0].filter, everything);
    assert_eq!(
        pgfox(&endpoint, &["delete", "films", "--all", "--yes"]).await.expect(0).stdout,
        "deleted 3 documents\n"
    );
    assert_eq!(server.lock().delete_requests.last().unwrap().filter, everything);
}

#[tokio::test]
async fn facets_are_a_table_or_json() {
    let (server, endpoint) = films().await;
    let arguments = ["facets", "films", "variants[].color", "--limit", "3", "--bucket-width", "0.5"];
    let output = pgfox(&endpoint, &arguments).await.expect(0);
    assert_eq!(output.stdout, "DOCUMENTS  VALUE\n    1,234  red\n        5  -0.5\n        1  true\n");
    assert_eq!(output.stderr, "1 other value; --limit shows more\n2 documents without a value\n");
    let facets = server.lock().last_facets.take().unwrap();
    assert_eq!((facets.field.as_str(), facets.limit, facets.bucket_width), ("variants[].color", 3, 0.5));
    let output = pgfox(&endpoint, &["facets", "films", "color", "--json"]).await.expect(0).json();
    let values = json!([{"value": "red", "count": 1234}, {"value": -0.5, "count": 5}, {"value": true, "count": 1}]);
    assert_eq!(output, json!({"values": values, "other_value_count": 1, "without_value_count": 2}));
    for wrong in ["0", "-1", "inf", "x"] {
        pgfox(&endpoint, &["facets", "films", "year", &format!("--bucket-width={wrong}")]).await.expect(2);
    }
}

#[tokio::test]
async fn deleting_by_filter_counts_and_asks_first() {
    let (server, endpoint) = films().await;
    let by_filter = ["delete", "films", "--where", "draft"];
    // There is no terminal to ask on.
    pgfox(&endpoint, &by_filter).await.expect(2).says(&["Delete 3 documents of films?", "--yes"]);
    assert_eq!(server.documents("films").len(), 3);
    let dry_run = [&by_filter[..], &["--dry-run"]].concat();
    assert_eq!(pgfox(&endpoint, &dry_run).await.expect(0).stdout, "would delete 3 documents\n");
    assert_eq!(server.documents("films").len(), 3);
    let output = pgfox(&endpoint, &["delete", "films", "a", "nope", "--dry-run", "--json"]).await.expect(0).json();
    assert_eq!(output, json!({ "deleted_count": 1, "dry_run": true }));
    let yes = [&by_filter[..], &["--yes"]].concat();
    assert_eq!(pgfox(&endpoint, &yes).await.expect(0).stdout, "deleted 3 documents\n");
    // Nothing matches, so there is nothing to ask.
    assert_eq!(pgfox(&endpoint, &by_filter).await.expect(0).stdout, "deleted 0 documents\n");
}

#[tokio::test]
async fn metadata_are_merged_or_replaced() {
    let (server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["update-metadata", "films", "a", "b", "--set", "{\"seen\": true}"]).await.expect(0);
    assert_eq!(output.stdout, "changed 2 of 3 documents that match\n");
    let arguments = ["update-metadata", "films", "--where", "seen", "--set", "@-", "--replace", "--yes", "--json"];
    let output = run(&endpoint, &arguments, Path::new("."), b"{\"n\": null}", &[]).await.expect(0).json();
    assert_eq!(output, json!({ "matched_count": 3, "updated_count": 2, "dry_run": false }));
    let by_filter = ["update-metadata", "films", "--where", "seen", "--set", "{}"];
    pgfox(&endpoint, &by_filter).await.expect(2).says(&["Change the metadata of 2 documents in films?"]);
    let requests = server.lock().metadata_requests.clone();
    assert_eq!(requests[0].ids, ["a", "b"]);
    assert_eq!((requests[0].update(), requests[0].filter.is_some()), (MetadataUpdate::Merge, false));
    assert_eq!((requests[1].update(), requests[1].filter.is_some()), (MetadataUpdate::Replace, true));
    assert!(requests[1].metadata.as_ref().unwrap().fields.contains_key("n"));
}

#[tokio::test]
async fn a_list_for_people() {
    let (server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["list", "films", "--order", "created", "--desc"]).await.expect(0);
    let expected = "ID  VERSION  CHANGED               TEXT
a         2  2024-05-01T00:00:00Z  A fox in love
b         2  2024-05-01T00:00:00Z  {\"title\":\"Silent\"}
c         2  2024-05-01T00:00:00Z  The moon
";
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
    let output = pgfox(&endpoint, &["list", "films", "--limit", "1"]).await.expect(0);
    assert_eq!(output.stdout.lines().count(), 2);
    output.says(&["there are more than 1; --limit shows more"]);
    let requests = server.lock().list_requests.clone();
    assert_eq!((requests[0].order(), requests[0].descending), (DocumentOrder::CreateTime, true));
    assert_eq!(requests.iter().map(|r| r.page_size).collect::<Vec<_>>(), [100, 98, 1]);
    assert_eq!(pgfox(&endpoint, &["count", "films"]).await.expect(0).stdout, "3\n");
}

#[tokio::test]
async fn an_export_can_be_ingested() {
    let (server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["list", "films", "--json", "--include-vector"]).await.expect(0);
    let lines: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let expected = json!({ "id": "c", "text": "The moon", "vector": [1.0, 2.0, 3.0], "version": 2,
        "create_time": "2024-05-01T00:00:00.250Z", "update_time": "2024-05-01T00:00:00.250Z" });
    assert_eq!(lines[2], expected);
    pgfox(&endpoint, &["collections", "create", "copy"]).await.expect(0);
    let ingest = ["ingest", "copy", "-", "--format", "jsonl"];
    run(&endpoint, &ingest, Path::new("."), output.stdout.as_bytes(), &[]).await.expect(0);
    assert_eq!(server.documents("copy"), server.documents("films"));
    let output = pgfox(&endpoint, &["list", "films", "--json", "--fields", "metadata", "-l", "1"]).await.expect(0);
    assert!(output.json().get("text").is_none(), "{}", output.stdout);
    let mask = server.lock().list_requests.last().unwrap().read_mask.clone();
    assert_eq!(mask.unwrap().paths, ["metadata"]);
}

#[tokio::test]
async fn searches_in_every_way() {
    let (server, endpoint) = films().await;
    let hybrid = [
        "search",
        "films",
        "fox",
        "--mode",
        "hybrid",
        "--words",
        "fox moon",
        "--vector-weight",
        "2",
        "--fusion",
        "reciprocal-rank",
        "--rank-constant",
        "10",
        "--candidates",
        "200",
        "--max-distance",
        "-0.5",
        "--fields",
        "text,metadata.title",
        "--group-by-document",
    ];
    pgfox(&endpoint, &hybrid).await.expect(0);
    let examples = ["search", "films", "--positive", "a", "--positive", "b", "--negative", "c", "--diversity=0.3"];
    pgfox(&endpoint, &examples).await.expect(0);
    let full_text = ["search", "films", "--diversity", "fox", "--mode", "full-text", "--include-full-text", "--json"];
    pgfox(&endpoint, &full_text).await.expect(0);
    let requests = server.lock().search_requests.clone();
    let hybrid = &requests[0];
    let fusion = hybrid.fusion.unwrap();
    assert_eq!(hybrid.mode(), SearchMode::Hybrid);
    assert_eq!((fusion.vector_weight, fusion.full_text_weight), (Some(2.0), None));
    assert_eq!((fusion.rank_constant, fusion.candidates), (Some(10), Some(200)));
    assert_eq!(
        (hybrid.full_text.as_str(), hybrid.max_distance, hybrid.group_by_document),
        ("fox moon", Some(-0.5), true)
    );
    assert_eq!(hybrid.read_mask.as_ref().unwrap().paths, ["text", "metadata.title"]);
    assert!(hybrid.diversity.is_none() && !hybrid.explain);
    match requests[1].query.as_ref().unwrap() {
        search_request::Query::Examples(examples) => {
            assert_eq!(
                (examples.positive_ids.as_slice(), examples.negative_ids.as_slice()),
                (&["a".to_owned(), "b".to_owned()][..], &["c".to_owned()][..])
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(requests[1].diversity.unwrap().weight, Some(0.3));
    assert_eq!((requests[2].mode(), requests[2].diversity.unwrap().weight), (SearchMode::FullText, None));
    assert!(requests[2].include_full_text);
}

#[tokio::test]
async fn a_search_can_be_explained() {
    let (_server, endpoint) = films().await;
    let output = pgfox(&endpoint, &["search", "films", "fox", "--explain", "--quiet"]).await.expect(0);
    output.says(&[
        "plan           Index Scan",
        "index          films_1",
        "rows scanned   1,234",
        "note: year is never a string",
    ]);
    let output = pgfox(&endpoint, &["search", "films", "fox", "--explain", "--json"]).await.expect(0).json();
    assert_eq!(output["explanation"]["plan_node"], "Index Scan");
    assert_eq!(output["explanation"]["plan"], json!([{ "Plan": {} }]));
}

#[tokio::test]
async fn collections_are_made_and_changed_in_every_way() {
    let (server, endpoint) = Server::start().await;
    let create = [
        "collections",
        "create",
        "books",
        "--chunking",
        "markdown",
        "--chunk-size",
        "256",
        "--chunk-unit",
        "tokens",
        "--chunk-overlap",
        "32",
        "--embed-headings",
        "--language",
        "german",
        "--metadata-index",
        "gin",
        "--metadata-index",
        "year:number",
        "--alias",
        "library",
        "--json",
    ];
    let created = pgfox(&endpoint, &create).await.expect(0).json()["collection"].clone();
    assert_eq!(
        created["chunking"],
        json!({
            "method": "CHUNKING_METHOD_MARKDOWN",
            "unit": "CHUNK_UNIT_TOKENS",
            "max_size": 256,
            "overlap": 32,
            "embed_headings": true,
        })
    );
    assert_eq!((&created["text_search_language"], &created["aliases"]), (&json!("german"), &json!(["library"])));
    let shown = pgfox(&endpoint, &["collections", "get", "books"]).await.expect(0).stdout;
    for line in
        ["chunking          markdown, 256 tokens, 32 repeated, with headings", "metadata indexes  gin, year:number"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    let update = [
        "collections",
        "update",
        "books",
        "--add-metadata-index",
        "published:time",
        "--drop-metadata-index",
        "gin",
        "--add-alias",
        "library",
        "--add-alias",
        "shelf",
    ];
    let shown = pgfox(&endpoint, &update).await.expect(0).stdout;
    assert!(shown.contains("metadata indexes  year:number, published:time"), "{shown}");
    assert!(shown.contains("aliases           library, shelf"), "{shown}");
    let mask = server.lock().last_update.take().unwrap().update_mask;
    assert_eq!(mask.unwrap().paths, ["metadata_indexes", "aliases"]);
    let output = pgfox(&endpoint, &["collections", "update", "books", "--drop-alias", "nope"]).await.expect(1);
    output.says(&["the collection has no alias nope"]);
}
