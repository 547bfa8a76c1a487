//! The whole walk: create, ingest, index, search, delete.

use pgfox::v1::{self, search_request::Query};
use rstest::rstest;

use crate::support::{Client, Server, text_document, texts, vector_document, vectors};

async fn search(client: &mut Client, collection: &str, query: Query, limit: i32) -> v1::SearchResponse {
    let request = v1::SearchRequest { collection: collection.into(), query: Some(query), limit, ..Default::default() };
    client.search(request).await.expect("a search").into_inner()
}

fn ids(response: &v1::SearchResponse) -> Vec<&str> {
    response.results.iter().map(|result| result.document.as_ref().expect("a document").id.as_str()).collect()
}

#[rstest]
#[tokio::test]
async fn text_in_nearest_text_out(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let created = client.create_collection(texts("foxes")).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(created.embedding.unwrap().model, "local/tiny-bert");

    let documents = ["foxes make sounds", "the moon is far", "kits are young foxes"];
    let documents: Vec<_> = documents.iter().enumerate().map(|(i, text)| text_document(&i.to_string(), text)).collect();
    let request = v1::IngestRequest { collection: "foxes".into(), documents, sequence: 7, ..Default::default() };
    let response = client.ingest(request.clone()).await.unwrap().into_inner();
    assert_eq!((response.sequence, response.upserted_count, response.updated_count), (7, 3, 0));
    assert!(response.usage.unwrap().tokens > 0);

    let again = client.ingest(request).await.unwrap().into_inner();
    assert_eq!((again.upserted_count, again.unchanged_count), (0, 3));
    assert_eq!(again.usage.unwrap().tokens, 0);

    let found = search(&mut client, "foxes", Query::Text("foxes make sounds".into()), 2).await;
    assert_eq!(ids(&found)[0], "0");
    assert!(found.results[0].distance.unwrap() < 1e-3);
    assert_eq!(found.completeness(), v1::Completeness::Exact);
    assert_eq!(found.short_reason(), v1::ShortReason::Unspecified);

    let similar = search(&mut client, "foxes", Query::DocumentId("0".into()), 10).await;
    assert_eq!(similar.results.len(), 2);
    assert!(!ids(&similar).contains(&"0"));
    assert_eq!(similar.short_reason(), v1::ShortReason::FewDocuments);
}

#[rstest]
#[tokio::test]
async fn vectors_are_indexed_and_found(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    let documents = (0..300).map(|i| vector_document(&format!("p{i}"), &[i as f32, 0.0, 1.0])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    assert_eq!(client.ingest(request).await.unwrap().into_inner().upserted_count, 300);

    let request = v1::BuildIndexRequest { collection: "points".into(), ..Default::default() };
    let mut progress = client.build_index(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(message) = progress.message().await.unwrap() {
        last = Some(message);
    }
    let last = last.expect("progress");
    assert_eq!(last.phase(), v1::IndexPhase::Ready);
    let index = last.index.unwrap();
    assert_eq!(index.state(), v1::IndexState::Ready);
    assert!(index.size_bytes > 0);

    let found = search(&mut client, "points", Query::Vector(v1::Vector { values: vec![41.2, 0.0, 1.0] }), 3).await;
    assert_eq!(ids(&found), ["p41", "p42", "p40"]);
    assert_eq!(found.completeness(), v1::Completeness::Approximate);

    let deleted = v1::DeleteDocumentsRequest {
        collection: "points".into(),
        ids: vec!["p41".into(), "none".into()],
        ..Default::default()
    };
    assert_eq!(client.delete_documents(deleted).await.unwrap().into_inner().deleted_count, 1);
    let found = search(&mut client, "points", Query::Vector(v1::Vector { values: vec![41.2, 0.0, 1.0] }), 1000).await;
    assert_eq!(found.results.len(), 299);
    assert_eq!(found.completeness(), v1::Completeness::Exact);

    let count: i64 = server.sql().await.query_one("SELECT count(*) FROM pgfox.points", &[]).await.unwrap().get(0);
    assert_eq!(count, 299);
    client.drop_index(v1::DropIndexRequest { collection: "points".into(), name: String::new() }).await.unwrap();
    client
        .delete_collection(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() })
        .await
        .unwrap();
}
