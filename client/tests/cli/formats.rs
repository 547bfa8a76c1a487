//! Every input format, and malformed input.

use std::{io::Write as _, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    Output, run,
    server::{Server, collection},
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes the files into a new folder and ingests with `arguments` from there.
pub(crate) async fn ingest(files: &[(&str, &[u8])], arguments: &[&str]) -> (Server, Output) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let mut all = vec!["ingest", "films"];
    all.extend(arguments);
    let output = run(&endpoint, &all, folder.path(), b"", &[]).await;
    (server, output)
}

/// Runs a command with `stdin`.
pub(crate) async fn run_with(endpoint: &str, arguments: &[&str], stdin: &[u8]) -> Output {
    run(endpoint, arguments, Path::new("."), stdin, &[]).await
}

pub(crate) fn ids(server: &Server) -> Vec<String> {
    server.documents("films").into_keys().collect()
}

#[tokio::test]
async fn a_folder_of_every_format() {
    let array = b"\n [ {\"id\": \"array-1\"},\n  {\"id\": \"array-2\"} ]\n";
    let (server, output) = ingest(
        &[
            ("in/a.jsonl", b"\xef\xbb\xbf{\"id\": \"line-1\"}\r\n\r\n{\"id\": \"line-2\"}"),
            ("in/b.ndjson.gz", &gzip(b"{\"id\": \"gz\"}\n")),
            ("in/named-plainly.jsonl", &gzip(b"{\"id\": \"gz-by-content\"}\n")),
            ("in/c.json", array),
            ("in/d.csv", b"id,text,metadata.year,cast\ncsv,\"a, b\",1999,\n"),
            ("in/e.tsv", b"id\ttext\ntsv\tx\n"),
            ("in/deep/f.md", b"# Title\n"),
            ("in/g.txt", "Füchse".as_bytes()),
            ("in/.hidden.txt", b"no"),
            ("in/picture.png", b"no"),
        ],
        &["in", "--json"],
    )
    .await;
    assert_eq!(output.expect(0).json()["documents"], 10);
    let expected =
        ["array-1", "array-2", "csv", "deep/f.md", "g.txt", "gz", "gz-by-content", "line-1", "line-2", "tsv"];
    assert_eq!(ids(&server), expected);
    let documents = server.documents("films");
    assert_eq!(documents["deep/f.md"].text, "# Title\n");
    assert_eq!(documents["g.txt"].text, "Füchse");
    assert_eq!(documents["csv"].text, "a, b");
    let metadata = documents["csv"].metadata.clone().unwrap();
    assert_eq!(metadata.fields.keys().collect::<Vec<_>>(), ["year"]);
}

#[tokio::test]
async fn csv_columns_can_be_named() {
    let csv = b"sku;description;embedding\n007;Shoe;\"[1, 2.5]\"\n";
    let arguments = [
        "p.csv",
        "--delimiter",
        ";",
        "--id-column",
        "sku",
        "--text-column",
        "description",
        "--vector-column",
        "embedding",
    ];
    let (server, output) = ingest(&[("p.csv", csv)], &arguments).await;
    output.expect(0);
    let document = &server.documents("films")["007"];
    assert_eq!(document.vector.as_ref().unwrap().values, [1.0, 2.5]);
    assert_eq!(document.metadata, None);
    let (_, output) = ingest(&[("p.csv", csv)], &["p.csv", "--delimiter", ";"]).await;
    output.expect(1).says(&["no column `id`, only: sku, description, embedding", "--id-field"]);
}

#[tokio::test]
async fn fields_can_be_named_and_texts_joined() {
    let lines = b"{\"_id\": \"1\", \"title\": \"Fox\", \"text\": \"A fox.\", \"metadata\": {\"n\": 1}}\n{\"_id\": 2, \"title\": \"\", \"text\": \"B\"}\n";
    let arguments = ["c.jsonl", "--id-field", "_id", "--text-fields", "title,text"];
    let (server, output) = ingest(&[("c.jsonl", lines)], &arguments).await;
    output.expect(0);
    let documents = server.documents("films");
    assert_eq!((documents["1"].text.as_str(), documents["2"].text.as_str()), ("Fox A fox.", "B"));
    let (_, output) = ingest(&[("c.jsonl", lines)], &["c.jsonl"]).await;
    output.expect(1).says(&["c.jsonl:1: the document has no field `id`", "add --id-field _id"]);
    let csv = b"id,title,text,year\n1,Fox,A fox.,1999\n";
    let (server, output) = ingest(&[("c.csv", csv)], &["c.csv", "--text-fields", "title,text"]).await;
    output.expect(0);
    assert_eq!(server.documents("films")["1"].text, "Fox A fox.");
    let (_, output) = ingest(&[("c.csv", csv)], &["c.csv", "--text-fields", "title,body"]).await;
    output.expect(1).says(&["neither a column `body`"]);
}

#[tokio::test]
async fn what_exists_can_be_left_alone() {
    let lines = b"{\"id\": \"1\", \"text\": \"a\"}\n{\"id\": \"2\"}\n";
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let ingest = |lines: &'static [u8], more: &'static [&'static str]| {
        let endpoint = endpoint.clone();
        async move {
            let mut arguments = vec!["ingest", "films", "-", "-f", "jsonl", "--only-if-absent"];
            arguments.extend(more);
            run(&endpoint, &arguments, Path::new("."), lines, &[]).await.expect(0)
        }
    };
    ingest(lines, &[]).await;
    let output = ingest(b"{\"id\": \"1\", \"text\": \"b\"}\n{\"id\": \"3\", \"text\": \"c\"}\n", &[]).await;
    assert!(
        output.stdout.contains("1 document not replaced, because the id exists\n1 text embedded"),
        "{}",
        output.stdout
    );
    assert_eq!(server.documents("films")["1"].text, "a");
    let output = ingest(lines, &["--json"]).await.json();
    assert_eq!((output["existing_count"].clone(), output["embedded_count"].clone()), (json!(2), json!(0)));
}

#[tokio::test]
async fn what_is_wrong_is_skipped_and_named() {
    let lines = b"{\"id\": \"1\"}\n{\"id\": \"2\", \"title\": \"x\"}\n{\"id\": \"3\"\n{\"id\": \"4\", \"text\": \"caf\xe9\"}\n{\"id\": \"5\", \"text\": \"refuse me\"}\n{\"id\": \"6\"}\n";
    let (server, output) = ingest(&[("a.jsonl", lines)], &["a.jsonl"]).await;
    let output = output.expect(1);
    output.says(&[
        "skipped a.jsonl:2:22: unknown field `title`",
        "skipped a.jsonl:3:10: the JSON ends too early",
        "skipped a.jsonl:4:25: byte 0xe9 is not UTF-8",
        "skipped a.jsonl:5 5: id: must not be empty",
    ]);
    assert!(output.stdout.contains("2 new, 0 changed, 0 unchanged, 4 skipped"), "{}", output.stdout);
    assert_eq!(ids(&server), ["1", "6"]);

    let (_, output) = ingest(&[("a.jsonl", lines)], &["a.jsonl", "--json"]).await;
    let skipped = output.expect(1).json()["skipped"].clone();
    assert_eq!(skipped.as_array().unwrap().len(), 4);
    let refused = skipped.as_array().unwrap().iter().find(|skipped| skipped["id"] == "5").unwrap();
    let expected = json!({ "source": "a.jsonl", "line": 5, "column": null, "id": "5", "reason": "INVALID_FIELD",
        "message": "id: must not be empty" });
    assert_eq!(*refused, expected);
}

#[tokio::test]
async fn many_skipped_documents_are_counted() {
    let lines = "x\n".repeat(500);
    let (_, output) = ingest(&[("a.jsonl", lines.as_bytes())], &["a.jsonl"]).await;
    let output = output.expect(1);
    assert_eq!(output.stderr.matches("skipped a.jsonl").count(), 20);
    output.says(&["further skipped documents are only counted"]);
    assert!(output.stdout.contains("500 skipped"), "{}", output.stdout);
    let (_, output) = ingest(&[("a.jsonl", lines.as_bytes())], &["a.jsonl", "--json"]).await;
    assert_eq!(output.expect(1).json()["skipped"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn elements_of_an_array_are_judged_one_by_one() {
    let array = b"[\n{\"id\": \"1\"},\n{\"name\": \"2\"},\n{\"id\":\n \"3\"},\n{\"id\": \"4\"} oops ]";
    let (server, output) = ingest(&[("a.json", array)], &["a.json"]).await;
    output.expect(1).says(&[
        "skipped a.json:3:",
        "the document has no field `id`: it has name",
        "skipped a.json:6:",
        "the rest of the file is left out",
    ]);
    assert_eq!(ids(&server), ["1", "3", "4"]);
}

#[tokio::test]
async fn csv_rows_are_judged_one_by_one() {
    let csv = b"id,text,vector\n1,a,\n2,b\n3,c,oops\n4,\xff,\n5,\"two\nlines\",[1]\n";
    let (server, output) = ingest(&[("a.csv", csv)], &["a.csv"]).await;
    output.expect(1).says(&[
        "skipped a.csv:3: the row has 2 cells but the header has 3",
        "skipped a.csv:4: expected an array of numbers as vector",
        "skipped a.csv:5: byte 0xff is not UTF-8",
    ]);
    assert_eq!(ids(&server), ["1", "5"]);
}

#[tokio::test]
async fn damaged_and_foreign_files_do_not_stop_the_others() {
    let mut cut = gzip("{\"id\": \"1\"}\n".repeat(10_000).as_bytes());
    cut.truncate(cut.len() / 2);
    let files: [(&str, &[u8]); 4] =
        [("1.jsonl.gz", &cut), ("2.jsonl", b"\xff\xfe{\x00\"\x00"), ("3.txt", b"\xff"), ("4.txt", b"fine")];
    let (server, output) = ingest(&files, &["."]).await;
    output.expect(1).says(&[
        "damaged or cut off",
        "skipped ./2.jsonl: it is UTF-16",
        "3.txt:1: byte 0xff is not UTF-8",
    ]);
    assert!(ids(&server).contains(&"4.txt".to_owned()));
}

#[tokio::test]
async fn what_is_too_large_is_bounded() {
    let mut lines = br#"{"id": "1", "text": ""#.to_vec();
    lines.resize(40 << 20, b'x');
    lines.extend(b"\"}\n{\"id\": \"2\", \"text\": \"");
    lines.resize(lines.len() + (9 << 20), b'y');
    lines.extend(b"\"}\n{\"id\": \"3\", \"text\": \"");
    lines.resize(lines.len() + (8 << 20), b'z');
    lines.extend(b"\"}\n");
    let text = vec![b'x'; (8 << 20) + 1];
    let mut csv = b"id,text\n1,\"".to_vec();
    csv.resize(40 << 20, b'x');
    let files: [(&str, &[u8]); 3] = [("a.jsonl", &lines), ("b.txt", &text), ("c.csv", &csv)];
    let (server, output) = ingest(&files, &["a.jsonl", "b.txt", "c.csv"]).await;
    output.expect(1).says(&[
        "skipped a.jsonl:1: the line has more than 32 MiB",
        "skipped a.jsonl:2: the text has 9437184 bytes, above the limit of 8 MiB",
        "skipped b.txt: the text has more than 8 MiB",
        "skipped c.csv:2:3: the quote that opens here never closes",
    ]);
    assert_eq!(ids(&server), ["3"]);
}

#[tokio::test]
async fn two_files_are_never_one_document() {
    let files: [(&str, &[u8]); 2] = [("a/x.md", b"1"), ("b/x.md", b"2")];
    let (_, output) = ingest(&files, &["a", "b"]).await;
    output.expect(2).says(&["a/x.md and b/x.md would both have the id `x.md`"]);
    let (server, output) = ingest(&files, &["./a/x.md", "b/x.md"]).await;
    output.expect(0);
    assert_eq!(ids(&server), ["a/x.md", "b/x.md"]);
    let (_, output) = ingest(&[("x.md", b"1")], &["x.md", "--id", "note"]).await;
    output.expect(0);
}

#[tokio::test]
async fn stdin_needs_a_format_and_a_text_needs_an_id() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let here = Path::new(".");
    run(&endpoint, &["ingest", "films", "-"], here, b"x", &[]).await.expect(2).says(&["--format"]);
    run(&endpoint, &["ingest", "films", "-", "-f", "text"], here, b"x", &[]).await.expect(2).says(&["--id"]);
    run(&endpoint, &["ingest", "films", "-", "-f", "text", "--id", "t"], here, b"x", &[]).await.expect(0);
    run(&endpoint, &["ingest", "films", "-", "-f", "csv"], here, &gzip(b"id,text\nc,x\n"), &[]).await.expect(0);
    assert_eq!(ids(&server), ["c", "t"]);
}

#[tokio::test]
async fn create_makes_the_collection_or_checks_it() {
    let (server, endpoint) = Server::start().await;
    let ingest = async |flags: &[&str]| {
        let mut arguments = vec!["ingest", "films", "-", "-f", "jsonl", "--create"];
        arguments.extend(flags);
        run(&endpoint, &arguments, Path::new("."), b"{\"id\": \"1\", \"vector\": [1]}", &[]).await
    };
    ingest(&["--model", "local/a", "--dimensions", "4", "--distance", "ip"])
        .await
        .expect(0)
        .says(&["created the collection films"]);
    assert_eq!(server.lock().collections["films"].0.distance(), pgfox_client::v1::Distance::InnerProduct);
    ingest(&["--model", "local/a"]).await.expect(0);
    ingest(&["--model", "local/b"])
        .await
        .expect(1)
        .says(&["the collection films exists with model local/a instead of local/b"]);
    let output = ingest(&["--distance", "l2", "--json"]).await.expect(1);
    let error: Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["message"], "the collection films exists with distance inner product instead of l2");
}

#[tokio::test]
async fn an_empty_input_is_fine() {
    let (_, output) = ingest(&[("a.jsonl", b""), ("b.json", b" []\n")], &["a.jsonl", "b.json", "--json"]).await;
    let totals = output.expect(0).json();
    assert_eq!((&totals["documents"], &totals["skipped"]), (&json!(0), &json!([])));
}
