//! What is refused, what the role needs, and what detaching leaves.

use pgfox::v1;
use rstest::rstest;
use tonic::Code;

use super::{NOTEBOOK, caught_up, follow, followed, start, status, stored};
use crate::{
    attached::{
        changes::{drop_role, restricted},
        owned, shape, source,
    },
    calls::{invalid, refusal, request},
    support::{eventually, vector_document},
};

#[rstest]
#[tokio::test]
async fn detaching_leaves_no_trace(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    let before = shape(&sql, "documents").await;
    let mut client = server.client();
    let planned = v1::CreateCollectionRequest { dry_run: true, ..follow(followed("documents", &["content"])) };
    let statements = client.create_collection(planned).await.unwrap().into_inner().statements;
    let triggers = statements.iter().filter(|statement| statement.sql.contains("CREATE OR REPLACE TRIGGER")).count();
    assert_eq!(triggers, 1, "{statements:?}");
    assert_eq!(shape(&sql, "documents").await, before);

    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(shape(&sql, "documents").await.len(), before.len() + 4);
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(shape(&sql, "documents").await, before);
    let left = "SELECT (SELECT count(*) FROM pgfox_internal.changes) + (SELECT count(*) FROM pgfox_internal.pending)
                       + (SELECT count(*) FROM pg_proc WHERE proname ~ '^follow_')";
    assert_eq!(sql.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    sql.batch_execute("INSERT INTO documents (content) VALUES ('still works'); DROP TABLE documents").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn only_sql_writes_followed_tables(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    let attached = |(code, reason, _): (Code, String, Vec<String>)| {
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "COLLECTION_ATTACHED"));
    };
    attached(refusal(client.ingest(request("c", vec![vector_document("1", &[1.0])])).await));
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids: owned(&["1"]), ..Default::default() };
    attached(refusal(client.delete_documents(delete).await));
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: owned(&["1"]),
        metadata: Some(Default::default()),
        ..Default::default()
    };
    attached(refusal(client.update_metadata(update).await));

    // Calls for sources, of a collection without one.
    let plain = v1::Collection { name: "plain".into(), ..Default::default() };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(plain), ..Default::default() })
        .await
        .unwrap();
    let not_followed = |(code, reason, _): (Code, String, Vec<String>)| {
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "SOURCE_NOT_FOLLOWED"));
    };
    let name = || "plain".to_owned();
    not_followed(refusal(client.pause_source(v1::PauseSourceRequest { name: name() }).await));
    not_followed(refusal(client.resume_source(v1::ResumeSourceRequest { name: name() }).await));
    not_followed(refusal(client.retry_failed(v1::RetryFailedRequest { name: name() }).await));
    let unknown = client.pause_source(v1::PauseSourceRequest { name: "unknown".into() }).await;
    assert_eq!(refusal(unknown).0, Code::NotFound);
    invalid(client.pause_source(v1::PauseSourceRequest { name: String::new() }).await, &["name"]);
}

#[rstest]
#[tokio::test]
async fn sources_that_cannot_be_followed_are_refused(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, content text, changed timestamp, embedding vector(2));
         CREATE VIEW v AS SELECT * FROM t; CREATE TABLE no_key (content text)",
    )
    .await
    .unwrap();
    let mut client = server.client();
    invalid(client.create_collection(follow(followed("t", &[]))).await, &["collection.source.text_columns"]);
    invalid(client.create_collection(follow(followed("v", &["content"]))).await, &["collection.source.table"]);
    invalid(client.create_collection(follow(followed("no_key", &["content"]))).await, &["collection.source.table"]);
    let by = |column: &str, triggers| v1::Source {
        follow: Some(v1::Follow { triggers, updated_at_column: column.into() }),
        ..source("t", &["content"])
    };
    let column = &["collection.source.follow.updated_at_column"];
    for (name, triggers) in [("changed", false), ("missing", false), ("changed", true)] {
        invalid(client.create_collection(follow(by(name, triggers))).await, column);
    }
    let mut no_model = follow(followed("t", &["content"]));
    no_model.collection.as_mut().unwrap().embedding = Some(v1::Embedding { dimensions: 2, ..Default::default() });
    invalid(client.create_collection(no_model).await, &["collection.embedding.model"]);
}

#[tokio::test]
async fn the_role_needs_the_privilege_to_make_triggers() {
    let role = "following_reader";
    let (server, sql) = restricted(role).await;
    sql.batch_execute(&format!("GRANT USAGE ON SCHEMA private TO {role}; GRANT SELECT ON private.t TO {role}"))
        .await
        .unwrap();
    let mut client = server.client();
    let attach = || follow(followed("private.t", &["body"]));
    let grant = format!("GRANT TRIGGER ON TABLE private.t TO {role}");
    let status = client.create_collection(attach()).await.expect_err("no privilege");
    assert!(status.message().contains(&grant), "{status:?}");
    let planned = v1::CreateCollectionRequest { dry_run: true, ..attach() };
    let statements = client.create_collection(planned).await.unwrap().into_inner().statements;
    assert!(statements.iter().any(|statement| statement.sql == grant), "{statements:?}");

    sql.batch_execute(&grant).await.unwrap();
    client.create_collection(attach()).await.unwrap();
    caught_up(&mut client).await;
    // Those who write need no right to anything of pgfox, and pgfox need not own the table.
    sql.batch_execute(&format!(
        "CREATE ROLE {role}_writer; GRANT USAGE ON SCHEMA private TO {role}_writer;
         GRANT INSERT ON private.t TO {role}_writer;
         SET ROLE {role}_writer; INSERT INTO private.t (id, body) VALUES (3, 'three'); RESET ROLE;
         DROP OWNED BY {role}_writer; DROP ROLE {role}_writer"
    ))
    .await
    .unwrap();
    eventually("the row is there", async || stored(&mut client).await.len() == 3).await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(shape(&sql, "private.t").await.iter().filter(|line| line.starts_with("pgfox")).count(), 0);
    drop(client);
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}

#[tokio::test]
async fn a_partition_without_the_privilege_is_named() {
    let role = "following_partitions";
    let (server, sql) = restricted(role).await;
    sql.batch_execute(&format!(
        "CREATE TABLE private.parts (id int PRIMARY KEY, content text) PARTITION BY RANGE (id);
         CREATE TABLE private.parts_1 PARTITION OF private.parts FOR VALUES FROM (0) TO (100);
         INSERT INTO private.parts VALUES (1, 'one');
         GRANT USAGE ON SCHEMA private TO {role};
         GRANT SELECT, TRIGGER ON private.parts, private.parts_1 TO {role}"
    ))
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("private.parts", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    sql.batch_execute(
        "CREATE TABLE private.parts_2 PARTITION OF private.parts FOR VALUES FROM (100) TO (200);
         INSERT INTO private.parts_2 VALUES (101, 'hundred and one')",
    )
    .await
    .unwrap();
    let grant = format!("GRANT TRIGGER ON TABLE private.parts_2 TO {role}");
    eventually("the GRANT is named", async || status(&mut client).await.last_error.contains(&grant)).await;
    sql.batch_execute(&grant).await.unwrap();
    eventually("the row is there", async || stored(&mut client).await.len() == 2).await;
    assert_eq!(caught_up(&mut client).await.last_error, "");
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    drop(client);
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}
