//! Vectors with too many dimensions for an index: searches read their codes.

use pgfox::v1::VectorType;

use super::*;

/// As VECTOR_TYPE_VECTOR.
const MANY: usize = 2_001;

fn vector(numbers: &mut Numbers) -> Vec<f32> {
    let mut centre = Numbers(1 + numbers.below(10) as u64 * 7_919);
    (0..MANY).map(|_| centre.next() + numbers.next() - 1.0).collect()
}

fn document(numbers: &mut Numbers, id: usize) -> v1::Document {
    let metadata = Some(object(&json!({"year": 1950 + id % 50})));
    v1::Document { metadata, ..vector_document(&format!("{id:05}"), &vector(numbers)) }
}

async fn load_many(client: &mut Client, numbers: &mut Numbers) {
    let mut request = vectors("c", MANY as i32, Distance::Cosine);
    request.collection.as_mut().unwrap().vector_type = VectorType::Vector.into();
    client.create_collection(request).await.unwrap();
    for first in (0..1_200).step_by(400) {
        ingest(client, "c", (first..first + 400).map(|id| document(numbers, id)).collect()).await;
    }
}

/// Writes documents in every way.
async fn write(client: &mut Client, numbers: &mut Numbers, ids: std::ops::Range<usize>) {
    ingest(client, "c", ids.clone().map(|id| document(numbers, id)).collect()).await;
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: vec![format!("{:05}", ids.start)],
        metadata: Some(object(&json!({"year": 7}))),
        ..Default::default()
    };
    assert_eq!(client.update_metadata(update).await.unwrap().into_inner().updated_count, 1);
    let ids = vec![format!("{:05}", ids.start + 1)];
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids, ..Default::default() };
    assert_eq!(client.delete_documents(delete).await.unwrap().into_inner().deleted_count, 1);
}

#[tokio::test]
async fn documents_change_while_codes_without_fields_are_made_and_used() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(47);
    load_many(&mut client, &mut numbers).await;
    // The job waits for this document.
    let other = server.sql().await;
    other.batch_execute("BEGIN; SELECT FROM pgfox_internal.documents_1 WHERE id = '00000' FOR UPDATE").await.unwrap();
    let admin = server.sql().await;
    admin.batch_execute("ANALYZE").await.unwrap();
    eventually("codes are being made", async || {
        let sql = "SELECT count(*) FROM pgfox_internal.codes WHERE state = 'building'";
        admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    write(&mut client, &mut numbers, 1_100..1_300).await;
    other.batch_execute("COMMIT").await.unwrap();
    await_codes(&server, 0).await;
    write(&mut client, &mut numbers, 1_200..1_400).await;
    are_in_step(&server).await;
}

#[tokio::test]
async fn codes_take_the_place_of_an_index() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(43);
    load_many(&mut client, &mut numbers).await;
    let query = vector(&mut numbers);
    server.sql().await.batch_execute("ANALYZE").await.unwrap();
    await_codes(&server, 0).await;

    let compare = async |client: &mut Client, numbers: &mut Numbers, filter: Option<v1::Filter>| {
        let (mut found, mut wanted) = (0, 0);
        let mut how = None;
        for limit in [10, 10, 40] {
            let query = vector(numbers);
            let request = v1::SearchRequest { filter: filter.clone(), explain: true, ..near("c", &query, limit) };
            let response = search(client, request.clone()).await;
            let params = Some(v1::SearchParams { exact: true, ..Default::default() });
            let exact = search(client, v1::SearchRequest { params, ..request }).await;
            assert_eq!(exact.completeness(), Completeness::Exact);
            assert_eq!(response.results.len(), exact.results.len());
            let exact = ids(&exact);
            wanted += exact.len();
            found += ids(&response).iter().filter(|id| exact.contains(id)).count();
            let explanation = response.explanation.as_ref().unwrap();
            how = Some((explanation.index.starts_with("codes_"), response.completeness()));
        }
        assert!(found as f64 >= 0.85 * wanted as f64, "{found} of {wanted}");
        how.unwrap()
    };
    let since = || Some(field("year", Test::AtLeast(value(&json!(1960)))));
    assert_eq!(compare(&mut client, &mut numbers, None).await, (true, Completeness::Approximate));
    assert_eq!(compare(&mut client, &mut numbers, since()).await, (false, Completeness::Exact));
    // More results than codes that were compared by default.
    let all = search(&mut client, near("c", &query, 1_000)).await;
    assert_eq!(all.results.len(), 1_000);

    let request = v1::UpdateCollectionRequest {
        collection: Some(v1::Collection {
            name: "c".into(),
            metadata_indexes: declared(&[("year", MetadataIndexType::Number)]),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["metadata_indexes".into()] }),
    };
    client.update_collection(request).await.unwrap();
    await_codes(&server, 1).await;
    are_in_step(&server).await;
    assert_eq!(compare(&mut client, &mut numbers, since()).await, (true, Completeness::Approximate));
    let one = Some(equals("year", &json!(1970)));
    assert_eq!(compare(&mut client, &mut numbers, one).await, (true, Completeness::Exact));
    assert_eq!(compare(&mut client, &mut numbers, None).await, (true, Completeness::Approximate));
}
