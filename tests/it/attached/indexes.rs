//! Indexes: those that are there are used whatever their names, those that are built stay in the table's schema, and filters
//! use those of their columns.

use serde_json::{Value, json};

use super::*;
use crate::{
    calls::refusal,
    metadata::{equals, field, value},
    support::eventually,
};
use pgfox::v1::condition::Test;

async fn list(client: &mut Client) -> Vec<v1::Index> {
    client.list_indexes(v1::ListIndexesRequest { collection: "c".into() }).await.unwrap().into_inner().indexes
}

async fn explained(client: &mut Client, request: v1::SearchRequest) -> v1::Explanation {
    let request = v1::SearchRequest { explain: true, ..request };
    search(client, request).await.explanation.unwrap()
}

/// Whether some node of a plan has these values.
fn has_node(plan: &Value, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(key, text)| plan[*key].as_str().is_some_and(|value| value.contains(text)))
        || plan["Plans"].as_array().into_iter().flatten().any(|plan| has_node(plan, wanted))
}

fn plan(explanation: &v1::Explanation) -> Value {
    serde_json::from_str::<Value>(&explanation.plan_json).unwrap()[0]["Plan"].clone()
}

#[rstest]
#[tokio::test]
async fn the_index_of_the_table_serves_every_search(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = points(&server, 5_000).await;
    let explanation = explained(&mut client, near("c", &[1.0, 0.0], 10)).await;
    assert_eq!(explanation.no_index_reason, "the collection has no vector index");
    sql.batch_execute(
        "CREATE INDEX \"any name'\" ON points USING hnsw (embedding vector_cosine_ops) WITH (m = 12, ef_construction = 50);
         CREATE INDEX ON points (half); CREATE INDEX ON points USING hnsw (embedding vector_l2_ops); ANALYZE points",
    )
    .await
    .unwrap();
    eventually("the index is found", async || {
        search(&mut client, near("c", &[1.0, 0.0], 1)).await.completeness() == Completeness::Approximate
    })
    .await;
    let indexes = list(&mut client).await;
    let hnsw = v1::Hnsw { m: 12, ef_construction: 50 };
    assert_eq!(indexes.len(), 1);
    assert_eq!((indexes[0].name.as_str(), indexes[0].made_by_sql), ("any name'", true));
    assert_eq!(indexes[0].spec.unwrap().kind, Some(Kind::Hnsw(hnsw)));

    let explanation = explained(&mut client, near("c", &[1.0, 0.0], 10)).await;
    assert_eq!(
        (explanation.index.as_str(), explanation.no_index_reason.as_str()),
        ("any name'", ""),
        "{explanation:?}"
    );
    // The rows are fetched by their key, not by reading the table.
    assert!(has_node(&plan(&explanation), &[("Index Name", "points_pkey")]), "{explanation:?}");
    assert!(
        !has_node(&plan(&explanation), &[("Node Type", "Seq Scan"), ("Relation Name", "points")]),
        "{explanation:?}"
    );

    let few = || v1::SearchRequest { filter: Some(equals("half", &json!(7))), ..near("c", &[1.0, 0.0], 10) };
    // Such a collection has no codes, so no field to declare is named.
    assert!(!explained(&mut client, few()).await.notes.iter().any(|note| note.contains("declare")));
    // A filter that many rows match goes along the vectors, once through the table.
    let many = v1::SearchRequest {
        filter: Some(field("half", Test::AtLeast(value(&json!(100))))),
        ..near("c", &[1.0, 0.0], 10)
    };
    let response = search(&mut client, many.clone()).await;
    assert_eq!(ids(&response).first(), Some(&"200"));
    let explanation = explained(&mut client, many).await;
    assert_eq!(explanation.index, "any name'", "{explanation:?}");
    // One that few match uses the index of its column, and is exact.
    let response = search(&mut client, few()).await;
    assert_eq!((ids(&response), response.completeness()), (vec!["14", "15"], Completeness::Exact));
    let explanation = explained(&mut client, few()).await;
    assert!(has_node(&plan(&explanation), &[("Index Name", "points_half_idx")]), "{explanation:?}");

    // What was made by SQL is dropped by SQL.
    let drop = |name: &str| v1::DropIndexRequest { collection: "c".into(), name: name.into() };
    for name in ["", "any name'"] {
        let (_, reason, _) = refusal(client.drop_index(drop(name)).await);
        assert_eq!(reason, "COLLECTION_ATTACHED");
    }
    sql.batch_execute("DROP INDEX \"any name'\"").await.unwrap();
    eventually("the index is gone", async || list(&mut client).await.is_empty()).await;
    assert_eq!(search(&mut client, near("c", &[1.0, 0.0], 1)).await.completeness(), Completeness::Exact);
}

#[tokio::test]
async fn an_ordinary_index_that_is_made_later_serves_filters() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 5_000).await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    client.create_collection(attach(source("points", &[]))).await.unwrap();
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    let looks_first = async |client: &mut Client, filter: v1::Filter| {
        let request = v1::SearchRequest { filter: Some(filter), ..near("c", &[1.0, 0.0], 10) };
        has_node(&plan(&explained(client, request).await), &[("Subplan Name", "CTE few")])
    };
    let is_seven = || equals("half", &json!(7));
    let starts = || field("name", Test::StartsWith("point 77".into()));
    let is_point = || equals("name", &json!("point 77"));
    assert!(!looks_first(&mut client, is_seven()).await);
    // A hash and a partial index do not count, and neither does a prefix in an index of another collation.
    sql.batch_execute(
        "CREATE INDEX ON points USING hash (half); CREATE INDEX ON points (half) WHERE half > 5; CREATE INDEX ON points (name)",
    )
    .await
    .unwrap();
    eventually("the index on name is found", async || looks_first(&mut client, is_point()).await).await;
    assert!(!looks_first(&mut client, is_seven()).await);
    assert!(!looks_first(&mut client, starts()).await);
    sql.batch_execute("CREATE INDEX ON points (half); CREATE INDEX ON points (name COLLATE \"C\")").await.unwrap();
    eventually("the index on half is found", async || looks_first(&mut client, is_seven()).await).await;
    assert!(looks_first(&mut client, starts()).await);
}

#[tokio::test]
async fn attaching_does_not_wait_for_other_collections() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 5).await;
    // Somebody holds the row of `c`, whose new index the server has not found yet.
    let holder = server.sql().await;
    holder.batch_execute("BEGIN; SELECT FROM pgfox_internal.collections WHERE name = 'c' FOR UPDATE").await.unwrap();
    sql.batch_execute(
        "CREATE INDEX ON points USING hnsw (embedding vector_cosine_ops);
         CREATE TABLE other (id int PRIMARY KEY, embedding vector(2));
         INSERT INTO other VALUES (1, '[1,0]'), (2, '[0,1]');
         CREATE INDEX mine ON other USING hnsw (embedding vector_cosine_ops)",
    )
    .await
    .unwrap();
    let mut other = attach(source("other", &[]));
    other.collection.as_mut().unwrap().name = "d".into();
    client.create_collection(other).await.unwrap();
    assert_eq!(search(&mut client, near("d", &[1.0, 0.0], 1)).await.completeness(), Completeness::Approximate);
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn an_index_is_built_on_the_table() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 5_000).await;
    let before = shape(&sql, "points").await;
    assert_eq!(crate::calls::count(&mut client, "c").await, 5_000);
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw { m: 8, ef_construction: 32 })).await;
    let indexes = list(&mut client).await;
    assert_eq!((indexes.len(), indexes[0].made_by_sql, indexes[0].state()), (1, false, v1::IndexState::Ready));
    let first = indexes[0].name.clone();
    assert!(first.starts_with("pgfox_") && first.contains("_hnsw_"), "{first}");
    assert_eq!(explained(&mut client, near("c", &[1.0, 0.0], 5)).await.index, first);

    // Another kind takes its place, and the old one goes.
    build_index(&mut client, "c", Kind::IvfFlat(v1::IvfFlat { lists: 2 })).await;
    let indexes = list(&mut client).await;
    assert_eq!((indexes.len(), indexes[0].name.contains("_ivfflat_")), (1, true));
    let count = "SELECT count(*) FROM pg_index WHERE indrelid = 'points'::regclass";
    eventually("the first one is dropped", async || sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0) == 2)
        .await;

    // An index by SQL beside it changes nothing; when that of pgfox goes, it serves.
    sql.batch_execute(
        "CREATE INDEX mine ON points USING hnsw (embedding vector_cosine_ops) WHERE embedding IS NOT NULL",
    )
    .await
    .unwrap();
    assert_eq!(list(&mut client).await, indexes);
    let drop = v1::DropIndexRequest { collection: "c".into(), name: String::new() };
    client.drop_index(drop).await.unwrap();
    let indexes = list(&mut client).await;
    assert_eq!((indexes.len(), indexes[0].name.as_str()), (1, "mine"));
    assert_eq!(explained(&mut client, near("c", &[1.0, 0.0], 5)).await.index, "mine");
    sql.batch_execute("DROP INDEX mine").await.unwrap();
    assert_eq!(shape(&sql, "points").await, before);
}

#[rstest]
#[tokio::test]
async fn detaching_names_the_indexes_that_stay(#[values(false, true)] drop_indexes: bool) {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 50).await;
    let before = shape(&sql, "points").await;
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    let name = list(&mut client).await[0].name.clone();
    let delete = v1::DeleteCollectionRequest { name: "c".into(), drop_indexes };
    let kept = client.delete_collection(delete).await.unwrap().into_inner().kept_indexes;
    if drop_indexes {
        assert!(kept.is_empty(), "{kept:?}");
    } else {
        assert_eq!(kept, [format!("\"public\".\"{name}\"")]);
        // Attached again, it is an index like any other.
        client.create_collection(attach(source("points", &["name"]))).await.unwrap();
        let indexes = list(&mut client).await;
        assert_eq!((indexes[0].name.as_str(), indexes[0].made_by_sql), (name.as_str(), true));
        sql.batch_execute(&format!("DROP INDEX {}", kept[0])).await.unwrap();
    }
    assert_eq!(shape(&sql, "points").await, before);
}
