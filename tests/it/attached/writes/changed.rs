//! DeleteDocuments and UpdateMetadata in an attached collection.

use pgfox::v1::{MetadataUpdate, UpdateMetadataRequest};

use super::*;
use crate::{
    calls::invalid,
    metadata::{equals, everything},
    support::{eventually, waiting_for_locks},
};

const TABLE: &str = r#"
    CREATE TABLE t (id int PRIMARY KEY, body text, year int, at timestamp, tags text[], jb jsonb, must int NOT NULL DEFAULT 1,
                    embedding vector(2));
    INSERT INTO t SELECT n, 'text ' || n, 2000 + n % 3, NULL, NULL, '{"a": {"b": 1, "c": 2}}', 1, '[1,0]'
    FROM generate_series(1, 9) n"#;

fn update(filter: v1::Filter, metadata: &Value) -> UpdateMetadataRequest {
    UpdateMetadataRequest {
        collection: "c".into(),
        filter: Some(filter),
        metadata: Some(object(metadata)),
        ..Default::default()
    }
}

#[tokio::test]
async fn documents_are_deleted() {
    let server = Server::start(18).await;
    let (mut client, sql) = attached(&server, TABLE).await;
    let by_year = |dry_run| v1::DeleteDocumentsRequest {
        collection: "c".into(),
        filter: Some(equals("year", &json!(2001))),
        dry_run,
        ..Default::default()
    };
    for (dry_run, left) in [(true, 9), (false, 6)] {
        assert_eq!(client.delete_documents(by_year(dry_run)).await.unwrap().into_inner().deleted_count, 3);
        assert_eq!(rows(&sql).await.len(), left);
    }
    let by_ids =
        v1::DeleteDocumentsRequest { collection: "c".into(), ids: owned(&["2", "1", "77", "x"]), ..Default::default() };
    assert_eq!(client.delete_documents(by_ids).await.unwrap().into_inner().deleted_count, 1);
    sql.batch_execute("CREATE TABLE children (t int CONSTRAINT parent REFERENCES t); INSERT INTO children VALUES (3)")
        .await
        .unwrap();
    let all = v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(everything()), ..Default::default() };
    let status = client.delete_documents(all.clone()).await.unwrap_err();
    assert!(status.message().contains("foreign key \"parent\""), "{status:?}");
    assert_eq!(rows(&sql).await.len(), 5);
    sql.batch_execute("DROP TABLE children").await.unwrap();
    assert_eq!(client.delete_documents(all).await.unwrap().into_inner().deleted_count, 5);
}

#[tokio::test]
async fn metadata_are_changed() {
    let server = Server::start(16).await;
    let (mut client, sql) = attached(&server, TABLE).await;
    let change =
        json!({"year": 2000, "at": "2024-05-01T12:00:00+02:00", "tags": ["x"], "jb": {"a": {"b": null, "d": 3}}});
    for (dry_run, year) in [(true, 2001), (false, 2000)] {
        let request = UpdateMetadataRequest { dry_run, ..update(equals("year", &json!(2001)), &change) };
        let response = client.update_metadata(request).await.unwrap().into_inner();
        assert_eq!((response.matched_count, response.updated_count), (3, 3));
        assert_eq!(rows(&sql).await[0]["year"], json!(year));
    }
    let first = json!({
        "id": 1, "body": "text 1", "year": 2000, "at": "2024-05-01T10:00:00", "tags": ["x"], "jb": {"a": {"c": 2, "d": 3}}, "must": 1
    });
    assert_eq!(rows(&sql).await[0], first);
    // What is so already is not written.
    let again = client
        .update_metadata(update(equals("year", &json!(2000)), &json!({"year": 2000})))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.matched_count, again.updated_count), (6, 0));
    let null =
        client.update_metadata(update(everything(), &json!({"tags": null, "jb": null}))).await.unwrap().into_inner();
    assert_eq!((null.matched_count, null.updated_count), (9, 9));
    assert_eq!(rows(&sql).await[0]["jb"], json!(null));
    let nothing = client.update_metadata(update(everything(), &json!({}))).await.unwrap().into_inner();
    assert_eq!((nothing.matched_count, nothing.updated_count), (9, 0));

    let bad = update(everything(), &json!({"must": null, "id": 3, "body": "x", "year": "x"}));
    invalid(client.update_metadata(bad).await, &["metadata.body", "metadata.id", "metadata.must", "metadata.year"]);
    let replace =
        UpdateMetadataRequest { update: MetadataUpdate::Replace.into(), ..update(everything(), &json!({"year": 1})) };
    let (code, reason, _) = refusal(client.update_metadata(replace).await);
    assert_eq!((code, reason.as_str()), (tonic::Code::FailedPrecondition, "COLLECTION_ATTACHED"));
}

#[tokio::test]
async fn a_json_column_is_merged_or_replaced() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        r#"CREATE TABLE t (id int PRIMARY KEY, body text, m json, embedding vector(2));
           INSERT INTO t VALUES (1, '', '{"a": 1, "b": 2}', NULL), (2, '', NULL, NULL)"#,
    )
    .await
    .unwrap();
    let mut client = server.client();
    let spread = v1::Source { metadata_columns: owned(&["m"]), ..source("t", &["body"]) };
    client.create_collection(attach(spread)).await.unwrap();
    for (mode, metadata, wanted, updated) in [
        (MetadataUpdate::Merge, json!({"a": null, "c": 3}), [json!({"b": 2, "c": 3}), json!({"c": 3})], 2),
        (MetadataUpdate::Replace, json!({"c": 3}), [json!({"c": 3}), json!({"c": 3})], 1),
    ] {
        let request = UpdateMetadataRequest { update: mode.into(), ..update(everything(), &metadata) };
        let response = client.update_metadata(request).await.unwrap().into_inner();
        assert_eq!((response.matched_count, response.updated_count), (2, updated));
        let found: Vec<Value> = rows(&sql).await.into_iter().map(|row| row["m"].clone()).collect();
        assert_eq!(found, wanted);
    }
}

/// Waits for a call to meet a lock, then commits the transaction that holds it.
async fn commit_under(server: &Server, sql: &Sql) {
    eventually("the call waits", async || waiting_for_locks(&server.database_url).await == 1).await;
    sql.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_row_that_another_writer_changes_must_match_still() {
    let server = Server::start(18).await;
    let (mut client, sql) = attached(&server, TABLE).await;
    let filter = || equals("year", &json!(2001));
    sql.batch_execute("BEGIN; UPDATE t SET year = 1990 WHERE id = 4").await.unwrap();
    let (updated, ()) =
        tokio::join!(client.update_metadata(update(filter(), &json!({"must": 5}))), commit_under(&server, &sql));
    let updated = updated.unwrap().into_inner();
    assert_eq!((updated.matched_count, updated.updated_count), (2, 2));
    assert_eq!(rows(&sql).await[3]["must"], json!(1));
    sql.batch_execute("BEGIN; UPDATE t SET year = 1990 WHERE id = 1").await.unwrap();
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(filter()), ..Default::default() };
    let (deleted, ()) = tokio::join!(client.delete_documents(delete), commit_under(&server, &sql));
    assert_eq!(deleted.unwrap().into_inner().deleted_count, 1);
    assert_eq!(rows(&sql).await.len(), 8);
}

/// All in one order, so that no two writers wait for each other.
#[tokio::test]
async fn rows_are_locked_in_the_order_of_the_key() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id text COLLATE \"C\" PRIMARY KEY, body text, n int, embedding vector(2))";
    let (mut client, sql) = attached(&server, ddl).await;
    let other = server.sql().await;
    let mut writer = server.client();
    let documents = || ["a", "b", "B"].map(|id| document(id, "new", &[1.0, 0.0], &json!({}))).to_vec();
    let change = update(everything(), &json!({"n": 2}));
    let delete =
        v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(everything()), ..Default::default() };
    for step in 0..3 {
        // A scan of the table meets the first one last.
        let rows =
            "TRUNCATE t; INSERT INTO t VALUES ('b', '', 1, NULL), ('a', '', 1, NULL), ('B', '', 1, NULL); ANALYZE t";
        sql.batch_execute(rows).await.unwrap();
        sql.batch_execute("BEGIN; SELECT FROM t WHERE id = 'B' FOR UPDATE").await.unwrap();
        let meanwhile = async {
            eventually("the call waits", async || waiting_for_locks(&server.database_url).await == 1).await;
            // The call has locked nothing yet.
            let free = other.query("SELECT FROM t FOR UPDATE SKIP LOCKED", &[]).await.unwrap().len();
            sql.batch_execute("COMMIT").await.unwrap();
            free
        };
        let call = async {
            match step {
                0 => writer.ingest(request("c", documents())).await.map(|_| ()),
                1 => client.update_metadata(change.clone()).await.map(|_| ()),
                _ => client.delete_documents(delete.clone()).await.map(|_| ()),
            }
        };
        let (done, free) = tokio::join!(call, meanwhile);
        done.unwrap();
        assert_eq!(free, 2, "{step}");
    }
}

/// As much as Ingest accepts.
#[tokio::test]
async fn metadata_do_not_grow_without_end() {
    let server = Server::start(18).await;
    let (mut client, sql) = attached(&server, TABLE).await;
    let long = |key: &str| json!({"jb": {(key): "x".repeat(600_000)}});
    let by_id = |metadata: &Value| UpdateMetadataRequest {
        ids: owned(&["1", "2"]),
        filter: None,
        ..update(everything(), metadata)
    };
    let updated = client.update_metadata(by_id(&long("p"))).await.unwrap().into_inner();
    assert_eq!(updated.updated_count, 2);
    let status = client.update_metadata(by_id(&long("q"))).await.unwrap_err();
    assert!(
        status.message().contains("the metadata of document \"") && status.message().contains("1048576"),
        "{status:?}"
    );
    invalid::<()>(Err(status), &["metadata"]);
    let keys = sql.query_one("SELECT count(*) FROM t WHERE jb ? 'q'", &[]).await.unwrap();
    assert_eq!(keys.get::<_, i64>(0), 0);
}
