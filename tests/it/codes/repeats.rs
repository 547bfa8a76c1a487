//! Searches whose way along the vector index finds too few: they repeat by codes.

use super::*;
use crate::{
    calls::{about, with_provider},
    provider::Provider,
    support::{Setup, cluster, create_database, text_document, texts},
};

/// A server whose ways along the vector index end early.
async fn start(change: impl FnOnce(&mut Setup)) -> Server {
    let database_url = create_database(&cluster(18).postgres).await;
    let admin = sql(&database_url).await;
    let database: String = admin.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
    admin.batch_execute(&format!("ALTER DATABASE {database} SET hnsw.max_scan_tuples = 1")).await.unwrap();
    let mut setup = Setup::new(database_url);
    change(&mut setup);
    let server = setup.start().await;
    server.ready().await;
    server
}

/// Without an index over all metadata, which would serve the filter.
fn place_declared() -> Vec<v1::MetadataIndex> {
    declared(&[("place", MetadataIndexType::String)])
}

async fn await_index_and_codes(client: &mut Client, server: &Server) {
    build_index(client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    await_codes(server, 1).await;
    // Lets Postgres expect many matches, so that searches follow the index.
    let sql = "UPDATE pg_class SET reltuples = 10000000 WHERE relname ~ '^codes_[0-9]+_[0-9]+$';
               UPDATE pgfox_internal.codes SET vectors = 10000000;
               UPDATE pgfox_internal.collections SET revision = revision + 1";
    server.sql().await.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_search_by_codes_follows_within_the_time_to_fill_up() {
    for fill_up in [Duration::from_secs(20), Duration::ZERO] {
        let server = start(|setup| setup.limits.fill_up = fill_up).await;
        let mut client = server.client();
        let mut numbers = Numbers(31);
        let mut request = vectors("c", DIMENSIONS as i32, Distance::L2);
        request.collection.as_mut().unwrap().metadata_indexes = place_declared();
        client.create_collection(request).await.unwrap();
        for first in (0..3_000).step_by(1_000) {
            let document = |id: usize| {
                let (place, offset) = if id.is_multiple_of(2) { ("near", 0.0) } else { ("far", 100.0) };
                let vector: Vec<f32> = (0..DIMENSIONS).map(|_| offset + numbers.next()).collect();
                let metadata = Some(object(&json!({ "place": place })));
                v1::Document { metadata, ..vector_document(&format!("{id:05}"), &vector) }
            };
            ingest(&mut client, "c", (first..first + 1_000).map(document).collect()).await;
        }
        await_index_and_codes(&mut client, &server).await;
        let filter = Some(equals("place", &json!("far")));
        let request = v1::SearchRequest { filter, explain: true, ..near("c", &[0.5; DIMENSIONS], 10) };
        let response = search(&mut client, request).await;
        let index = &response.explanation.as_ref().unwrap().index;
        if fill_up.is_zero() {
            assert_eq!(response.completeness(), Completeness::Truncated);
            assert!(response.results.is_empty() && !index.starts_with("codes_"), "{index}");
        } else {
            assert_eq!(response.results.len(), 10);
            assert!(index.starts_with("codes_"), "{index}");
        }
    }
}

#[tokio::test]
async fn a_wider_search_of_passages_is_by_codes_too() {
    let provider = Provider::start().await;
    let server = start(with_provider(&provider)).await;
    let mut client = server.client();
    let mut request = texts("c");
    let collection = request.collection.as_mut().unwrap();
    collection.metadata_indexes = place_declared();
    collection.chunking = Some(v1::Chunking {
        method: v1::ChunkingMethod::Text.into(),
        unit: v1::ChunkUnit::Characters.into(),
        max_size: 100,
        ..Default::default()
    });
    client.create_collection(request).await.unwrap();
    // Each sentence becomes a passage.
    let document = |id: String, place: &str, words: &str, passages: usize| {
        let text: Vec<String> = (0..passages).map(|number| format!("{} {id} {number}", [words; 5].join(" "))).collect();
        let metadata = Some(object(&json!({ "place": place })));
        v1::Document { metadata, ..text_document(&id, &text.join("\n\n")) }
    };
    let mut documents = vec![document("long".into(), "far", "owl fox ant", 150)];
    documents.extend((0..20).map(|number| document(format!("short{number}"), "far", "owl elk bat", 40)));
    documents.extend((0..10).map(|number| document(format!("near{number}"), "near", "fox fox ant", 100)));
    ingest(&mut client, "c", documents).await;
    await_index_and_codes(&mut client, &server).await;
    let request = v1::SearchRequest {
        filter: Some(equals("place", &json!("far"))),
        group_by_document: true,
        explain: true,
        ..about("c", "fox fox ant", 10)
    };
    let response = search(&mut client, request).await;
    assert_eq!(response.results.len(), 10);
    assert_eq!(response.results[0].document.as_ref().unwrap().id, "long");
    let index = &response.explanation.as_ref().unwrap().index;
    assert!(index.starts_with("codes_"), "{index}");
}
