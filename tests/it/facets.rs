//! FacetDocuments: how many documents have each value of a field.

use pgfox::v1::{self, condition::Test};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::{
    calls::invalid,
    metadata::{document, equals, field, fill, value},
    support::{Client, Server},
};

async fn facet(client: &mut Client, request: v1::FacetDocumentsRequest) -> v1::FacetDocumentsResponse {
    let request = v1::FacetDocumentsRequest { collection: "c".into(), ..request };
    client.facet_documents(request).await.expect("facets").into_inner()
}

fn of(field: &str) -> v1::FacetDocumentsRequest {
    v1::FacetDocumentsRequest { field: field.into(), ..Default::default() }
}

#[track_caller]
fn has(response: &v1::FacetDocumentsResponse, values: &[(Json, i64)], others: i64, without: i64) {
    let found: Vec<_> = response.values.iter().map(|facet| (facet.value.clone().unwrap(), facet.count)).collect();
    let wanted: Vec<_> = values.iter().map(|(json, count)| (value(json), *count)).collect();
    assert_eq!(found, wanted);
    assert_eq!((response.other_value_count, response.without_value_count), (others, without));
    assert!(values.is_empty() || response.notes.is_empty());
}

#[rstest]
#[tokio::test]
async fn documents_are_counted_by_value(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let metadata = [
        json!({"v": "a", "n": 1, "tags": ["x", "y", "x"], "o": [{"k": "p"}, {"k": "q"}, {"k": "p"}]}),
        json!({"v": "a", "n": 2.5, "tags": ["x", 7, null, {}, ["z"]], "o": {"k": "p"}}),
        json!({"v": "b", "n": -0.5, "tags": "x", "o": [{"k": ["p", "r"]}]}),
        json!({"v": 1, "n": -10, "tags": []}),
        json!({"v": 1.0, "n": "30", "tags": null}),
        json!({"v": true, "n": 29.999_999_999_999_996}),
        json!({"v": "B", "n": 30}),
        json!({"v": {}}),
        json!({}),
    ];
    fill(&mut client, metadata.iter().enumerate().map(|(i, json)| document(&format!("{i}"), json)).collect()).await;

    let values = [(json!(1), 2), (json!("a"), 2), (json!(true), 1), (json!("B"), 1), (json!("b"), 1)];
    has(&facet(&mut client, of("v")).await, &values, 0, 2);
    has(&facet(&mut client, v1::FacetDocumentsRequest { limit: 2, ..of("v") }).await, &values[..2], 3, 2);
    has(&facet(&mut client, of("tags")).await, &[(json!("x"), 3), (json!(7), 1), (json!("y"), 1)], 0, 6);
    has(
        &facet(&mut client, of("tags[]")).await,
        &[(json!("x"), 2), (json!(7), 1), (json!("y"), 1), (json!("z"), 1)],
        0,
        7,
    );
    has(&facet(&mut client, of("o[].k")).await, &[(json!("p"), 2), (json!("q"), 1), (json!("r"), 1)], 0, 7);
    let some = v1::FacetDocumentsRequest { filter: Some(equals("v", &json!("a"))), ..of("tags") };
    has(&facet(&mut client, some).await, &[(json!("x"), 2), (json!(7), 1), (json!("y"), 1)], 0, 0);

    // Buckets are in the order of the numbers, and the fullest ones are shown.
    let buckets = |bucket_width, limit| v1::FacetDocumentsRequest { bucket_width, limit, ..of("n") };
    let tens = [(json!(-10), 2), (json!(0), 2), (json!(20), 1), (json!(30), 1)];
    has(&facet(&mut client, buckets(10.0, 0)).await, &tens, 0, 3);
    has(&facet(&mut client, buckets(10.0, 2)).await, &tens[..2], 2, 3);
    let tenths = [(-10.0, 1), (-0.5, 1), (1.0, 1), (2.5, 1), (29.9, 1), (30.0, 1)].map(|(n, count)| (json!(n), count));
    has(&facet(&mut client, buckets(0.1, 0)).await, &tenths, 0, 3);
    assert_eq!(facet(&mut client, buckets(f64::MAX, 0)).await.values.len(), 2);
    assert_eq!(facet(&mut client, buckets(5e-324, 0)).await.values.len(), 6);
}

#[tokio::test]
async fn nothing_to_count_is_explained() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    let none = facet(&mut client, of("v")).await;
    has(&none, &[], 0, 0);
    assert_eq!(none.notes, ["the collection has no documents"]);
    crate::calls::ingest(&mut client, "c", vec![document("a", &json!({"v": 1}))]).await;
    let absent = facet(&mut client, of("w")).await;
    has(&absent, &[], 0, 1);
    assert_eq!(absent.notes, ["`w` has no value in any document"]);
    let filter = Some(field("v", Test::StartsWith("x".into())));
    let mistaken = facet(&mut client, v1::FacetDocumentsRequest { filter, ..of("v") }).await;
    assert_eq!(mistaken.notes, ["`v` starts_with compares strings, but the field contains numbers: nothing matches"]);
}

#[tokio::test]
async fn requests_are_checked() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    let wrong = v1::FacetDocumentsRequest { limit: 1_001, bucket_width: -1.0, ..of("a[0]") };
    invalid(client.facet_documents(wrong).await, &["collection", "field", "limit", "bucket_width"]);
    for bucket_width in [f64::NAN, f64::INFINITY] {
        let wrong = v1::FacetDocumentsRequest { collection: "c".into(), bucket_width, ..of("") };
        invalid(client.facet_documents(wrong).await, &["field", "bucket_width"]);
    }
}

/// Many different values neither fill the memory of the server nor exceed the limit.
#[tokio::test]
async fn many_values_are_counted() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let metadata = |i: usize| json!({"n": i, "tags": (0..20).map(|j| format!("t{}", i * 20 + j)).collect::<Vec<_>>()});
    fill(&mut client, (0..3_000).map(|i| document(&format!("d{i}"), &metadata(i))).collect()).await;
    let tags = facet(&mut client, v1::FacetDocumentsRequest { limit: 1_000, ..of("tags") }).await;
    assert_eq!((tags.values.len(), tags.other_value_count), (1_000, 59_000));
    let hundreds = facet(&mut client, v1::FacetDocumentsRequest { limit: 1_000, bucket_width: 100.0, ..of("n") }).await;
    assert_eq!(hundreds.values.len(), 30);
    assert!(hundreds.values.iter().all(|bucket| bucket.count == 100));
}
