//! Servers behind a PgBouncer in transaction mode that loses prepared statements.

use std::time::Duration;

use pgfox::v1::{self, index_spec::Kind, search_request::Query};
use tokio::task::JoinSet;

use crate::{
    calls::{about, build_index, get, ids, ingest, near, search},
    pooler::Pooler,
    support::{Client, Server, Setup, cluster, create_database, sql, text_document, texts, vector_document, vectors},
};

/// A server on its own database through a pooler, with the URL that leads through the pooler.
async fn start(sessions: usize) -> Option<(Pooler, String, Server)> {
    let database_url = create_database(&cluster(18).postgres).await;
    let pooler = Pooler::start(&database_url, sessions)?;
    let pooled_url = pooler.url(&database_url);
    let server = start_through(&database_url, &pooled_url, "pgfox").await;
    Some((pooler, pooled_url, server))
}

async fn start_through(database_url: &str, pooled_url: &str, schema: &str) -> Server {
    let mut setup = Setup::new(database_url.to_owned());
    (setup.pooled_url, setup.unnamed_statements) = (Some(pooled_url.to_owned()), true);
    setup.schema = schema.into();
    let server = setup.start().await;
    server.ready().await;
    server
}

/// Fails if a session behind the pooler has a prepared statement. Concurrent transactions get different sessions.
async fn nothing_is_prepared(pooled_url: &str, sessions: usize) {
    let mut open = Vec::new();
    for _ in 0..sessions {
        let client = sql(pooled_url).await;
        client.batch_execute("BEGIN").await.unwrap();
        let found = client.simple_query("SELECT name, statement FROM pg_prepared_statements").await.unwrap();
        let found: Vec<_> = found
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(1).map(str::to_owned),
                _ => None,
            })
            .collect();
        assert!(found.is_empty(), "{found:?}");
        open.push(client);
    }
}

#[tokio::test]
async fn a_server_that_would_prepare_statements_does_not_start() {
    let database_url = create_database(&cluster(18).postgres).await;
    for sessions in [1, 4] {
        let Some(pooler) = Pooler::start(&database_url, sessions) else { return };
        let mut setup = Setup::new(database_url.clone());
        (setup.pooled_url, setup.unnamed_statements) = (Some(pooler.url(&database_url)), false);
        let error = setup.start().await.ended().await.unwrap_err();
        assert!(error.to_string().contains("--unnamed-statements"), "{error:#}");
    }
}

#[tokio::test]
async fn every_kind_of_call_goes_through() {
    const SESSIONS: usize = 3;
    let Some((_pooler, pooled_url, server)) = start(SESSIONS).await else { return };
    let mut client = server.client();
    let method = v1::ChunkingMethod::Text.into();
    let chunking = v1::Chunking { method, max_size: 40, ..Default::default() };
    let mut request = texts("chunked");
    request.collection.as_mut().unwrap().chunking = Some(chunking);
    request.collection.as_mut().unwrap().aliases = vec!["pages".into()];
    client.create_collection(request).await.unwrap();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    let mut request = vectors("halves", 3, v1::Distance::Cosine);
    request.collection.as_mut().unwrap().vector_type = v1::VectorType::Halfvec.into();
    client.create_collection(request).await.unwrap();

    let mut callers = JoinSet::new();
    for caller in 0..6 {
        callers.spawn(calls(server.client(), caller));
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    for collection in ["points", "halves"] {
        build_index(&mut client, collection, Kind::Hnsw(v1::Hnsw::default())).await;
        let found = search(&mut client, near(collection, &[1.0, 2.0, 3.0], 5)).await;
        assert_eq!(found.results.len(), 5);
    }
    nothing_is_prepared(&pooled_url, SESSIONS).await;
}

/// The calls of one caller, several times. Each caller has its own documents.
async fn calls(mut client: Client, caller: usize) {
    let text = "Foxes are small to medium-sized mammals. They have a flattened skull. They hunt alone at night.";
    for round in 0..5 {
        let id = |number: usize| format!("{caller}-{round}-{number}");
        // Enough documents for a COPY if statements were prepared.
        for collection in ["points", "halves"] {
            let documents =
                (0..80).map(|number| vector_document(&id(number), &[number as f32, round as f32, 1.0])).collect();
            ingest(&mut client, collection, documents).await;
            let document = get(&mut client, collection, &[&id(7)]).await.remove(0);
            assert_eq!(document.vector.unwrap().values, [7.0, round as f32, 1.0]);
            let request = v1::SearchRequest { include_vector: true, ..near(collection, &[7.0, round as f32, 1.0], 3) };
            let found = search(&mut client, request).await;
            assert_eq!(found.results.len(), 3);
            assert_eq!(found.results[0].document.as_ref().unwrap().vector.as_ref().unwrap().values.len(), 3);
        }
        let documents = (0..3).map(|number| text_document(&id(number), &format!("{text} {number}"))).collect();
        ingest(&mut client, "chunked", documents).await;
        ingest(&mut client, "chunked", vec![text_document(&id(0), &text.replace("alone", "in pairs"))]).await;
        let found = search(&mut client, about("pages", "They hunt alone at night.", 5)).await;
        assert!(!ids(&found).is_empty());
        let query = Some(Query::Text("flattened skull".into()));
        let mode = v1::SearchMode::Hybrid.into();
        let request = v1::SearchRequest { collection: "pages".into(), query, mode, limit: 3, ..Default::default() };
        assert_eq!(search(&mut client, request).await.results.len(), 3);
        let request = v1::ListDocumentsRequest {
            collection: "chunked".into(),
            include_vector: true,
            page_size: 10,
            ..Default::default()
        };
        assert!(!client.list_documents(request).await.unwrap().into_inner().documents.is_empty());
        let request =
            v1::DeleteDocumentsRequest { collection: "chunked".into(), ids: vec![id(1)], ..Default::default() };
        assert_eq!(client.delete_documents(request).await.unwrap().into_inner().deleted_count, 1);
        let listed = client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.collections.len(), 3);
    }
}

#[tokio::test]
async fn two_servers_share_a_pooler() {
    let Some((_pooler, pooled_url, first)) = start(3).await else { return };
    // Both use the same database, so that the pooler lends them the same sessions.
    let second = start_through(&first.database_url, &pooled_url, "other").await;
    let mut callers = JoinSet::new();
    for (server, dimensions) in [(&first, 2), (&second, 5)] {
        let mut client = server.client();
        client.create_collection(vectors("points", dimensions, v1::Distance::L2)).await.unwrap();
        let values = vec![1.0; dimensions as usize];
        let documents = (0..10).map(|number| vector_document(&number.to_string(), &values)).collect();
        ingest(&mut client, "points", documents).await;
        for _ in 0..4 {
            let (mut client, values) = (server.client(), values.clone());
            callers.spawn(async move {
                for _ in 0..50 {
                    assert_eq!(search(&mut client, near("points", &values, 20)).await.results.len(), 10);
                    let listed = client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
                    let listed = listed.into_inner().collections;
                    assert_eq!(listed.len(), 1);
                    assert_eq!(listed[0].embedding.as_ref().unwrap().dimensions, dimensions);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    nothing_is_prepared(&pooled_url, 3).await;
}
