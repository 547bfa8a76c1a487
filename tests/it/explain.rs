//! Explained searches: the plans that searches must have. The tests fail if a search stops using its index.

use pgfox::v1::{self, Completeness, Distance, SearchMode, condition::Test, index_spec::Kind};
use rstest::rstest;
use serde_json::json;

use crate::{
    calls::{about, build_index, ids, ingest, near, search},
    full_text::words,
    metadata::{all_of, any_of, equals, field, object, value},
    support::{Client, Server, vector_document, vectors},
};

const DIMENSIONS: usize = 16;

fn values(i: usize) -> Vec<f32> {
    (0..DIMENSIONS).map(|j| ((i * 31 + j * 17) % 101) as f32 + (i * j % 13) as f32).collect()
}

/// Enough rows that an index is always faster.
async fn load(client: &mut Client) {
    client.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    for part in 0..8_usize {
        let document = |i: usize| v1::Document {
            text: format!("A text about word{} and others{}", i % 997, i % 7),
            metadata: Some(object(
                &json!({"n": i % 400, "half": i % 2, "year": 2_000, "title": format!("the title {i}")}),
            )),
            ..vector_document(&i.to_string(), &values(i))
        };
        ingest(client, "c", (part * 1_000..(part + 1) * 1_000).map(document).collect()).await;
    }
}

async fn explained(client: &mut Client, request: v1::SearchRequest) -> v1::Explanation {
    let plain = search(client, request.clone()).await;
    assert!(plain.explanation.is_none());
    let response = search(client, v1::SearchRequest { explain: true, ..request }).await;
    assert_eq!(ids(&response), ids(&plain), "explaining changes no result");
    let explanation = response.explanation.clone().expect("an explanation");
    let plan: serde_json::Value = serde_json::from_str(&explanation.plan_json).expect("a plan");
    assert!(plan[0]["Plan"]["Node Type"].is_string());
    assert_eq!(
        response.completeness() == Completeness::Approximate,
        explanation.no_index_reason.is_empty() && !explanation.index.contains("words"),
        "{explanation:?}"
    );
    explanation
}

/// The node that read the vectors and the kind of its index.
fn shape(explanation: &v1::Explanation) -> (&str, &str) {
    let kinds = ["hnsw", "ivfflat", "words", "pkey"];
    let kind = kinds.into_iter().find(|kind| explanation.index.contains(kind)).unwrap_or_default();
    (&explanation.plan_node, kind)
}

fn uses(explanation: &v1::Explanation, node: &str, index: &str) -> bool {
    fn within(node: &serde_json::Value, kind: &str, index: &str) -> bool {
        let is = |key: &str, value: &str| node[key].as_str().is_some_and(|text| text.contains(value));
        let ran = node["Actual Loops"].as_f64().is_some_and(|loops| loops > 0.0);
        (ran && is("Node Type", kind) && is("Index Name", index))
            || node["Plans"].as_array().into_iter().flatten().any(|node| within(node, kind, index))
    }
    let plan: serde_json::Value = serde_json::from_str(&explanation.plan_json).unwrap();
    within(&plan[0]["Plan"], node, index)
}

#[rstest]
#[tokio::test]
async fn searches_use_their_indexes(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    load(&mut client).await;
    let query = values(4_321);
    let without = explained(&mut client, near("c", &query, 10)).await;
    assert_eq!(without.no_index_reason, "the collection has no vector index");
    assert_eq!(shape(&without), ("Seq Scan", ""));
    assert!(without.rows_scanned >= 8_000);

    for (kind, name) in
        [(Kind::Hnsw(v1::Hnsw::default()), "hnsw"), (Kind::IvfFlat(v1::IvfFlat { lists: 20 }), "ivfflat")]
    {
        build_index(&mut client, "c", kind).await;
        let plain = explained(&mut client, near("c", &query, 10)).await;
        assert_eq!(shape(&plain), ("Index Scan", name), "{plain:?}");
        assert!(plain.rows_scanned < 200, "{plain:?}");

        // Few documents match: the metadata index finds them, and their keys find their vectors.
        let selective = v1::SearchRequest { filter: Some(equals("n", &json!(7))), ..near("c", &query, 10) };
        let selective = explained(&mut client, selective).await;
        assert_eq!(shape(&selective).1, "pkey", "{selective:?}");
        assert!(uses(&selective, "Bitmap Index Scan", "metadata"), "{}", selective.plan_json);
        assert_eq!(
            selective.no_index_reason,
            "few documents match the filter, so the search compared all their vectors"
        );
        assert!(selective.rows_scanned < 200, "{selective:?}");

        // Many match: the vector index comes first.
        let broad = v1::SearchRequest { filter: Some(equals("half", &json!(1))), ..near("c", &query, 10) };
        let broad = explained(&mut client, broad).await;
        assert_eq!(shape(&broad), ("Index Scan", name), "{}", broad.plan_json);
        assert!(broad.rows_filtered > 0);

        let hybrid =
            v1::SearchRequest { mode: SearchMode::Hybrid.into(), full_text: "word7".into(), ..near("c", &query, 10) };
        let hybrid = explained(&mut client, hybrid).await;
        assert_eq!(shape(&hybrid), ("Index Scan", name), "{}", hybrid.plan_json);
        assert!(uses(&hybrid, "Bitmap Index Scan", "words"), "{}", hybrid.plan_json);

        let exact = v1::SearchParams { exact: true, ..Default::default() };
        let exact = explained(&mut client, v1::SearchRequest { params: Some(exact), ..near("c", &query, 10) }).await;
        assert_eq!(exact.no_index_reason, "the request asked for an exact search");
    }
    let texts = explained(&mut client, words("c", "word7 word8", 10)).await;
    assert_eq!(shape(&texts), ("Bitmap Heap Scan", "words"), "{texts:?}");
    assert!(texts.no_index_reason.is_empty() && texts.rows_scanned < 200);
    let ids = v1::Filter { node: Some(v1::filter::Node::Ids(v1::IdList { ids: vec!["7".into()] })) };
    let by_id = explained(&mut client, v1::SearchRequest { filter: Some(ids), ..near("c", &query, 10) }).await;
    assert!(by_id.rows_scanned < 20, "{}", by_id.plan_json);
}

#[rstest]
#[tokio::test]
async fn comparisons_that_are_never_true_are_reported(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    load(&mut client).await;
    let filter = all_of(vec![
        field("year", Test::LessThan(value(&json!("2000")))),
        any_of(vec![field("title", Test::AtLeast(value(&json!(1)))), field("title", Test::StartsWith("the".into()))]),
        field("titel", Test::Exists(true)),
        equals("year", &json!(2_000)),
    ]);
    let request = v1::SearchRequest { filter: Some(filter), ..near("c", &values(1), 10) };
    let notes = explained(&mut client, request).await.notes;
    assert_eq!(
        notes,
        [
            "`year` less_than compares strings, but the field contains numbers: nothing matches",
            "`title` at_least compares numbers, but the field contains strings: nothing matches",
            "`titel` has no value in any document",
        ]
    );
    client.create_collection(crate::support::texts("t")).await.unwrap();
    assert!(
        search(&mut client, v1::SearchRequest { explain: true, ..about("t", "fox", 1) }).await.explanation.is_some()
    );
}

/// An index on few rows is slower, so the planner does not use it.
#[tokio::test]
async fn a_scan_of_all_vectors_is_exact() {
    let server = Server::start(18).await;
    let mut client = server.client();
    client.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    let document = |i: usize| v1::Document {
        metadata: Some(object(&json!({"half": i % 2}))),
        ..vector_document(&i.to_string(), &values(i))
    };
    ingest(&mut client, "c", (0..40).map(document).collect()).await;
    for kind in [Kind::Hnsw(v1::Hnsw::default()), Kind::IvfFlat(v1::IvfFlat { lists: 2 })] {
        build_index(&mut client, "c", kind).await;
        let plain = explained(&mut client, near("c", &values(7), 5)).await;
        assert_eq!(shape(&plain), ("Seq Scan", ""), "{plain:?}");
        assert_eq!(
            plain.no_index_reason,
            "the planner of Postgres expects that comparing the vectors one by one is faster"
        );
        for filter in [equals("half", &json!(1)), field("half", Test::AtLeast(value(&json!(1))))] {
            explained(&mut client, v1::SearchRequest { filter: Some(filter), ..near("c", &values(7), 5) }).await;
        }
        let farther = v1::SearchRequest { max_distance: Some(10.0), ..near("c", &values(7), 5) };
        explained(&mut client, farther).await;
    }
}
