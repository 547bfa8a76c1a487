//! Parquet files as data sets are exported, and records without an id.

use std::{path::Path, sync::Arc};

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use serde_json::json;

use crate::{
    formats::{ids, ingest},
    server::Server,
};

const ROWS: usize = 300;

/// Three hundred questions with a vector, a picture, and a time in nanoseconds as pandas writes it. One of them has a
/// large number.
fn write(path: &Path, compression: Compression, large: i64) {
    let schema = "message questions {
        REQUIRED BYTE_ARRAY id (UTF8);
        OPTIONAL BYTE_ARRAY question (UTF8);
        OPTIONAL INT64 views;
        REQUIRED DOUBLE score;
        REQUIRED INT64 asked (TIMESTAMP(NANOS,false));
        REQUIRED BYTE_ARRAY picture;
        OPTIONAL GROUP embedding (LIST) { REPEATED GROUP list { OPTIONAL FLOAT element; } }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    // Row groups of a hundred.
    for group in 0..ROWS / 100 {
        let rows: Vec<usize> = (group * 100..(group + 1) * 100).collect();
        let texts =
            |text: &dyn Fn(usize) -> Vec<u8>| rows.iter().map(|i| ByteArray::from(text(*i))).collect::<Vec<_>>();
        let mut columns = writer.next_row_group().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let values = texts(&|i| i.to_string().into_bytes());
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let values = texts(&|i| format!("Füchse {i}").into_bytes());
        column.typed::<ByteArrayType>().write_batch(&values, Some(&[1; 100]), None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let levels: Vec<i16> = rows.iter().map(|i| i16::from(*i != 1)).collect();
        let values: Vec<i64> = rows.iter().filter(|i| **i != 1).map(|i| if *i == 2 { large } else { 7 }).collect();
        column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let values: Vec<f64> = rows.iter().map(|i| if *i == 1 { f64::NAN } else { 0.1 }).collect();
        column.typed::<DoubleType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[1_714_521_600_500_000_000; 100], None, None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts(&|_| vec![0xff, 0xd8]), None, None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let values: Vec<f32> = rows.iter().flat_map(|i| [*i as f32, 0.5]).collect();
        let repeated: Vec<i16> = rows.iter().flat_map(|_| [0, 1]).collect();
        column.typed::<FloatType>().write_batch(&values, Some(&[3; 200]), Some(&repeated)).unwrap();
        column.close().unwrap();
        columns.close().unwrap();
    }
    writer.close().unwrap();
}

/// Writes a file and ingests it; with `cut` bytes of it overwritten in the middle.
async fn parquet(compression: Compression, large: i64, cut: usize, arguments: &[&str]) -> (Server, crate::Output) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    write(&path, compression, large);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + cut].fill(0xee);
    let mut all = vec!["train.parquet"];
    all.extend(arguments);
    ingest(&[("train.parquet", &bytes)], &all).await
}

const COLUMNS: [&str; 6] =
    ["--text-fields", "question", "--vector-field", "embedding", "--metadata-fields", "views,score,asked"];

#[tokio::test]
async fn columns_keep_their_types() {
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
        let (server, output) = parquet(compression, 9, 0, &COLUMNS).await;
        output.expect(0);
        assert_eq!(ids(&server).len(), ROWS);
        let document = &server.documents("films")["299"];
        assert_eq!(document.text, "Füchse 299");
        assert_eq!(document.vector.as_ref().unwrap().values, [299.0, 0.5]);
        let metadata = format!("{:?}", document.metadata);
        for part in [r#""views": Value { kind: Some(NumberValue(7.0))"#, "NumberValue(0.1)", "2024-05-01T00:00:00.500Z"]
        {
            assert!(metadata.contains(part), "{part} is not in {metadata}");
        }
        let missing = server.documents("films")["1"].metadata.clone().unwrap();
        assert_eq!(missing.fields.keys().collect::<Vec<_>>(), ["asked"]);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_its_row() {
    let (server, output) = parquet(Compression::SNAPPY, 9_007_199_254_740_993, 0, &COLUMNS).await;
    output.expect(1).says(&[
        "skipped train.parquet:3: the column `views` has the number 9007199254740993, which would lose digits",
        "--inexact-as-strings",
    ]);
    assert_eq!(ids(&server).len(), ROWS - 1);
    let pictures = ["--text-fields", "question", "--vector-field", "embedding"];
    let (_, output) = parquet(Compression::SNAPPY, 9, 0, &pictures).await;
    output.expect(1).says(&["the column `picture` contains bytes that are not text", "--metadata-fields"]);
    let (_, output) = parquet(Compression::SNAPPY, 9, 0, &[]).await;
    output.expect(1).says(&["neither a column `text` nor `vector`, only: id, question, views"]);
}

#[tokio::test]
async fn a_damaged_file_is_never_a_short_one() {
    let (server, output) = parquet(Compression::ZSTD(Default::default()), 9, 400, &COLUMNS).await;
    output.expect(1).says(&["skipped train.parquet"]);
    assert!(ids(&server).len() < ROWS);
    let (_, output) = ingest(&[("a.parquet", b"PAR1 is not enough")], &["a.parquet"]).await;
    output.expect(1).says(&["skipped a.parquet: it cannot be read as Parquet"]);
}

#[tokio::test]
async fn records_without_an_id_are_numbered_when_asked_for() {
    let lines = b"{\"text\":\"a\"}\n{\"text\":\n{\"text\":\"b\"}\n{\"id\":\"own\",\"text\":\"c\"}\n";
    let csv = b"text\na\nb\n";
    let files: [(&str, &[u8]); 2] = [("in/a.jsonl", lines), ("in/b.csv", csv)];
    let (server, output) = ingest(&files, &["in", "--number-records"]).await;
    output.expect(1).says(&["skipped in/a.jsonl:2:"]);
    assert_eq!(ids(&server), ["a.jsonl:1", "a.jsonl:3", "b.csv:1", "b.csv:2", "own"]);
    let (_, output) = ingest(&files, &["in"]).await;
    output.expect(1).says(&["a.jsonl:1: the document has no field `id`", "or add --number-records"]);
    let (server, output) =
        parquet(Compression::SNAPPY, 9, 0, &[&COLUMNS[..], &["--id-field", "none", "--number-records"]].concat()).await;
    output.expect(0);
    assert_eq!(json!(ids(&server)[0]), json!("train.parquet:1"));
}
