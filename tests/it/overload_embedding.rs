//! Searches beside more documents than a model can embed.

use std::time::Duration;

use pgfox_server::{EmbedError, Embedders, EmbeddingConfig, Model, OpenAiConfig};
use tokio::task::JoinSet;

use crate::{
    calls::{about, ingest, search},
    provider::{DIMENSIONS, Provider},
    support::{AN_HOUR, Server, eventually, in_time, text_document, texts},
};

/// Requests at a time, a quarter of which are for queries.
const CONCURRENCY: usize = 8;
const FOR_DOCUMENTS: usize = 6;

/// One text in a request, so that few texts keep the provider busy.
fn config(provider: &Provider) -> OpenAiConfig {
    OpenAiConfig {
        base_url: Some(provider.base_url()),
        concurrency: CONCURRENCY,
        max_batch_texts: 1,
        request_timeout: AN_HOUR,
        ..OpenAiConfig::default()
    }
}

fn model() -> Model {
    Model { name: "openai/fixed-test".to_owned(), dimensions: DIMENSIONS, ask_dimensions: false }
}

#[tokio::test]
async fn a_search_finds_the_provider_free_while_documents_wait() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, |setup| setup.openai = config(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("foxes")).await.expect("created");
    ingest(&mut client, "foxes", vec![text_document("first", "the first fox")]).await;

    let asked = provider.requests();
    let held: Vec<_> = (0..FOR_DOCUMENTS).map(|_| provider.hold()).collect();
    let mut ingests = JoinSet::new();
    for number in 0..2 {
        let mut client = client.clone();
        ingests.spawn(async move {
            let document = |i| text_document(&format!("{number}-{i}"), &format!("fox {i} of {number}"));
            ingest(&mut client, "foxes", (0..10).map(document).collect()).await
        });
    }
    eventually("documents take what they may", async || provider.under_way() == FOR_DOCUMENTS).await;
    for query in 0..5 {
        let found = in_time("a search", search(&mut client, about("foxes", &format!("query {query}"), 1))).await;
        assert_eq!(found.results.len(), 1);
    }
    // Only the documents that hang were sent, and the queries.
    assert_eq!((provider.under_way(), provider.requests() - asked), (FOR_DOCUMENTS, FOR_DOCUMENTS + 5));

    held.iter().for_each(|held| held.notify_one());
    while let Some(ingested) = in_time("an ingest", ingests.join_next()).await {
        assert_eq!(ingested.expect("ingested").upserted_count, 10);
    }
    assert!(provider.most_under_way() <= CONCURRENCY);
}

#[tokio::test]
async fn callers_that_ingest_take_turns() {
    let provider = Provider::start().await;
    let embedders =
        Embedders::new(EmbeddingConfig { openai: config(&provider), ..EmbeddingConfig::default() }).unwrap();
    let held: Vec<_> = (0..FOR_DOCUMENTS).map(|_| provider.hold()).collect();
    let mut large = JoinSet::new();
    let other = embedders.clone();
    large.spawn(async move { other.embed(&model(), &["large"; 30]).await.unwrap() });
    eventually("the large one takes all turns", async || provider.under_way() == FOR_DOCUMENTS).await;
    let model = model();
    let small = embedders.embed(&model, &["small"]);
    tokio::pin!(small);
    assert!(tokio::time::timeout(Duration::ZERO, &mut small).await.is_err());
    held[0].notify_one();
    in_time("the small one", small).await.unwrap();
    // The large one had a single place in the queue.
    let before = provider.bodies().iter().take_while(|body| body["input"][0] == "large").count();
    assert!(before <= FOR_DOCUMENTS + 1, "{before} requests came first");
    held.iter().for_each(|held| held.notify_one());
    in_time("the large one", large.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_queries_are_not() {
    let provider = Provider::start().await;
    let config = OpenAiConfig { concurrency: 2, ..config(&provider) };
    let embedders = Embedders::new(EmbeddingConfig { openai: config, ..EmbeddingConfig::default() }).unwrap();
    let held = provider.hold();
    let mut calls = JoinSet::new();
    for number in 0..600 {
        let embedders = embedders.clone();
        calls.spawn(async move { embedders.embed(&model(), &[&format!("text {number}")]).await });
    }
    // One is under way and 500 wait.
    for _ in 501..600 {
        let refused = in_time("a refusal", calls.join_next()).await.unwrap().unwrap();
        assert!(matches!(refused, Err(EmbedError::Busy)), "{refused:?}");
    }
    in_time("a query", embedders.embed_queries(&model(), &["a query"])).await.unwrap();
    assert_eq!(provider.requests(), 2);
    held.notify_one();
    while let Some(embedded) = in_time("the rest", calls.join_next()).await {
        embedded.unwrap().unwrap();
    }
    assert_eq!(provider.texts(), 502);
}
