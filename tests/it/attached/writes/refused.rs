//! What Ingest refuses: tables without a place for documents, values that do not fit, and what the table itself refuses.

use super::*;
use crate::{
    attached::changes::{drop_role, restricted},
    calls::invalid,
};

fn is_refused(status: &tonic::Status, words: &str) {
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status:?}");
    assert_eq!(crate::support::reason(status).0, "COLLECTION_ATTACHED", "{status:?}");
    assert!(status.message().contains(words), "{words}: {status:?}");
}

#[tokio::test]
async fn tables_that_ingest_cannot_write() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    let mut client = server.client();
    let columns = "id int PRIMARY KEY, title text, body text, year int";
    for (ddl, source, words) in [
        (
            format!("CREATE TABLE t ({columns}, embedding vector(2))"),
            source("t", &["title", "body"]),
            "texts are not one column",
        ),
        (
            format!("CREATE TABLE t ({columns}, embedding vector(2))"),
            v1::Source { text_template: "{title}".into(), ..source("t", &[]) },
            "texts are not one column",
        ),
        (format!("CREATE TABLE t ({columns}, embedding vector(2))"), source("t", &["year"]), "is not text or varchar"),
        (
            "CREATE TABLE t (id int PRIMARY KEY, title text, body text GENERATED ALWAYS AS (title) STORED, embedding vector(2))"
                .to_owned(),
            source("t", &["body"]),
            "its column \"body\" is generated",
        ),
        (
            "CREATE TABLE t (id text PRIMARY KEY, embedding vector(2))".to_owned(),
            source("t", &["id"]),
            "its column \"id\" is the id and the text",
        ),
        (
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, embedding vector(2))".to_owned(),
            source("t", &["body"]),
            "Postgres makes its ids",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, body text, raw bytea NOT NULL, embedding vector(2))".to_owned(),
            source("t", &["body"]),
            "its column \"raw\" is NOT NULL without a default",
        ),
    ] {
        sql.batch_execute(&ddl).await.unwrap();
        client.create_collection(attach(source)).await.unwrap();
        let one = request("c", vec![document("1", "one", &[1.0, 0.0], &json!({}))]);
        is_refused(&client.ingest(one).await.unwrap_err(), words);
        let delete = v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() };
        client.delete_collection(delete).await.unwrap();
        sql.batch_execute("DROP TABLE t").await.unwrap();
    }
    // Rows that are there can change.
    let ddl = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, raw bytea NOT NULL, embedding vector(2));
               INSERT INTO t (body, raw) VALUES ('x', '')";
    let (mut client, sql) = attached(&server, ddl).await;
    assert_eq!(counts(&ingest(&mut client, "c", vec![document("1", "one", &[1.0, 0.0], &json!({}))]).await), (1, 1, 0));
    assert_eq!(rows(&sql).await[0]["body"], json!("one"));
    let mut versioned = request("c", vec![document("1", "one", &[1.0, 0.0], &json!({}))]);
    versioned.if_version.insert("1".into(), 1);
    is_refused(&client.ingest(versioned).await.unwrap_err(), "no versions");
    // Types that pgfox reads alike are one.
    sql.batch_execute("ALTER TABLE t ALTER COLUMN body TYPE varchar(10)").await.unwrap();
    assert_eq!(counts(&ingest(&mut client, "c", vec![document("1", "two", &[1.0, 0.0], &json!({}))]).await), (1, 1, 0));
    assert_eq!(rows(&sql).await[0]["body"], json!("two"));
    sql.batch_execute("ALTER TABLE t DROP COLUMN body").await.unwrap();
    let one = request("c", vec![document("1", "one", &[1.0, 0.0], &json!({}))]);
    let (_, reason, _) = refusal(client.ingest(one).await);
    assert_eq!(reason, "SOURCE_CHANGED");
}

#[tokio::test]
async fn values_that_do_not_fit_are_all_named() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text, year smallint, must text NOT NULL, due date, ok bool,
                   twice text GENERATED ALWAYS AS (body || body) STORED, embedding vector(2) NOT NULL)";
    let (mut client, sql) = attached(&server, ddl).await;
    let good = || document("1", "one", &[1.0, 0.0], &json!({"must": "be"}));
    let documents = vec![
        good(),
        document(
            "2",
            "",
            &[1.0, 0.0],
            &json!({"year": 40_000, "must": null, "due": "soon", "ok": "yes", "twice": "", "colour": 1}),
        ),
        document("x", "", &[1.0, 0.0], &json!({"must": ""})),
    ];
    let status = client.ingest(request("c", documents.clone())).await.unwrap_err();
    assert!(
        status.message().contains("is not a metadata column of the table \"public\".\"t\"; it has \"year\""),
        "{status:?}"
    );
    invalid::<()>(
        Err(status),
        &[
            "documents[1].metadata.colour",
            "documents[1].metadata.due",
            "documents[1].metadata.must",
            "documents[1].metadata.ok",
            "documents[1].metadata.twice",
            "documents[1].metadata.year",
            "documents[2].id",
        ],
    );
    // Without a value that every row needs there is no new row.
    let missing = request("c", vec![document("3", "three", &[1.0, 0.0], &json!({})), good()]);
    invalid(client.ingest(missing.clone()).await, &["documents[0].metadata.must"]);
    assert!(rows(&sql).await.is_empty());
    let skipping = |request| v1::IngestRequest { skip_invalid: true, ..request };
    let response = client.ingest(skipping(missing)).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.errors.len(), response.errors[0].index), ((1, 0, 0), 1, 0));
    let response = client.ingest(skipping(request("c", documents))).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.errors.len()), ((0, 0, 1), 2));
    // Nor is there a row without a vector, where every row has one.
    let mut create = attach(source("t", &["body"]));
    let collection = create.collection.as_mut().unwrap();
    collection.name = "d".into();
    client.create_collection(create).await.unwrap();
    let without = v1::Document { metadata: Some(object(&json!({"must": ""}))), ..text_document("5", "text") };
    invalid(client.ingest(request("d", vec![without])).await, &["documents[0].vector"]);
}

#[tokio::test]
async fn what_the_table_refuses_leaves_nothing() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE parents (id int PRIMARY KEY);
               CREATE TABLE t (id int PRIMARY KEY, body text CHECK (body <> 'checked'), code int UNIQUE, v varchar(3), n numeric(3, 1),
                   parent int CONSTRAINT own REFERENCES parents DEFERRABLE INITIALLY DEFERRED, mood text, embedding vector(2));
               CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
                   BEGIN IF NEW.mood = 'sad' THEN RAISE 'no'; ELSIF NEW.mood = 'shy' THEN RETURN NULL; END IF; RETURN NEW; END $$;
               CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION guard();
               INSERT INTO t (id, code) VALUES (100, 7)";
    let (mut client, sql) = attached(&server, ddl).await;
    for (text, metadata, words) in [
        ("checked", json!({}), "constraint \"t_body_check\""),
        ("", json!({"code": 7}), "unique constraint \"t_code_key\""),
        ("", json!({"parent": 1}), "foreign key \"own\""),
        ("", json!({"v": "long"}), "longer than its column"),
        ("", json!({"n": 1000}), "out of its range"),
        ("", json!({"mood": "sad"}), "a trigger does not allow it"),
        ("", json!({"mood": "shy"}), "a trigger leaves a row out"),
    ] {
        // Ids are in the order of texts.
        let good = ["1", "10", "11", "3", "4", "5"].map(|id| document(id, "one", &[1.0, 0.0], &json!({})));
        let mut bad = good.to_vec();
        bad.push(document("2", text, &[1.0, 0.0], &metadata));
        let status = client.ingest(request("c", bad)).await.unwrap_err();
        is_refused(&status, words);
        assert!(status.message().contains("refuses document \"2\": "), "{status:?}");
        assert!(status.message().contains("nothing was written"), "{status:?}");
        assert_eq!(rows(&sql).await.len(), 1, "{words}");
    }
    // The row that another one of the request contradicts.
    let twins =
        ["1", "2", "3"].map(|id| document(id, "one", &[1.0, 0.0], &json!({"code": if id == "2" { 1 } else { 2 }})));
    let status = client.ingest(request("c", twins.to_vec())).await.unwrap_err();
    assert!(status.message().contains("refuses document \"3\": another row"), "{status:?}");
}

/// A change that a trigger leaves out is neither unchanged nor skipped.
#[tokio::test]
async fn a_trigger_that_leaves_a_row_out_refuses_it() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text, n int, embedding vector(2));
               INSERT INTO t VALUES (1, 'one', 1, '[1,0]'), (2, 'two', 1, '[1,0]');
               CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.id < 9 THEN NULL ELSE NEW END; END';
               CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION guard()";
    let (mut client, sql) = attached(&server, ddl).await;
    let one = |id: &str, text: &str| document(id, text, &[1.0, 0.0], &json!({}));
    let status = client.ingest(request("c", vec![one("1", "one"), one("2", "changed")])).await.unwrap_err();
    is_refused(&status, "refuses document \"2\": a trigger leaves the change of a row out");
    let metadata = |id: &str, text: &str, n: i32| document(id, text, &[1.0, 0.0], &json!({"n": n}));
    let status = client.ingest(request("c", vec![metadata("1", "one", 1), metadata("2", "two", 2)])).await.unwrap_err();
    is_refused(&status, "refuses document \"2\": a trigger leaves the change of a row out");
    let only_absent = |documents| v1::IngestRequest { only_if_absent: true, ..request("c", documents) };
    let status = client.ingest(only_absent(vec![one("1", "x"), one("3", "new"), one("9", "new")])).await.unwrap_err();
    is_refused(&status, "refuses document \"3\": a trigger leaves a row out");
    let response = client.ingest(only_absent(vec![one("1", "x"), one("9", "new")])).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.skipped_count), ((1, 0, 0), 1));
    assert_eq!(rows(&sql).await.len(), 3);
}

/// A row that depends on another one of the request looks refused without it.
#[tokio::test]
async fn the_document_that_is_named_is_the_reason() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text CHECK (body <> 'bad'), parent int REFERENCES t, embedding vector(2))";
    let (mut client, sql) = attached(&server, ddl).await;
    let good = |id: &str, parent: Value| document(id, "good", &[1.0, 0.0], &json!({"parent": parent}));
    for (bad, words) in [
        (document("3", "bad", &[1.0, 0.0], &json!({})), "refuses document \"3\": the constraint \"t_body_check\""),
        (good("3", json!(99)), "refuses document \"3\": the foreign key \"t_parent_fkey\""),
    ] {
        let documents = vec![good("1", json!(2)), good("2", Value::Null), bad];
        let status = client.ingest(request("c", documents.clone())).await.unwrap_err();
        is_refused(&status, words);
        assert!(rows(&sql).await.is_empty());
    }
}

#[tokio::test]
async fn documents_that_the_table_refuses_are_skipped() {
    let server = Server::start(18).await;
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, body text CHECK (body <> 'bad'), code int UNIQUE, v varchar(3),
                   parent int CONSTRAINT own REFERENCES t DEFERRABLE INITIALLY DEFERRED, embedding vector(2));
               INSERT INTO t VALUES (100, 'old', 7, NULL, NULL, '[1,0]')";
    let (mut client, sql) = attached(&server, ddl).await;
    let one = |id: &str, text: &str, metadata: Value| document(id, text, &[1.0, 0.0], &metadata);
    let mut documents: Vec<v1::Document> = (200..300).map(|id| one(&id.to_string(), "good", json!({}))).collect();
    documents.extend([
        one("1", "bad", json!({})),
        // A row that needs one that comes later, and one that needs a row that is refused.
        one("2", "good", json!({"parent": 3})),
        one("3", "good", json!({})),
        one("4", "good", json!({"parent": 1})),
        one("5", "good", json!({"code": 7})),
        one("6", "good", json!({"v": "long"})),
        one("100", "bad", json!({})),
    ]);
    let skipping = || v1::IngestRequest { skip_invalid: true, ..request("c", documents.clone()) };
    let response = client.ingest(skipping()).await.unwrap().into_inner();
    assert_eq!(counts(&response), (102, 0, 0));
    let found: Vec<(i32, &str)> = response.errors.iter().map(|error| (error.index, error.id.as_str())).collect();
    assert_eq!(found, [(100, "1"), (103, "4"), (104, "5"), (105, "6"), (106, "100")]);
    assert!(response.errors.iter().all(|error| error.reason() == v1::ErrorReason::CollectionAttached));
    assert_eq!(response.errors[0].message, "the table refuses it: the constraint \"t_body_check\" does not allow it");
    assert_eq!(rows(&sql).await.len(), 103);
    let again = client.ingest(skipping()).await.unwrap().into_inner();
    assert_eq!((counts(&again), again.errors.len()), ((0, 0, 102), 5));
    let all = (0..100).map(|id| one(&(1_000 + id).to_string(), "bad", json!({}))).collect();
    let none = client.ingest(v1::IngestRequest { skip_invalid: true, ..request("c", all) }).await.unwrap().into_inner();
    assert_eq!((counts(&none), none.errors.len()), ((0, 0, 0), 100));
}

#[tokio::test]
async fn ids_that_are_not_unique_any_more_are_a_change_of_the_table() {
    let server = Server::start(18).await;
    let ddl =
        "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(2)); INSERT INTO t VALUES (1, 'one', '[1,0]')";
    let (mut client, sql) = attached(&server, ddl).await;
    sql.batch_execute("ALTER TABLE t DROP CONSTRAINT t_pkey").await.unwrap();
    for twin in [false, true] {
        let id = if twin { "1" } else { "2" };
        if twin {
            sql.batch_execute("INSERT INTO t VALUES (1, 'one', '[1,0]')").await.unwrap();
        }
        let status =
            client.ingest(request("c", vec![document(id, "changed", &[1.0, 0.0], &json!({}))])).await.unwrap_err();
        assert_eq!(crate::support::reason(&status).0, "SOURCE_CHANGED", "{status:?}");
        assert!(status.message().contains("no unique index is over its id columns any more"), "{status:?}");
    }
    assert!(rows(&sql).await.iter().all(|row| row["body"] == json!("one")));
}

#[tokio::test]
async fn a_write_needs_privileges_on_what_it_names() {
    let role = "attached_namer";
    let (server, sql) = restricted(role).await;
    sql.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA private TO {role};
         GRANT SELECT, DELETE, INSERT (id, body, embedding) ON private.t TO {role}"
    ))
    .await
    .unwrap();
    let mut client = server.client();
    let source = v1::Source { metadata_columns: owned(&["owner", "hidden"]), ..source("private.t", &["body"]) };
    client.create_collection(attach(source)).await.unwrap();
    let lacks = |status: tonic::Status, privileges: &str| {
        assert_eq!(crate::support::reason(&status).0, "DATABASE_REFUSED", "{status:?}");
        let grant = format!("GRANT {privileges} ON TABLE \"private\".\"t\" TO \"{role}\"");
        assert!(status.message().ends_with(&grant), "{status:?}");
    };
    // Before rows are deleted they are locked.
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids: owned(&["2"]), ..Default::default() };
    lacks(client.delete_documents(delete.clone()).await.unwrap_err(), "UPDATE");
    sql.batch_execute(&format!("GRANT UPDATE (owner) ON private.t TO {role}")).await.unwrap();
    assert_eq!(client.delete_documents(delete).await.unwrap().into_inner().deleted_count, 1);
    let update = |metadata: Value| v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: owned(&["1"]),
        metadata: Some(object(&metadata)),
        ..Default::default()
    };
    let changed = client.update_metadata(update(json!({"owner": "x"}))).await.unwrap().into_inner();
    assert_eq!(changed.updated_count, 1);
    lacks(client.update_metadata(update(json!({"owner": "y", "hidden": "y"}))).await.unwrap_err(), "UPDATE");

    sql.batch_execute(&format!("GRANT UPDATE (body, embedding) ON private.t TO {role}")).await.unwrap();
    let ingested = |metadata: Value| request("c", vec![document("3", "text", &[1.0, 0.0], &metadata)]);
    assert_eq!(counts(&client.ingest(ingested(json!({}))).await.unwrap().into_inner()), (1, 0, 0));
    lacks(client.ingest(ingested(json!({"owner": "x"}))).await.unwrap_err(), "INSERT");
    lacks(client.ingest(ingested(json!({"hidden": "x"}))).await.unwrap_err(), "INSERT, UPDATE");
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}

#[tokio::test]
async fn privileges_and_policies_are_those_of_the_role() {
    let role = "attached_writer";
    let (server, sql) = restricted(role).await;
    sql.batch_execute(&format!("GRANT USAGE ON SCHEMA private TO {role}; GRANT SELECT ON private.t TO {role}"))
        .await
        .unwrap();
    let mut client = server.client();
    let source = v1::Source { metadata_columns: owned(&["owner"]), ..source("private.t", &["body"]) };
    let mut dry_run = v1::CreateCollectionRequest { dry_run: true, ..attach(source.clone()) };
    dry_run.collection.as_mut().unwrap().name = "d".into();
    let statements = client.create_collection(dry_run.clone()).await.unwrap().into_inner().statements;
    assert_eq!(statements[0].sql, format!("GRANT INSERT, UPDATE, DELETE ON TABLE \"private\".\"t\" TO \"{role}\""));
    client.create_collection(attach(source)).await.unwrap();
    let own = |id: &str, owner: &str| document(id, "text", &[1.0, 0.0], &json!({"owner": owner}));
    let lacks = |status: tonic::Status, privileges: &str| {
        assert_eq!(crate::support::reason(&status).0, "DATABASE_REFUSED", "{status:?}");
        let grant = format!("GRANT {privileges} ON TABLE \"private\".\"t\" TO \"{role}\"");
        assert!(status.message().ends_with(&grant), "{status:?}");
    };
    lacks(client.ingest(request("c", vec![own("5", role)])).await.unwrap_err(), "INSERT, UPDATE");
    let delete =
        |id: &str| v1::DeleteDocumentsRequest { collection: "c".into(), ids: owned(&[id]), ..Default::default() };
    lacks(client.delete_documents(delete("1")).await.unwrap_err(), "UPDATE, DELETE");
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: owned(&["1"]),
        metadata: Some(object(&json!({"owner": "x"}))),
        ..Default::default()
    };
    lacks(client.update_metadata(update.clone()).await.unwrap_err(), "UPDATE");

    // Privileges on the columns are enough.
    sql.batch_execute(&format!(
        "GRANT INSERT (id, body, owner, embedding), UPDATE (body, owner, embedding) ON private.t TO {role}; GRANT DELETE ON private.t TO {role}"
    ))
    .await
    .unwrap();
    let statements = client.create_collection(dry_run).await.unwrap().into_inner().statements;
    assert!(!statements.iter().any(|statement| statement.sql.starts_with("GRANT")), "{statements:?}");
    assert_eq!(counts(&ingest(&mut client, "c", vec![own("1", role), own("5", role)]).await), (2, 1, 0));

    sql.batch_execute(
        "ALTER TABLE private.t ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON private.t USING (owner = current_user)",
    )
    .await
    .unwrap();
    assert_eq!(counts(&ingest(&mut client, "c", vec![own("1", role)]).await), (0, 0, 1));
    // A row of another owner, for another owner, and as another owner's.
    is_refused(&client.ingest(request("c", vec![own("2", role)])).await.unwrap_err(), "hides a row with the same id");
    is_refused(
        &client.ingest(request("c", vec![own("6", "other")])).await.unwrap_err(),
        "policy of row-level security",
    );
    is_refused(&client.update_metadata(update).await.unwrap_err(), "policy of row-level security");
    assert_eq!(client.delete_documents(delete("2")).await.unwrap().into_inner().deleted_count, 0);
    // A policy that lets the role read what it cannot change.
    sql.batch_execute("CREATE POLICY readers ON private.t FOR SELECT USING (true)").await.unwrap();
    is_refused(&client.ingest(request("c", vec![own("2", role)])).await.unwrap_err(), "read a row but not change it");
    server.stop().await.unwrap();
    drop_role(&sql, role).await;
}
