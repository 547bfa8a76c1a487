//! A database that an older version has set up is refused, then upgraded with all that it holds.

use pgfox::v1::{self, Filter, SearchMode, condition::Test, filter::Node, search_request::Query};
use pgfox_server::Migrate;
use prost_types::{Struct, Value, value::Kind};
use rstest::rstest;

use crate::support::{Client, Setup, cluster, create_database, eventually, sql, vector_document};

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

#[rstest]
#[tokio::test]
async fn the_first_schema_is_upgraded(#[values(16, 18)] major: u32) {
    let database_url = create_database(&cluster(major).postgres).await;
    let admin = sql(&database_url).await;
    let registry = include_str!("../../server/migrations/0001_registry.sql").replace("{internal}", "pgfox_internal");
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

    // Not by the way: whoever runs several servers decides when.
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

    // What was stored is found as before, and in the new ways.
    assert_eq!(found(&mut client, vector([1.0, 0.1, 0.0]), |_| {}).await, ["sounds", "naïve", "silent"]);
    let words = |text: &str| Query::Text(text.into());
    let full_text = |request: &mut v1::SearchRequest| request.mode = SearchMode::FullText.into();
    assert_eq!(found(&mut client, words("sound"), full_text).await, ["sounds"]);
    assert_eq!(found(&mut client, words("naïve"), full_text).await, ["naïve"]);
    let three = |request: &mut v1::SearchRequest| {
        let condition = v1::Condition { field: "legs".into(), test: Some(Test::Equals(legs(3.0))) };
        request.filter = Some(Filter { node: Some(Node::Condition(condition)) });
    };
    assert_eq!(found(&mut client, vector([1.0, 0.1, 0.0]), three).await, ["naïve"]);
    let view = admin.query("SELECT id, content FROM pgfox.foxes ORDER BY id", &[]).await.expect("the view");
    let ids: Vec<&str> = view.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids, ["naïve", "silent", "sounds"]);

    // Nothing has to be embedded or written again.
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

    // The empty collection works too.
    let request = v1::IngestRequest {
        collection: "empty".into(),
        documents: vec![vector_document("one", &[1.0, 2.0, 3.0])],
        ..Default::default()
    };
    assert_eq!(client.ingest(request).await.expect("stored").into_inner().upserted_count, 1);
    let delete = v1::DeleteCollectionRequest { name: "foxes".into() };
    client.delete_collection(delete).await.expect("deleted");
    eventually("no table is left", async || {
        let left = "SELECT count(*) FROM pg_class WHERE relname ~ '^(documents|chunks|embeddings)_1'";
        admin.query_one(left, &[]).await.expect("a count").get::<_, i64>(0) == 0
    })
    .await;
}
