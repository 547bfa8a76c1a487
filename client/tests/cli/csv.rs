//! CSV and TSV as people write them: quotes that do not pair, and cells with types.

use serde_json::{Value, json};

use crate::{
    formats::{ids, ingest},
    server::Server,
};

fn metadata(server: &Server, id: &str) -> Value {
    let fields = server.documents("films")[id].metadata.clone().unwrap_or_default().fields;
    let value = |value: &prost_types::Value| match &value.kind {
        Some(prost_types::value::Kind::NumberValue(number)) => json!(number),
        Some(prost_types::value::Kind::BoolValue(value)) => json!(value),
        Some(prost_types::value::Kind::StringValue(text)) => json!(text),
        other => panic!("{other:?}"),
    };
    fields.iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

/// One row per number. One of the rows has a single quote.
fn rows(separator: &str, quoted: usize) -> Vec<u8> {
    let mut text = format!("id{separator}text\n");
    for i in 1..=1_000 {
        let quote = if i == quoted { "\"" } else { "" };
        text += &format!("{i}{separator}{quote}Only one quote here\n");
    }
    text.into_bytes()
}

#[tokio::test]
async fn in_tsv_a_quote_is_a_character() {
    let (server, output) = ingest(&[("a.tsv", &rows("\t", 500))], &["a.tsv"]).await;
    output.expect(0);
    assert_eq!(ids(&server).len(), 1_000);
    assert_eq!(server.documents("films")["500"].text, "\"Only one quote here");
    let quoted = b"id\ttext\n1\t\"a\tb\"\n";
    let (server, output) = ingest(&[("a.tsv", quoted)], &["a.tsv", "--quote", "\""]).await;
    output.expect(0);
    assert_eq!(server.documents("films")["1"].text, "a\tb");
}

#[tokio::test]
async fn a_quote_that_never_closes_is_an_error_with_its_place() {
    let (server, output) = ingest(&[("a.csv", &rows(",", 500))], &["a.csv"]).await;
    output.expect(1).says(&["skipped a.csv:501:5: the quote that opens here never closes", "add --quote none"]);
    assert_eq!(ids(&server).len(), 499);
    let (server, output) = ingest(&[("a.csv", &rows(",", 500))], &["a.csv", "--quote", "none"]).await;
    output.expect(0);
    assert_eq!(ids(&server).len(), 1_000);

    // In a later cell and a later line of a row, and with Windows line ends.
    let csv = b"id,text,more\r\n1,a,b\r\n2,\"two\r\nlines\",\"open\r\n3,c,d\r\n";
    let (_, output) = ingest(&[("a.csv", csv)], &["a.csv"]).await;
    output.expect(1).says(&["skipped a.csv:4:8: the quote that opens here"]);
    let (_, output) = ingest(&[("a.csv", b"id,\"text\n1,a\n")], &["a.csv"]).await;
    output.expect(1).says(&["skipped a.csv:1:4: the quote that opens here"]);
}

#[tokio::test]
async fn a_quote_that_closes_too_late_swallows_no_row_in_silence() {
    let csv = b"id,text\n1,\"open\n2,b\n3,\"quoted\"\n4,d\n5,\"back \\\"slash\\\"\"\n6,f\n";
    let (server, output) = ingest(&[("a.csv", csv)], &["a.csv"]).await;
    output.expect(1).says(&[
        "skipped a.csv:2:3: more of the cell follows its closing quote (line 4, column 4), so lines 2 to 4 are left out",
        "skipped a.csv:6:3: more of the cell follows",
    ]);
    assert_eq!(ids(&server), ["4", "6"]);
}

#[tokio::test]
async fn lines_are_counted_as_an_editor_counts_them() {
    let csv = b"id,text\r\n1,a\r\n\r\n2,b,x\r\n\"3\",\"a\r\nb\"\r\n4\r\n";
    let (server, output) = ingest(&[("a.csv", csv)], &["a.csv"]).await;
    output.expect(1).says(&["skipped a.csv:4: the row has 3 cells", "skipped a.csv:7: the row has 1 cells"]);
    assert_eq!(ids(&server), ["1", "3"]);
}

#[tokio::test]
async fn another_separator_is_named() {
    let (_, output) = ingest(&[("a.csv", b"id;text\n1;a\n")], &["a.csv"]).await;
    output.expect(1).says(&["skipped a.csv:1: the file has no column `id`", "add --delimiter ';'"]);
}

#[tokio::test]
async fn cells_have_the_types_of_the_header_or_the_flags() {
    let csv = b"id,text,year:number,seen:time,ok:bool,dc:title,zip\n1,a,1999,2024-05-01 12:00:00+02,t,x,00501\n2,b,,,,,\n3,c,1999?,,,,\n4,d,9007199254740993,,,,\n";
    let (server, output) = ingest(&[("a.csv", csv)], &["a.csv"]).await;
    output.expect(1).says(&[
        "skipped a.csv:4: the cell `1999?` in the column `year` is not a number",
        "skipped a.csv:5: the cell `9007199254740993` in the column `year` is a number that would lose digits",
    ]);
    let expected =
        json!({ "year": 1999.0, "seen": "2024-05-01T10:00:00Z", "ok": true, "dc:title": "x", "zip": "00501" });
    assert_eq!(metadata(&server, "1"), expected);
    assert_eq!(metadata(&server, "2"), json!({}));
    let arguments = ["a.csv", "--types", "year:string,zip:number", "--metadata-fields", "year,zip"];
    let (server, output) = ingest(&[("a.csv", csv)], &arguments).await;
    output.expect(0);
    assert_eq!(metadata(&server, "1"), json!({ "year": "1999", "zip": 501.0 }));
    assert_eq!(metadata(&server, "4"), json!({ "year": "9007199254740993" }));
    let (_, output) = ingest(&[("a.csv", csv)], &["a.csv", "--types", "yaer:number"]).await;
    output.expect(1).says(&["--types names the column `yaer`"]);
    let (_, output) = ingest(&[("a.csv", csv)], &["a.csv", "--types", "year"]).await;
    output.expect(2).says(&["write NAME:TYPE"]);
}

#[tokio::test]
async fn types_are_inferred_when_asked_for() {
    let mut csv = String::from("id,text,year,zip,big,ok,seen,name,n:string\n");
    for i in 1..=1_100 {
        csv += &format!("{i},a,1999,00501,9007199254740993,true,2024-05-01,x,1\n");
    }
    csv += "late,a,n/a,00501,1,true,2024-05-01,x,1\n";
    let (server, output) = ingest(&[("a.csv", csv.as_bytes())], &["a.csv", "--infer-types"]).await;
    output.expect(1).says(&[
        "a.csv: inferred year:number,ok:bool,seen:time; the other columns stay strings",
        "skipped a.csv:1102: the cell `n/a` in the column `year` is not a number, but the first rows are numbers",
        "add --types year:string",
    ]);
    assert_eq!(ids(&server).len(), 1_100);
    let expected = json!({ "year": 1999.0, "zip": "00501", "big": "9007199254740993", "ok": true,
        "seen": "2024-05-01T00:00:00Z", "name": "x", "n": "1" });
    assert_eq!(metadata(&server, "1100"), expected);
    let (server, output) = ingest(&[("a.csv", csv.as_bytes())], &["a.csv"]).await;
    output.expect(0);
    assert_eq!(metadata(&server, "1")["year"], "1999");
}
