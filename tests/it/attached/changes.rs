//! What becomes of an attached collection when its rows, its table and the privileges of the role change.

use super::*;
use crate::{
    calls::refusal,
    follow::look_often,
    metadata::{equals, selected},
    support::{Setup, cluster, create_database, eventually, reason, sql as connect},
};

#[tokio::test]
async fn a_key_that_changes_is_another_document() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 3).await;
    sql.batch_execute("UPDATE points SET id = 77, name = 'changed' WHERE id = 0").await.unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 1)).await), ["77"]);
    assert_eq!(documents(&mut client, &["77"]).await[0].text, "changed");
    assert_eq!(selected(&mut client, &equals("half", &serde_json::json!(0))).await, ["1", "77"]);
}

#[tokio::test]
async fn a_table_that_changes_gets_a_clear_answer() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 3).await;
    let changed = |status: tonic::Status, words: &str| {
        assert_eq!((status.code(), reason(&status).0.as_str()), (tonic::Code::FailedPrecondition, "SOURCE_CHANGED"));
        assert!(status.message().contains(words), "{status:?}");
    };
    // Nothing of pgfox is in the way of the owner.
    sql.batch_execute("ALTER TABLE points RENAME COLUMN name TO title").await.unwrap();
    changed(client.search(near("c", &[1.0, 0.0], 1)).await.unwrap_err(), "no column \"name\"");
    let get = v1::GetDocumentsRequest { collection: "c".into(), ids: owned(&["1"]), ..Default::default() };
    changed(client.get_documents(get).await.unwrap_err(), "no column \"name\"");
    sql.batch_execute("ALTER TABLE points RENAME COLUMN title TO name").await.unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 1)).await), ["0"]);

    sql.batch_execute("ALTER TABLE points ALTER COLUMN id TYPE bigint; ALTER TABLE points ADD COLUMN more int")
        .await
        .unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 1)).await), ["0"]);
    assert_eq!(documents(&mut client, &["1"]).await.len(), 1);
    sql.batch_execute("ALTER TABLE points ALTER COLUMN half TYPE text").await.unwrap();
    let filter = Some(equals("half", &serde_json::json!(1)));
    let filtered = v1::SearchRequest { filter, ..near("c", &[1.0, 0.0], 1) };
    changed(client.search(filtered).await.unwrap_err(), "\"half\" has the type text now");

    sql.batch_execute("ALTER TABLE points ALTER COLUMN half TYPE int USING half::int").await.unwrap();

    // Vectors of other dimensions and of another type.
    for kind in ["vector(3)", "vector", "halfvec(2)"] {
        let value = if kind == "halfvec(2)" { "[1,0]" } else { "[1,0,0]" };
        sql.batch_execute(&format!(
            "ALTER TABLE points DROP COLUMN embedding, ADD COLUMN embedding {kind}; UPDATE points SET embedding = '{value}'"
        ))
        .await
        .unwrap();
        let words = format!("\"embedding\" has the type {kind} now");
        let plain = v1::SearchRequest { include_vector: true, ..near("c", &[1.0, 0.0], 1) };
        changed(client.search(plain.clone()).await.unwrap_err(), &words);
        let filter = Some(equals("half", &serde_json::json!(1)));
        changed(client.search(v1::SearchRequest { filter, ..plain }).await.unwrap_err(), &words);
    }

    sql.batch_execute("DROP TABLE points").await.unwrap();
    changed(client.search(near("c", &[1.0, 0.0], 1)).await.unwrap_err(), "the table \"public\".\"points\" is gone");
    let count = v1::CountDocumentsRequest { collection: "c".into(), ..Default::default() };
    changed(client.count_documents(count).await.unwrap_err(), "is gone");
    // The collection can be looked at and deleted.
    assert_eq!(crate::calls::count(&mut client, "c").await, 0);
    let all = client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap().into_inner().collections;
    assert_eq!(all.len(), 1);
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), drop_indexes: true }).await.unwrap();
}

/// A server whose role is not a superuser, and a session of a superuser.
pub(crate) async fn restricted(role: &str) -> (Server, Sql) {
    let url = create_database(&cluster(18).postgres).await;
    let sql = connect(&url).await;
    let database = url.rsplit_once('/').unwrap().1.to_owned();
    sql.batch_execute(&format!(
        "CREATE EXTENSION vector; CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE {database} TO {role};
         CREATE SCHEMA private;
         CREATE TABLE private.t (id int PRIMARY KEY, body text, owner text, hidden text, embedding vector(2));
         INSERT INTO private.t VALUES (1, 'one', '{role}', 'x', '[1,0]'), (2, 'two', 'other', 'y', '[1,1]')"
    ))
    .await
    .unwrap();
    let dsn = url.split_once("://").unwrap().1;
    let dsn = dsn.split_once('@').map_or(dsn, |(_, rest)| rest);
    let mut setup = Setup::new(format!("postgres://{role}:secret@{dsn}"));
    look_often(&mut setup);
    let server = setup.start().await;
    server.ready().await;
    (server, sql)
}

/// Roles belong to the cluster, which other tests use.
pub(crate) async fn drop_role(sql: &Sql, role: &str) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    sql.query(end, &[&role]).await.unwrap();
    sql.batch_execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn select_is_enough_and_what_is_missing_is_named() {
    let role = "attached_reader";
    let (server, sql) = restricted(role).await;
    let mut client = server.client();
    let source = source("private.t", &["body"]);
    let refused = |status: tonic::Status, words: &[&str]| {
        assert_eq!((status.code(), reason(&status).0.as_str()), (tonic::Code::FailedPrecondition, "DATABASE_REFUSED"));
        words.iter().for_each(|words| assert!(status.message().contains(words), "{status:?}"));
    };
    let usage = format!("GRANT USAGE ON SCHEMA \"private\" TO \"{role}\"");
    let select = format!("GRANT SELECT ON TABLE \"private\".\"t\" TO \"{role}\"");
    refused(client.create_collection(attach(source.clone())).await.unwrap_err(), &[&usage, &select]);
    let dry_run = v1::CreateCollectionRequest { dry_run: true, ..attach(source.clone()) };
    let statements = client.create_collection(dry_run).await.unwrap().into_inner().statements;
    assert_eq!([&statements[0].sql, &statements[1].sql], [&usage, &select]);
    sql.batch_execute(&usage).await.unwrap();
    refused(client.create_collection(attach(source.clone())).await.unwrap_err(), &[&select]);

    // A grant of the columns that it needs is enough too.
    sql.batch_execute(&format!("GRANT SELECT (id, body, owner, embedding) ON private.t TO {role}")).await.unwrap();
    let created = client.create_collection(attach(source.clone())).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(created.source.unwrap().metadata_columns, owned(&["owner"]));
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), ["1", "2"]);

    let build = v1::BuildIndexRequest { collection: "c".into(), ..Default::default() };
    let status = client.build_index(build).await.unwrap_err();
    refused(status.clone(), &["owner", "CREATE INDEX CONCURRENTLY"]);
    // The suggested statement is enough, under the name that it has.
    sql.batch_execute(status.message().split_once("run: ").unwrap().1).await.unwrap();
    eventually("the owner's index is found", async || {
        search(&mut client, near("c", &[1.0, 0.0], 1)).await.completeness() == Completeness::Approximate
    })
    .await;
    let list = v1::ListIndexesRequest { collection: "c".into() };
    assert!(client.list_indexes(list).await.unwrap().into_inner().indexes[0].made_by_sql);

    sql.batch_execute(&format!("REVOKE SELECT (body) ON private.t FROM {role}")).await.unwrap();
    refused(client.search(near("c", &[1.0, 0.0], 1)).await.unwrap_err(), &[&select]);
    sql.batch_execute(&format!("REVOKE USAGE ON SCHEMA private FROM {role}")).await.unwrap();
    refused(client.search(near("c", &[1.0, 0.0], 1)).await.unwrap_err(), &[&usage, &select]);
    // Others than its table work on.
    assert_eq!(crate::calls::count(&mut client, "c").await, 0);
    client.create_collection(crate::support::texts("own")).await.unwrap();
    let delete = v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() };
    assert!(client.delete_collection(delete).await.unwrap().into_inner().kept_indexes.is_empty());
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}

#[tokio::test]
async fn row_level_security_is_that_of_the_role() {
    let role = "attached_tenant";
    let (server, sql) = restricted(role).await;
    sql.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA private TO {role}; GRANT SELECT ON private.t TO {role};
         ALTER TABLE private.t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON private.t USING (owner = current_user)"
    ))
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("private.t", &["body"]))).await.unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 1.0], 10)).await), ["1"]);
    assert_eq!(crate::calls::count(&mut client, "c").await, 1);
    let get = v1::GetDocumentsRequest { collection: "c".into(), ids: owned(&["2"]), ..Default::default() };
    assert_eq!(refusal(client.get_documents(get).await).0, tonic::Code::NotFound);
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}

#[tokio::test]
async fn a_big_row_is_found_and_too_big_an_answer_is_refused() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 3).await;
    sql.batch_execute("UPDATE points SET name = repeat('ä', 50000000) WHERE id = 0").await.unwrap();
    let (code, reason, _) = refusal(client.search(near("c", &[1.0, 0.0], 1)).await);
    assert_eq!((code, reason.as_str()), (tonic::Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    let without = v1::SearchRequest {
        read_mask: Some(FieldMask { paths: vec!["metadata".into()] }),
        ..near("c", &[1.0, 0.0], 1)
    };
    assert_eq!(ids(&search(&mut client, without).await), ["0"]);
    assert_eq!(ids(&search(&mut client, near("c", &[0.0, 1.0], 1)).await), ["2"]);
}
