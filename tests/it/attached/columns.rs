//! Columns as metadata: their types, filters over them that mean what they mean elsewhere, and the indexes that serve them.

use pgfox::v1::condition::Test;
use prost_types::{Timestamp, value::Kind as ValueKind};
use serde_json::json;

use super::*;
use crate::{
    calls::ingest,
    metadata::{all_of, any_of, equals, field, list, none_of, object, selected, value},
    support::{vector_document, vectors},
};

const TABLE: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN price AS numeric(10, 2);
    CREATE TABLE t (
        id int PRIMARY KEY, embedding vector(2),
        i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision, n numeric, p price, b boolean,
        s text, v varchar(50), c char(3), u uuid, m mood, net inet, d date, ts timestamp, tz timestamptz,
        j json, jb jsonb, ints int[], texts text[], "we""ird, näme'" text, secret bytea, span interval,
        vs varchar(9)[], inf numeric, us uuid[]);
    INSERT INTO t VALUES
        (1, '[1,0]', 1, 1, 1, 0.5, 0.1, 0.1, 9.99, true, 'red', 'RED', 'ab', '123e4567-e89b-12d3-a456-426614174000', 'sad',
         '10.0.0.1', '2024-05-01', '2024-05-01 12:00:00', '2024-05-01 12:00:00+02', '{"a": {"b": 1}}',
         '{"a": {"b": 1}, "tags": ["x", "y"], "n": null}', '{1,2}', '{red,"a b"}', 'quoted', '\x01', '1 day',
         '{red,"ab "}', 'Infinity', '{123e4567-e89b-12d3-a456-426614174000}'),
        (2, '[1,1]', -2, 2147483647, 9007199254740991, -0.5, 1e100, 12345678901234567890, 0, false, 'Straße', 'x', 'abc', NULL,
         'glad', '::1', '1999-12-31', '2024-05-01 12:00:00.123456', 'infinity', '[1]', '["x"]', '{}', '{}', '', NULL, NULL, '{}', '-Infinity', NULL),
        (3, '[0,1]', NULL, NULL, NULL, NULL, 'NaN', 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'NaN', NULL)"#;

fn time(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn json_of(metadata: &prost_types::Struct) -> serde_json::Value {
    fn json(value: &prost_types::Value) -> serde_json::Value {
        match value.kind.as_ref().unwrap() {
            ValueKind::NullValue(_) => json!(null),
            ValueKind::NumberValue(number) => json!(number),
            ValueKind::StringValue(text) => json!(text),
            ValueKind::BoolValue(value) => json!(value),
            ValueKind::StructValue(fields) => json_of(fields),
            ValueKind::ListValue(list) => list.values.iter().map(json).collect(),
        }
    }
    metadata.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn columns_have_their_types() {
    let server = Server::start(18).await;
    server.sql().await.batch_execute(TABLE).await.unwrap();
    let mut client = server.client();
    let created = client.create_collection(attach(source("t", &[]))).await.unwrap().into_inner().collection.unwrap();
    let columns = created.source.unwrap().metadata_columns;
    assert!(
        !columns.iter().any(|column| ["id", "embedding", "secret", "span"].contains(&column.as_str())),
        "{columns:?}"
    );
    let found = documents(&mut client, &["1", "2", "3"]).await;
    let metadata = |position: usize| json_of(found[position].metadata.as_ref().unwrap());
    assert_eq!(
        metadata(0),
        json!({
            "i2": 1.0, "i4": 1.0, "i8": 1.0, "f4": 0.5, "f8": 0.1, "n": 0.1, "p": 9.99, "b": true, "s": "red", "v": "RED",
            "c": "ab ", "u": "123e4567-e89b-12d3-a456-426614174000", "m": "sad", "net": "10.0.0.1", "d": "2024-05-01",
            "ts": "2024-05-01T12:00:00Z", "tz": "2024-05-01T10:00:00Z", "j": {"a": {"b": 1.0}},
            "jb": {"a": {"b": 1.0}, "tags": ["x", "y"], "n": null}, "ints": [1.0, 2.0], "texts": ["red", "a b"],
            "we\"ird, näme'": "quoted", "vs": ["red", "ab "], "inf": "Infinity",
            "us": ["123e4567-e89b-12d3-a456-426614174000"]
        })
    );
    let second = metadata(1);
    assert_eq!(
        (&second["ts"], &second["tz"], &second["net"]),
        (&json!("2024-05-01T12:00:00.123456Z"), &json!(null), &json!("::1"))
    );
    assert_eq!((&metadata(2)["f8"], &metadata(2)["s"]), (&json!("NaN"), &json!(null)));
}

/// Tests of every kind over every column, with values around those that are there.
fn conditions() -> Vec<v1::Filter> {
    let fields = [
        "i2",
        "i4",
        "i8",
        "f4",
        "f8",
        "n",
        "p",
        "b",
        "s",
        "v",
        "c",
        "u",
        "m",
        "net",
        "d",
        "ts",
        "tz",
        "j",
        "j.a.b",
        "jb",
        "jb.a.b",
        "jb.tags",
        "jb.tags[]",
        "jb.n",
        "ints",
        "ints[]",
        "texts",
        "texts[]",
        "\"we\\\"ird, näme'\"",
        "vs",
        "vs[]",
        "inf",
        "us",
        "none",
        "none.a",
    ];
    let scalars = [
        json!(1),
        json!(0.1),
        json!(1.5),
        json!(-2),
        json!(1e100),
        json!(true),
        json!("red"),
        json!("RED"),
        json!("ab "),
        json!("x"),
        json!("123e4567-e89b-12d3-a456-426614174000"),
        json!("2024-05-01T12:00:00Z"),
    ];
    let others = [json!({"b": 1}), json!(["x", "y"]), json!([1, 2]), json!([]), json!({"a": {"b": 1}})];
    let mut filters = Vec::new();
    for name in fields {
        for scalar in &scalars {
            filters.push(equals(name, scalar));
            for test in [Test::LessThan, Test::AtMost, Test::GreaterThan, Test::AtLeast] {
                if scalar.is_number() || scalar.is_string() {
                    filters.push(field(name, test(value(scalar))));
                }
            }
            filters.push(field(name, Test::ContainsAny(list(&json!([scalar, "y"])))));
            filters.push(field(name, Test::ContainsAll(list(&json!([scalar])))));
            filters.push(field(name, Test::OneOf(list(&json!([scalar, "zzz", 77])))));
            if let Some(text) = scalar.as_str().filter(|text| !text.is_empty()) {
                filters.push(field(name, Test::StartsWith(text.into())));
                filters.push(field(name, Test::ContainsText(text.into())));
                filters.push(crate::metadata::ignoring_case(equals(name, scalar)));
            }
        }
        filters.extend(others.iter().map(|other| equals(name, other)));
        for seconds in [0, 1_714_521_600, 1_714_557_600, 1_714_564_800, 1_900_000_000] {
            filters.push(field(name, Test::Before(time(seconds))));
            filters.push(field(name, Test::Since(time(seconds))));
        }
        filters.push(field(name, Test::Exists(true)));
        filters.push(field(name, Test::Exists(false)));
        filters.push(field(name, Test::NotEquals(value(&json!("red")))));
    }
    filters
}

#[tokio::test]
async fn filters_mean_what_they_mean_over_metadata() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(TABLE).await.unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &[]))).await.unwrap();
    // The same documents in tables of pgfox.
    client.create_collection(vectors("own", 2, Distance::Cosine)).await.unwrap();
    let mut copied = documents(&mut client, &["1", "2", "3"]).await;
    for document in &mut copied {
        *document = v1::Document { metadata: document.metadata.clone(), ..vector_document(&document.id, &[1.0, 0.5]) };
    }
    ingest(&mut client, "own", copied).await;
    let filters = conditions();
    let mut parts = tokio::task::JoinSet::new();
    for part in filters.chunks(filters.len().div_ceil(8)) {
        parts.spawn(compare(server.client(), part.to_vec()));
    }
    let mut matched = 0;
    while let Some(part) = parts.join_next().await {
        matched += part.expect("they mean the same");
    }
    assert!(matched > 300, "{matched} of {}", filters.len());

    let red = equals("s", &json!("red"));
    assert_eq!(selected(&mut client, &none_of(vec![red.clone()])).await, ["2", "3"]);
    assert_eq!(selected(&mut client, &any_of(vec![red.clone(), equals("i2", &json!(-2))])).await, ["1", "2"]);
    assert_eq!(selected(&mut client, &all_of(vec![red, equals("jb.a.b", &json!(1))])).await, ["1"]);
}

/// Checks that filters match as many documents of `c` as of `own`; returns how many in all.
async fn compare(mut client: Client, filters: Vec<v1::Filter>) -> i64 {
    let mut matched = 0;
    for filter in &filters {
        let mut counts = Vec::new();
        for name in ["c", "own"] {
            let request = v1::CountDocumentsRequest {
                collection: name.into(),
                filter: Some(filter.clone()),
                ..Default::default()
            };
            counts.push(client.count_documents(request).await.map(|response| response.into_inner().count));
        }
        match (&counts[0], &counts[1]) {
            (Ok(attached), Ok(own)) => {
                assert_eq!(attached, own, "{filter:?}");
                matched += own;
            }
            (Err(attached), Err(own)) => assert_eq!(attached.code(), own.code(), "{filter:?}"),
            differ => panic!("{differ:?} {filter:?}"),
        }
    }
    matched
}

#[tokio::test]
async fn a_json_column_alone_is_the_metadata() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        r#"CREATE TABLE t (id int PRIMARY KEY, tenant text, cmetadata jsonb, embedding vector(2));
           INSERT INTO t VALUES (1, 'a', '{"lang": "en", "year": 2001}', '[1,0]'), (2, 'a', '{"lang": "de"}', '[1,1]'),
                                (3, 'b', NULL, '[0,1]'), (4, 'b', '[1]', '[0,1]')"#,
    )
    .await
    .unwrap();
    let mut client = server.client();
    let spread = v1::Source { metadata_columns: owned(&["cmetadata"]), ..source("t", &[]) };
    client.create_collection(attach(spread)).await.unwrap();
    let found = documents(&mut client, &["1", "3", "4"]).await;
    assert_eq!(found[0].metadata, Some(object(&json!({"lang": "en", "year": 2001}))));
    assert_eq!((&found[1].metadata, &found[2].metadata), (&None, &None));
    assert_eq!(selected(&mut client, &equals("lang", &json!("en"))).await, ["1"]);
    assert_eq!(selected(&mut client, &none_of(vec![equals("lang", &json!("en"))])).await, ["2", "3", "4"]);
    let number = value(&json!(2000));
    assert!(matches!(number.kind, Some(ValueKind::NumberValue(_))));
    assert_eq!(selected(&mut client, &field("year", Test::AtLeast(number))).await, ["1"]);
    let facets = v1::FacetDocumentsRequest { collection: "c".into(), field: "lang".into(), ..Default::default() };
    assert_eq!(client.facet_documents(facets).await.unwrap().into_inner().values.len(), 2);
}

#[tokio::test]
async fn texts_are_made_of_columns() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        r#"CREATE TABLE t (id int PRIMARY KEY, title text, body text, year int, embedding vector(2));
           INSERT INTO t VALUES (1, 'A "title"', E'b\\o''dy', 2001, '[1,0]'), (2, NULL, 'body', NULL, '[1,1]')"#,
    )
    .await
    .unwrap();
    let mut client = server.client();
    for (source, wanted) in [
        (source("t", &["title", "body"]), ["A \"title\"\nb\\o'dy", "body"]),
        (
            v1::Source { text_template: "{title} ({year}): {body}{{'\\".into(), ..source("t", &[]) },
            ["A \"title\" (2001): b\\o'dy{'\\", " (): body{'\\"],
        ),
    ] {
        let created = client.create_collection(attach(source.clone())).await.unwrap().into_inner().collection.unwrap();
        assert_eq!(created.source.unwrap().text_template, source.text_template);
        let texts: Vec<String> =
            documents(&mut client, &["1", "2"]).await.into_iter().map(|document| document.text).collect();
        assert_eq!(texts, wanted);
        client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn a_number_beyond_a_double_is_shown_as_text_and_compared_as_a_number() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        r#"CREATE TABLE t (id int PRIMARY KEY, n numeric, j jsonb, embedding vector(2));
           INSERT INTO t VALUES (1, 1e310, '{"\\\" 1": [-1e310, 2]}', '[1,0]'), (2, 1e300, NULL, '[1,1]')"#,
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &[]))).await.unwrap();
    let large = format!("1{}", "0".repeat(310));
    let found = documents(&mut client, &["1", "2"]).await;
    let metadata = json_of(found[0].metadata.as_ref().unwrap());
    assert_eq!(metadata, json!({"n": large, "j": {"\\\" 1": [format!("-{large}"), 2.0]}}));
    assert_eq!(json_of(found[1].metadata.as_ref().unwrap())["n"], json!(1e300));
    let at_least = field("n", Test::AtLeast(value(&json!(1e308))));
    assert_eq!(selected(&mut client, &at_least).await, ["1"]);
    let facets = v1::FacetDocumentsRequest { collection: "c".into(), field: "n".into(), ..Default::default() };
    assert_eq!(client.facet_documents(facets).await.unwrap().into_inner().values.len(), 2);
}

#[tokio::test]
async fn a_template_has_more_parts_than_a_function_takes_arguments() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, a text, b int, embedding vector(2));
               INSERT INTO t VALUES (1, 'x', 7, '[1,0]'), (2, NULL, NULL, '[1,1]')";
    sql.batch_execute(ddl).await.unwrap();
    let mut client = server.client();
    let templated = v1::Source { text_template: "{a}{b}-".repeat(500), ..source("t", &[]) };
    client.create_collection(attach(templated)).await.unwrap();
    let found = documents(&mut client, &["1", "2"]).await;
    assert_eq!([&found[0].text, &found[1].text], [&"x7-".repeat(500), &"-".repeat(500)]);
}

#[tokio::test]
async fn more_columns_than_a_function_takes_arguments() {
    let server = Server::start(16).await;
    let sql = server.sql().await;
    let columns: Vec<String> = (0..150).map(|n| format!("c{n} int DEFAULT {n}")).collect();
    sql.batch_execute(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, embedding vector(2), {}); INSERT INTO t VALUES (1, '[1,0]')",
        columns.join(", ")
    ))
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &[]))).await.unwrap();
    assert_eq!(documents(&mut client, &["1"]).await[0].metadata.as_ref().unwrap().fields.len(), 150);
    assert_eq!(selected(&mut client, &equals("c149", &json!(149))).await, ["1"]);
}
