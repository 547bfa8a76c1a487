//! JSON as people write it: flat records, whole files, and numbers that would change.

use serde_json::json;

use crate::{
    formats::{ids, ingest, run_with},
    server::Server,
};

#[tokio::test]
async fn other_fields_become_metadata() {
    let line = br#"{"id":1,"title":"T","body":"b","year":1999,"url":"u"}"#;
    let (server, output) = ingest(&[("a.jsonl", line)], &["a.jsonl", "--text-fields", "title,body"]).await;
    output.expect(0);
    let document = &server.documents("films")["1"];
    assert_eq!(document.text, "T b");
    assert_eq!(document.metadata.as_ref().unwrap().fields.keys().collect::<Vec<_>>(), ["url", "year"]);
    let arguments = ["a.jsonl", "--text-fields", "title,body", "--metadata-fields", "year"];
    let (server, output) = ingest(&[("a.jsonl", line)], &arguments).await;
    output.expect(0);
    let document = &server.documents("films")["1"];
    assert_eq!(document.metadata.as_ref().unwrap().fields.keys().collect::<Vec<_>>(), ["year"]);
    // Without a text the document could not be found.
    let (_, output) = ingest(&[("a.jsonl", line)], &["a.jsonl"]).await;
    output.expect(1).says(&["skipped a.jsonl:1:17: unknown field `title`", "add --text-fields title"]);
}

#[tokio::test]
async fn rows_of_postgres_go_in_as_they_are() {
    let row = br#"{"id":7,"content":"a fox","embedding":"[1,0.5,-2]","tags":["a"]}"#;
    let arguments = ["a.json", "--text-fields", "content", "--vector-field", "embedding"];
    let (server, output) = ingest(&[("a.json", row)], &arguments).await;
    output.expect(0);
    assert_eq!(server.documents("films")["7"].vector.as_ref().unwrap().values, [1.0, 0.5, -2.0]);
    let (_, output) = ingest(&[("a.json", row)], &["a.json", "--text-fields", "content"]).await;
    output.expect(1).says(&["the field `embedding` looks like the vector: add --vector-field embedding"]);
}

#[tokio::test]
async fn objects_may_go_over_lines_in_any_file() {
    let pretty = b"{\n  \"id\": \"1\",\n  \"text\": \"a\"\n}\n{\n  \"id\": \"2\",\n  \"text\": 3,\n  \"metadata\": 4\n}\n{\"id\": \"3\"}\n";
    for name in ["a.json", "a.jsonl"] {
        let (server, output) = ingest(&[(name, pretty)], &[name]).await;
        output.expect(1).says(&[&format!("skipped {name}:8:15: `metadata` is not a JSON object")]);
        assert_eq!(ids(&server), ["1", "3"]);
        let (server, output) = ingest(&[(name, b"[\n{\"id\": \"1\"},\n{\"id\": \"2\"}\n]\n")], &[name]).await;
        output.expect(0);
        assert_eq!(ids(&server), ["1", "2"]);
    }
    // A broken first line is not the beginning of an object over several lines.
    let lines = b"{\"id\": \"1\", \"text\": \"cut\n{\"id\": \"2\"}\n{\"id\": \"3\"}\n";
    let (server, output) = ingest(&[("a.jsonl", lines)], &["a.jsonl"]).await;
    output.expect(1).says(&["skipped a.jsonl:1:"]);
    assert_eq!(ids(&server), ["2", "3"]);
}

#[tokio::test]
async fn an_object_around_the_documents_is_one_error() {
    let around: [(&[u8], &str); 4] = [
        (b"{\"data\":[{\"id\":1},{\"id\":2}],\"total\":2}", "contains documents in `data`: take them out"),
        (b"{\n \"total\": 2,\n \"data\": [\n  {\"id\":1},\n  {\"id\":2}\n ]\n}", "`jq -c '.[\"data\"][]' FILE |"),
        (b"{\"a\":{\"text\":\"x\"},\"b\":{\"text\":\"y\"}}", "contains documents by their ids"),
        (b"{\n\"a\":\n{\"text\":\"x\"},\n\"b\":\n{\"text\":\"y\"}\n}\n", "to_entries[] | .value + {id: .key}"),
    ];
    for (json, message) in around {
        let (server, output) = ingest(&[("a.json", json)], &["a.json"]).await;
        let output = output.expect(1);
        output.says(&[message]);
        assert_eq!(output.stderr.matches("skipped").count(), 1, "{}", output.stderr);
        assert!(ids(&server).is_empty());
    }
}

#[tokio::test]
async fn an_array_without_documents_is_one_error() {
    let to_text = "`jq -c 'to_entries[] | {id: (.key + 1), text: .value}' FILE | pgfox ingest ... - --format jsonl`";
    let arrays: [(&[u8], &[&str]); 5] = [
        (b"[\"a\", \"b\"]", &["a.json:1: the array begins with 2 values", "the first of them a string", to_text]),
        (b"[\n1,\n2,\nnull]", &["a.json:2: the array begins with 3 values", "the first of them a number"]),
        (b"[[1, 2], [3, 4]]", &["the first of them a list", "vector: .value}"]),
        (b"[null, true, {\"id\": 1}]", &["begins with 2 values", "the first of them null"]),
        (b"[true, \"a\"", &["begins with 2 values", "the first of them true or false"]),
    ];
    for (json, messages) in arrays {
        let (_, output) = ingest(&[("a.json", json)], &["a.json"]).await;
        let output = output.expect(1);
        output.says(messages);
        // The last one is also cut off.
        let errors = 1 + usize::from(!json.ends_with(b"]"));
        assert_eq!(output.stderr.matches("skipped").count(), errors, "{}", output.stderr);
    }
    // Documents beside them are stored, and each value between them has its own place.
    let mixed = b"[\n\"a\", {\"id\": 1},\n\"b\",\n{\"id\": 2}]";
    let (server, output) = ingest(&[("a.json", mixed)], &["a.json"]).await;
    output.expect(1).says(&["a.json:2: the array begins with 1 value", "a.json:3:3: invalid type"]);
    assert_eq!(ids(&server), ["1", "2"]);
}

#[tokio::test]
async fn a_file_of_wrong_lines_is_listed_in_short() {
    let lines = "\"a\"\n".repeat(1_000);
    let (_, output) = ingest(&[("a.jsonl", lines.as_bytes())], &["a.jsonl"]).await;
    let output = output.expect(1);
    output.says(&["further skipped documents are only counted"]);
    assert!(output.stdout.contains("0 new, 0 changed, 0 unchanged, 1,000 skipped"), "{}", output.stdout);
    assert_eq!(output.stderr.matches("skipped a.jsonl").count(), 20, "{}", output.stderr);
}

#[tokio::test]
async fn what_was_made_for_nothing_is_removed() {
    let (server, endpoint) = Server::start().await;
    let arguments = ["ingest", "films", "-", "-f", "jsonl", "--create"];
    let output = run_with(&endpoint, &arguments, b"{\"name\": 1}\n").await.expect(1);
    output.says(&["created the collection films", "removed the collection films again"]);
    assert!(server.lock().collections.is_empty());
    run_with(&endpoint, &arguments, b"{\"id\": 1, \"text\": \"refuse me\"}\n").await.expect(1);
    assert!(server.lock().collections.is_empty());
    // One document is enough, and an input without documents is not a failure.
    run_with(&endpoint, &arguments, b"{\"id\": 1}\n{\"name\": 1}\n").await.expect(1);
    assert_eq!(server.documents("films").len(), 1);
    run_with(&endpoint, &["ingest", "empty", "-", "-f", "jsonl", "--create"], b"").await.expect(0);
    assert!(server.lock().collections.contains_key("empty"));
    // A collection that existed before stays.
    run_with(&endpoint, &["ingest", "empty", "-", "-f", "jsonl", "--create"], b"x\n").await.expect(1);
    assert!(server.lock().collections.contains_key("empty"));
}

#[tokio::test]
async fn numbers_never_change_in_silence() {
    let lines = b"{\"id\":1,\"text\":\"a\",\"n\":9007199254740993}\n{\"id\":2,\"text\":\"a\",\"metadata\":{\"n\":[3.14159265358979323846]}}\n{\"id\":3,\"text\":\"a\",\"n\":18446744073709551616}\n{\"id\":4,\"text\":\"a\",\"n\":0.1}\n{\"id\":18446744073709551616,\"text\":\"a\",\"n\":1e-400}\n";
    let (server, output) = ingest(&[("a.jsonl", lines)], &["a.jsonl"]).await;
    output.expect(1).says(&[
        "skipped a.jsonl:1:24: the number 9007199254740993 in the metadata would lose digits",
        "skipped a.jsonl:2:37: the number 3.14159265358979323846",
        "skipped a.jsonl:3:24: the number 18446744073709551616",
        "skipped a.jsonl:5:43: the number 1e-400",
        "add --inexact-as-strings",
    ]);
    assert_eq!(ids(&server), ["4"]);
    let (server, output) = ingest(&[("a.jsonl", lines)], &["a.jsonl", "--inexact-as-strings"]).await;
    output.expect(0);
    let n = |id: &str| format!("{:?}", server.documents("films")[id].metadata.as_ref().unwrap().fields["n"]);
    assert!(n("1").contains(r#"StringValue("9007199254740993")"#), "{}", n("1"));
    assert!(n("2").contains(r#"StringValue("3.14159265358979323846")"#), "{}", n("2"));
    assert!(n("4").contains("NumberValue(0.1)"), "{}", n("4"));
    assert!(ids(&server).contains(&"18446744073709551616".to_owned()));

    let (_, endpoint) = Server::with_collection(crate::server::collection("films")).await;
    let big = r#"{"n": 9007199254740993}"#;
    run_with(&endpoint, &["update-metadata", "films", "1", "--set", big], b"").await.expect(2).says(&["lose digits"]);
    for filter in ["n = 3.14159265358979323846", "n = 9007199254740993", "n = [9007199254740993]"] {
        run_with(&endpoint, &["count", "films", "--where", filter], b"").await.expect(2).says(&["lose digits"]);
    }
}

#[tokio::test]
async fn nul_can_be_left_out() {
    let line = br#"{"id":1,"text":"a\u0000b","metadata":{"k\u0000":["x\u0000y"]}}"#;
    let (server, output) = ingest(&[("a.jsonl", line)], &["a.jsonl", "--strip-nul"]).await;
    output.expect(0);
    let document = &server.documents("films")["1"];
    assert_eq!(document.text, "ab");
    let metadata = document.metadata.as_ref().unwrap();
    assert!(format!("{metadata:?}").contains(r#""k": Value { kind: Some(ListValue("#), "{metadata:?}");
    assert!(!format!("{metadata:?}").contains("\\0"), "{metadata:?}");
    assert_eq!(json!(document.id), "1");
}
