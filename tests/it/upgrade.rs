//! A database of an older version is refused, then upgraded with all of its data.

use pgfox::v1::{self, Filter, SearchMode, condition::Test, filter::Node, search_request::Query};
use pgfox_server::Migrate;
use prost_types::{Struct, Value, value::Kind};
use rstest::rstest;

use crate::support::{Client, Server, Setup, cluster, create_database, eventually, sql, vector_document};

async fn found(client: &mut Client, query: Query, change: impl FnOnce(&mut v1::SearchRequest)) -> Vec<String> {
    let mut request = v1::SearchRequest { collection: "foxes".into(), query: Some(query), ..Default::default() };
    change(&mut request);
    let response = client.search(request).await.expect("a response").into_inner();
    response.results.into_iter().map(|result| result.document.expect("a document").id).collect()
}

fn vector(values: [f32; 3]) -> Query {
    Query::Vector(v1::Vector { values: values.to_vec() })
}

fn legs(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

/// A database with the data of the first version.
pub(crate) async fn first_schema(major: u32) -> (String, tokio_postgres::Client) {
    let database_url = create_database(&cluster(major).postgres).await;
    let admin = sql(&database_url).await;
    let registry = migration(include_str!("../../server/migrations/0001_registry.sql"));
    let collections = include_str!("../data/schema_1.sql");
    admin
        .batch_execute(&format!(
            "CREATE EXTENSION vector; CREATE SCHEMA pgfox; CREATE SCHEMA pgfox_internal;
             CREATE TABLE pgfox_internal.schema_migrations (
                 version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
             INSERT INTO pgfox_internal.schema_migrations VALUES (1);
             {registry} {collections}"
        ))
        .await
        .expect("the first schema");
    (database_url, admin)
}

pub(crate) fn migration(sql: &str) -> String {
    sql.replace("{internal}", "pgfox_internal").replace("{views}", "pgfox")
}

#[rstest]
#[tokio::test]
async fn the_first_schema_is_upgraded(#[values(16, 18)] major: u32) {
    let (database_url, admin) = first_schema(major).await;

    // The server refuses, because an operator with several servers must decide when to upgrade.
    let refused = Setup::new(database_url.clone()).start().await.ended().await.expect_err("an older schema");
    assert!(format!("{refused:#}").contains("`pgfox-server migrate`"), "{refused:#}");

    let mut setup = Setup::new(database_url);
    setup.migrate = Migrate::Always;
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    let get = v1::GetCollectionRequest { name: "foxes".into() };
    let collection = client.get_collection(get).await.expect("a collection").into_inner().collection.unwrap();
    assert_eq!(collection.document_count, 3);
    assert_eq!(collection.metadata_indexes.len(), 1);

    // Stored documents are found as before, and by the new kinds of search.
    assert_eq!(found(&mut client, vector([1.0, 0.1, 0.0]), |_| {}).await, ["sounds", "naïve", "silent"]);
    let words = |text: &str| Query::Text(text.into());
    let full_text = |request: &mut v1::SearchRequest| request.mode = SearchMode::FullText.into();
    assert_eq!(found(&mut client, words("sound"), full_text).await, ["sounds"]);
    assert_eq!(found(&mut client, words("naïve"), full_text).await, ["naïve"]);
    let three = |request: &mut v1::SearchRequest| {
        let condition = v1::Condition { field: "legs".into(), test: Some(Test::Equals(legs(3.0))), ignore_case: false };
        request.filter = Some(Filter { node: Some(Node::Condition(condition)) });
    };
    assert_eq!(found(&mut client, vector([1.0, 0.1, 0.0]), three).await, ["naïve"]);
    let view = admin.query("SELECT id, content FROM pgfox.foxes ORDER BY id", &[]).await.expect("the view");
    let ids: Vec<&str> = view.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids, ["naïve", "silent", "sounds"]);

    // No document is embedded or written again.
    let same = v1::Document {
        text: "Foxes can make over 40 different sounds.".into(),
        metadata: Some(Struct { fields: [("legs".to_owned(), legs(4.0))].into() }),
        ..vector_document("sounds", &[1.0, 0.0, 0.0])
    };
    let changed = v1::Document { text: "A hoarse fox".into(), ..vector_document("naïve", &[0.0, 1.0, 0.0]) };
    let request =
        v1::IngestRequest { collection: "foxes".into(), documents: vec![same, changed], ..Default::default() };
    let response = client.ingest(request).await.expect("stored").into_inner();
    assert_eq!((response.unchanged_count, response.updated_count), (1, 1));
    assert_eq!(found(&mut client, words("hoarse"), full_text).await, ["naïve"]);
    assert_eq!(found(&mut client, words("naïve"), full_text).await, Vec::<String>::new());

    // The empty collection works, too.
    let request = v1::IngestRequest {
        collection: "empty".into(),
        documents: vec![vector_document("one", &[1.0, 2.0, 3.0])],
        ..Default::default()
    };
    assert_eq!(client.ingest(request).await.expect("stored").into_inner().upserted_count, 1);
    let delete = v1::DeleteCollectionRequest { name: "foxes".into(), ..Default::default() };
    client.delete_collection(delete).await.expect("deleted");
    eventually("no table is left", async || {
        let left = "SELECT count(*) FROM pg_class WHERE relname ~ '^(documents|chunks|embeddings)_1'";
        admin.query_one(left, &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
}

/// A database of version 3 of the schema, with an index over times that uses the old function.
async fn third_schema(major: u32) -> (String, tokio_postgres::Client) {
    let (database_url, admin) = first_schema(major).await;
    let second = migration(include_str!("../../server/migrations/0002_chunks_and_metadata.sql"));
    let third = migration(include_str!("../../server/migrations/0003_metadata_index_jobs.sql"));
    admin
        .batch_execute(&format!(
            "{second}; {third}; INSERT INTO pgfox_internal.schema_migrations VALUES (2), (3);
             UPDATE pgfox_internal.documents_1 SET metadata = metadata || CASE id
                 WHEN 'sounds' THEN '{{\"seen\": \"2024-05-01T12:00:00Z\"}}'::jsonb
                 WHEN 'silent' THEN '{{\"seen\": \"2024-05-01 12:00\"}}' ELSE '{{\"seen\": \"2024-05-01\"}}' END;
             INSERT INTO pgfox_internal.metadata_indexes (collection_id, type, path, ready)
                 VALUES (1, 'time', '{{seen}}', true);
             CREATE INDEX documents_1_metadata_3 ON pgfox_internal.documents_1
                 USING btree ((pgfox_internal.time_at(metadata, '{{seen}}'::text[])))"
        ))
        .await
        .expect("the third schema");
    (database_url, admin)
}

/// The names of the ready indexes over times, and whether each uses the new function.
async fn time_indexes(admin: &tokio_postgres::Client) -> Vec<(String, bool)> {
    let sql = "SELECT c.relname, pg_get_indexdef(c.oid) LIKE '%time_at_2%'
               FROM pgfox_internal.metadata_indexes m
               JOIN pg_class c ON c.relname = format('documents_%s_metadata_%s', m.collection_id, m.id)
               WHERE m.type = 'time' AND m.ready";
    admin.query(sql, &[]).await.expect("indexes").iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn seen_at_noon(client: &mut Client) -> i64 {
    let noon = prost_types::Timestamp { seconds: 1_714_564_800, nanos: 0 };
    let condition = v1::Condition { field: "seen".into(), test: Some(Test::Since(noon)), ignore_case: false };
    let filter = Some(Filter { node: Some(Node::Condition(condition)) });
    let request = v1::CountDocumentsRequest { collection: "foxes".into(), filter, ..Default::default() };
    client.count_documents(request).await.expect("a count").into_inner().count
}

/// A server that has upgraded the schema, and an open transaction that keeps every new index from becoming complete.
async fn upgrade_and_hold(database_url: &str) -> (tokio_postgres::Client, Server) {
    let hold = sql(database_url).await;
    hold.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let mut setup = Setup::new(database_url.to_owned());
    setup.migrate = Migrate::Always;
    let server = setup.start().await;
    server.ready().await;
    (hold, server)
}

#[rstest]
#[tokio::test]
async fn an_index_over_times_serves_until_the_new_one_is_built(#[values(16, 18)] major: u32) {
    let (database_url, admin) = third_schema(major).await;
    let (hold, server) = upgrade_and_hold(&database_url).await;
    let other = Setup::new(database_url.clone()).start().await;
    other.ready().await;
    let mut clients = [server.client(), other.client()];

    eventually("a new index is being built", async || {
        let waits = "SELECT count(*) FROM pg_stat_progress_create_index
                     WHERE datname = current_database() AND phase LIKE 'waiting for%'";
        admin.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    assert_eq!(time_indexes(&admin).await, [("documents_1_metadata_3".to_owned(), false)]);
    // Filters meanwhile read times like the old index, which serves them.
    for client in &mut clients {
        assert_eq!(seen_at_noon(client).await, 1);
        let get = v1::GetCollectionRequest { name: "foxes".into() };
        let collection = client.get_collection(get).await.unwrap().into_inner().collection.unwrap();
        assert_eq!(collection.metadata_indexes.len(), 2);
    }
    hold.batch_execute("COMMIT").await.unwrap();

    eventually("the new index serves alone", async || {
        let names = "SELECT count(*) FROM pg_class WHERE relname ~ '^documents_1_metadata_' AND relkind = 'i'";
        let jobs = "SELECT count(*) FROM pgfox_internal.metadata_index_jobs";
        admin.query_one(names, &[]).await.unwrap().get::<_, i64>(0) == 2
            && admin.query_one(jobs, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(time_indexes(&admin).await, [("documents_1_metadata_4".to_owned(), true)]);
    // No search has run that could have detected the change.
    for client in &mut clients {
        assert_eq!(seen_at_noon(client).await, 2);
    }
    let seen = format!("2024-05-01T12:00:00.{}1Z", "0".repeat(400));
    let seen = Value { kind: Some(Kind::StringValue(seen)) };
    let poison = v1::Document {
        metadata: Some(Struct { fields: [("seen".to_owned(), seen)].into() }),
        ..vector_document("poison", &[1.0, 0.0, 0.0])
    };
    let request = v1::IngestRequest { collection: "foxes".into(), documents: vec![poison], ..Default::default() };
    assert_eq!(clients[0].ingest(request).await.expect("stored").into_inner().upserted_count, 1);
    assert_eq!(seen_at_noon(&mut clients[1]).await, 2);
}

#[tokio::test]
async fn a_new_index_that_fails_leaves_the_old_one() {
    let (database_url, admin) = third_schema(18).await;
    let (hold, server) = upgrade_and_hold(&database_url).await;
    let mut client = server.client();
    eventually("the build is cancelled", async || {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                      WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'";
        admin.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let failed = "SELECT count(*) FILTER (WHERE state = 'failed'), count(*) FROM pgfox_internal.metadata_index_jobs";
    eventually("the job fails", async || admin.query_one(failed, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    hold.batch_execute("COMMIT").await.unwrap();
    // Longer than the interval at which servers look for jobs.
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    assert_eq!(admin.query_one(failed, &[]).await.unwrap().get::<_, i64>(1), 1, "not at once again");
    assert_eq!(time_indexes(&admin).await, [("documents_1_metadata_3".to_owned(), false)]);
    assert_eq!(seen_at_noon(&mut client).await, 1);
    // A request for the existing index builds it.
    crate::calls::build_time_index(&mut client, "foxes", "seen").await;
    assert_eq!(time_indexes(&admin).await.first().map(|(_, is_new)| *is_new), Some(true));
    assert_eq!(seen_at_noon(&mut client).await, 2);
}

#[tokio::test]
async fn an_alias_whose_view_cannot_be_made_stays_without() {
    let (database_url, admin) = third_schema(18).await;
    admin
        .batch_execute(
            "INSERT INTO pgfox_internal.aliases VALUES ('plain', 1), ('taken', 1), ('named', 1), ('broken', 2);
             CREATE TABLE pgfox.taken (); CREATE DOMAIN pgfox.named AS int;
             DROP TABLE pgfox_internal.chunks_2 CASCADE",
        )
        .await
        .unwrap();
    let mut setup = Setup::new(database_url);
    setup.migrate = Migrate::Always;
    let server = setup.start().await;
    server.ready().await;
    let aliases = "SELECT alias, has_view FROM pgfox_internal.aliases ORDER BY alias";
    let aliases = admin.query(aliases, &[]).await.unwrap();
    let aliases: Vec<(&str, bool)> = aliases.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(aliases, [("broken", false), ("named", false), ("plain", true), ("taken", false)]);
    admin.query("SELECT id FROM pgfox.plain", &[]).await.expect("the view");
}
