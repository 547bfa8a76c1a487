//! Ingest, DeleteDocuments and UpdateMetadata in an attached collection change the rows of its table.

mod changed; // DeleteDocuments and UpdateMetadata
mod refused; // what a table, its columns, its constraints and its owner do not allow

use serde_json::{Value, json};

use super::*;
use crate::{
    calls::{counts, ingest, refusal},
    metadata::object,
    support::text_document,
};

/// A document with a text, a vector and metadata.
fn document(id: &str, text: &str, values: &[f32], metadata: &Value) -> v1::Document {
    let vector = Some(v1::Vector { values: values.to_vec() });
    v1::Document { vector, metadata: Some(object(metadata)), ..text_document(id, text) }
}

/// Creates a table `t` and attaches it by its column `body`.
async fn attached(server: &Server, ddl: &str) -> (Client, Sql) {
    let sql = server.sql().await;
    sql.batch_execute(ddl).await.unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &["body"]))).await.unwrap();
    (client, sql)
}

/// The rows of `t`, without the vectors, as JSON in the order of the key.
async fn rows(sql: &Sql) -> Vec<Value> {
    let query = "SELECT to_jsonb(t) - 'embedding' FROM t ORDER BY to_jsonb(t) -> 'id'";
    sql.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The versions of the rows, which change with every write.
async fn row_versions(sql: &Sql) -> Vec<String> {
    let query = "SELECT ctid::text || xmin::text || coalesce(embedding::text, '') FROM t ORDER BY id";
    sql.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[rstest]
#[tokio::test]
async fn documents_become_rows(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text NOT NULL, year smallint, tags text[], n numeric(6, 2), v varchar(5),
                   at timestamp(0), tz timestamptz, day date, j json, ok bool NOT NULL DEFAULT true, embedding vector(2));
               CREATE INDEX ON t USING hnsw (embedding vector_cosine_ops)";
    let (mut client, sql) = attached(&server, ddl).await;
    let before = shape(&sql, "t").await;
    let metadata = json!({
        "year": 2001, "tags": ["a", null], "n": 9.999, "v": "short", "at": "2024-05-01T12:00:00+02:00",
        "tz": "2024-05-01T12:00:00.5+02:00", "day": "2024-05-01", "j": {"a": [1]}
    });
    let documents =
        || vec![document("1", "one", &[1.0, 0.0], &metadata), document("2", "two", &[0.0, 1.0], &json!({}))];
    assert_eq!(counts(&ingest(&mut client, "c", documents()).await), (2, 0, 0));
    let first = json!({
        "id": 1, "body": "one", "year": 2001, "tags": ["a", null], "n": 10.00, "v": "short", "at": "2024-05-01T10:00:00",
        "tz": "2024-05-01T10:00:00.5+00:00", "day": "2024-05-01", "j": {"a": [1]}, "ok": true
    });
    assert_eq!(rows(&sql).await[0], first);
    assert_eq!(rows(&sql).await[1]["ok"], json!(true));
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.1], 10)).await), ["1", "2"]);

    // The same again writes nothing.
    let versions = row_versions(&sql).await;
    assert_eq!(counts(&ingest(&mut client, "c", documents()).await), (0, 0, 2));
    assert_eq!(row_versions(&sql).await, versions);

    // Metadata alone, a vector alone, a text. What is not named stays, null empties.
    let changed = vec![
        document("1", "one", &[1.0, 0.0], &json!({"year": 2002, "tags": null, "v": "SHORT"})),
        document("2", "two", &[0.5, 1.0], &json!({})),
        document("3", "three", &[1.0, 1.0], &json!({"ok": false})),
    ];
    assert_eq!(counts(&ingest(&mut client, "c", changed).await), (3, 2, 0));
    let found = rows(&sql).await;
    assert_eq!((&found[0]["year"], &found[0]["tags"], &found[0]["v"]), (&json!(2002), &json!(null), &json!("SHORT")));
    assert_eq!((&found[0]["n"], &found[2]["ok"]), (&json!(10.00), &json!(false)));
    let only =
        vec![document("3", "another text", &[1.0, 1.0], &json!({})), document("4", "four", &[1.0, 0.5], &json!({}))];
    let request = v1::IngestRequest { only_if_absent: true, ..request("c", only) };
    let response = client.ingest(request).await.unwrap().into_inner();
    assert_eq!((response.upserted_count, response.skipped_count), (1, 1));
    assert_eq!(rows(&sql).await[2]["body"], json!("three"));
    assert_eq!(shape(&sql, "t").await, before);
}

/// Nobody embeds texts in a collection without a model.
#[tokio::test]
async fn a_document_without_a_vector_is_unchanged_too() {
    let server = Server::start(18).await;
    let (mut client, _sql) =
        attached(&server, "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(2))").await;
    for wanted in [(1, 0, 0), (0, 0, 1)] {
        assert_eq!(counts(&ingest(&mut client, "c", vec![text_document("1", "one")]).await), wanted);
    }
}

/// One after the other.
#[tokio::test]
async fn a_stream_writes_rows() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(2))";
    let (mut client, sql) = attached(&server, ddl).await;
    let requests = (0..20).map(|id: i32| {
        let documents = (0..50).map(|part| document(&(id * 50 + part).to_string(), "one", &[1.0, 0.0], &json!({})));
        crate::calls::request("c", documents.collect())
    });
    let mut stream = client.ingest_stream(tokio_stream::iter(requests.collect::<Vec<_>>())).await.unwrap().into_inner();
    for _ in 0..20 {
        assert_eq!(counts(&stream.message().await.unwrap().unwrap()), (50, 0, 0));
    }
    assert_eq!(rows(&sql).await.len(), 1_000);
}

#[tokio::test]
async fn texts_are_embedded_once() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let sql = server.sql().await;
    sql.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY, body text, year int, embedding vector(32))")
        .await
        .unwrap();
    let mut client = server.client();
    let mut create = attach(source("t", &["body"]));
    let model = "openai/text-embedding-3-small".into();
    create.collection.as_mut().unwrap().embedding = Some(v1::Embedding { model, dimensions: 32, ..Default::default() });
    client.create_collection(create).await.unwrap();
    let texts = |second: &str| vec![text_document("1", TEXTS[0]), text_document("2", second), text_document("3", "")];
    let response = ingest(&mut client, "c", texts(TEXTS[1])).await;
    assert_eq!((counts(&response), response.embedded_count, response.unembedded_count), ((3, 0, 0), 2, 1));
    assert_eq!(ids(&search(&mut client, about("c", TEXTS[1], 1)).await), ["2"]);
    let requests = provider.requests();
    let response = ingest(&mut client, "c", texts(TEXTS[1])).await;
    assert_eq!((counts(&response), response.embedded_count, provider.requests()), ((0, 0, 3), 0, requests));

    // A row that SQL has added without a vector is embedded, and a text that SQL has changed is written again.
    sql.batch_execute("UPDATE t SET embedding = NULL WHERE id = 1; UPDATE t SET body = 'by SQL' WHERE id = 2")
        .await
        .unwrap();
    let response = ingest(&mut client, "c", texts(TEXTS[1])).await;
    assert_eq!((counts(&response), response.embedded_count), ((2, 2, 1), 2));
    let response = ingest(&mut client, "c", texts(TEXTS[2])).await;
    assert_eq!((counts(&response), response.embedded_count), ((1, 1, 2), 1));
    assert_eq!(ids(&search(&mut client, about("c", TEXTS[2], 1)).await), ["2"]);
}

#[rstest]
#[case::bigint("bigint", "9007199254740993", &["", "1.0", "x", "9223372036854775808"])]
#[case::uuid("uuid", "123e4567-e89b-12d3-a456-426614174000", &["1", "123E4567-E89B-12D3-A456-426614174000"])]
#[case::varchar("varchar(20)", "'; DROP TABLE t; --", &[])]
#[case::date("date", "0044-03-15 BC", &["44 BC", "today"])]
#[tokio::test]
async fn ids_are_keys(#[case] kind: &str, #[case] good: &str, #[case] bad: &[&str]) {
    let server = Server::start(18).await;
    let ddl = format!("CREATE TABLE t (id {kind} UNIQUE NOT NULL, body text, embedding halfvec(2))");
    let (mut client, _sql) = attached(&server, &ddl).await;
    for wanted in [(1, 0, 0), (0, 0, 1)] {
        let response = ingest(&mut client, "c", vec![document(good, "text", &[0.1, 0.2], &json!({}))]).await;
        assert_eq!(counts(&response), wanted);
    }
    assert_eq!(documents(&mut client, &[good]).await[0].text, "text");
    for id in bad {
        let bad = request("c", vec![document(id, "text", &[1.0, 0.0], &json!({}))]);
        let (code, _, fields) = refusal(client.ingest(bad).await);
        assert_eq!((code, fields[0].as_str()), (tonic::Code::InvalidArgument, "documents[0].id"), "{id}");
    }
}

#[tokio::test]
async fn an_id_of_several_columns_is_a_key() {
    let server = Server::start(16).await;
    let ddl = "CREATE TABLE t (day date, n int, body text, embedding vector(2), PRIMARY KEY (n, day)) PARTITION BY RANGE (day);
               CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
               CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')";
    let (mut client, sql) = attached(&server, ddl).await;
    let (first, second) = (r#"[7, "2024-05-01"]"#, r#"[7, "2025-05-01"]"#);
    // However it is written, an id is one document.
    let written = vec![
        document(r#"[7,"2024-05-01"]"#, "old", &[1.0, 0.0], &json!({})),
        document(first, "one", &[1.0, 0.0], &json!({})),
        document(second, "two", &[0.0, 1.0], &json!({})),
    ];
    assert_eq!(counts(&ingest(&mut client, "c", written).await), (2, 0, 0));
    let update = vec![document(first, "one", &[1.0, 0.0], &json!({})), document(second, "2", &[0.0, 1.0], &json!({}))];
    assert_eq!(counts(&ingest(&mut client, "c", update).await), (1, 1, 1));
    let texts: Vec<String> =
        documents(&mut client, &[first, second]).await.into_iter().map(|found| found.text).collect();
    assert_eq!(texts, ["one", "2"]);
    let bad = request("c", vec![document(r#"["7", "2024-05-01"]"#, "", &[1.0, 0.0], &json!({}))]);
    let status = client.ingest(bad).await.unwrap_err();
    assert!(status.message().contains("an integer, a date"), "{status:?}");
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids: owned(&[second]), ..Default::default() };
    assert_eq!(client.delete_documents(delete).await.unwrap().into_inner().deleted_count, 1);
    assert_eq!(rows(&sql).await.len(), 1);
}

#[tokio::test]
async fn a_json_column_takes_the_metadata() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    let mut client = server.client();
    for kind in ["json", "jsonb"] {
        let ddl = format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id uuid PRIMARY KEY, body text, m {kind}, embedding vector)"
        );
        sql.batch_execute(&ddl).await.unwrap();
        let mut create = attach(v1::Source { metadata_columns: owned(&["m"]), ..source("t", &["body"]) });
        create.collection.as_mut().unwrap().embedding = Some(v1::Embedding { dimensions: 2, ..Default::default() });
        client.create_collection(create).await.unwrap();
        let id = "123e4567-e89b-12d3-a456-426614174000";
        for (metadata, wanted) in [
            (json!({"a": 1, "b": {"c": null}}), (1, 0, 0)),
            (json!({"b": {"c": null}, "a": 1}), (0, 0, 1)),
            (json!({"a": 2}), (1, 1, 0)),
            (json!({}), (1, 1, 0)),
        ] {
            let response = ingest(&mut client, "c", vec![document(id, "text", &[1.0, 0.0], &metadata)]).await;
            assert_eq!(counts(&response), wanted, "{kind} {metadata}");
            assert_eq!(rows(&sql).await[0]["m"], metadata);
        }
        client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn triggers_and_generated_columns_work() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text, seen int DEFAULT 0, length int GENERATED ALWAYS AS (length(body)) STORED,
                   embedding vector(2));
               CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.seen := coalesce(OLD.seen, 0) + 1; RETURN NEW; END';
               CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()";
    let (mut client, sql) = attached(&server, ddl).await;
    for text in ["one", "three", "three"] {
        ingest(&mut client, "c", vec![document("1", text, &[1.0, 0.0], &json!({}))]).await;
    }
    assert_eq!(rows(&sql).await[0], json!({"id": 1, "body": "three", "seen": 1, "length": 5}));
}

#[tokio::test]
async fn many_writers_of_the_same_rows_all_succeed() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text, a int, b int, embedding vector(2))";
    let (_client, sql) = attached(&server, ddl).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let mut client = server.client();
        writers.spawn(async move {
            let mut inserted = 0;
            for round in 0..5 {
                // Other sets of columns and another order in each request.
                let of_document = |n: i32| {
                    let metadata = if (n + writer) % 2 == 0 { json!({"a": round}) } else { json!({"b": round}) };
                    document(&n.to_string(), &format!("{writer} {round}"), &[1.0, 0.0], &metadata)
                };
                let response = ingest(&mut client, "c", (0..20).map(of_document).collect()).await;
                inserted += response.upserted_count - response.updated_count;
                assert_eq!(response.upserted_count + response.unchanged_count, 20);
            }
            inserted
        });
    }
    let mut inserted = 0;
    while let Some(writer) = writers.join_next().await {
        inserted += writer.expect("a writer");
    }
    let found = rows(&sql).await;
    assert_eq!((inserted, found.len()), (20, 20));
    // Every row is as the last request of some writer has it.
    for row in found {
        let (writer, round) = row["body"].as_str().unwrap().split_once(' ').unwrap();
        let is_even = (row["id"].as_i64().unwrap() + writer.parse::<i64>().unwrap()) % 2 == 0;
        assert_eq!((round, &row[if is_even { "a" } else { "b" }]), ("4", &json!(4)), "{row}");
    }
}
