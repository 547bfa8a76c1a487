//! An embedding provider that limits, fails, talks nonsense or stalls.

use std::time::Duration;

use pgfox_server::OpenAiConfig;

use super::*;
use crate::{
    provider::{Answer, DIMENSIONS, Provider},
    support::{text_document, vector_document},
};

/// A server on a database connection of its own, and a collection that the provider embeds.
async fn start(provider: &Provider) -> Server {
    let server = Server::start_with(18, |setup| {
        setup.openai = OpenAiConfig {
            base_url: Some(provider.base_url()),
            max_retries: 0,
            request_timeout: Duration::from_millis(500),
            ..OpenAiConfig::default()
        };
        setup.pool_size = 1;
        setup.pool_wait = Duration::from_millis(200);
    })
    .await;
    let embedding = v1::Embedding { model: "openai/fixed-test".into(), ..Default::default() };
    let collection = v1::Collection { name: "foxes".into(), embedding: Some(embedding), ..Default::default() };
    let request = v1::CreateCollectionRequest { collection: Some(collection) };
    server.client().create_collection(request).await.unwrap();
    server
}

async fn search_text(client: &mut Client, text: &str) -> Result<v1::SearchResponse, Status> {
    let query = Some(v1::search_request::Query::Text(text.into()));
    let request = v1::SearchRequest { collection: "foxes".into(), query, ..Default::default() };
    Ok(client.search(request).await?.into_inner())
}

#[tokio::test]
async fn its_failures_are_told_and_nothing_is_stored() {
    let provider = Provider::start().await;
    let server = start(&provider).await;
    let mut client = server.client();
    let unavailable = || expected(Code::Unavailable, "PROVIDER_UNAVAILABLE", true);
    let limited = || expected(Code::ResourceExhausted, "PROVIDER_RATE_LIMITED", true);
    let json = vec![("content-type", "application/json".into())];
    let cases = [
        (Answer::Status(429), limited()),
        (Answer::Raw(429, vec![("retry-after", "7".into())], "slow down".into()), limited()),
        (Answer::Raw(429, json.clone(), "{".into()), limited()),
        (Answer::QuotaExhausted, expected(Code::ResourceExhausted, "PROVIDER_QUOTA_EXHAUSTED", false)),
        (Answer::Status(500), unavailable()),
        (Answer::Raw(503, vec![], "<html>".into()), unavailable()),
        (Answer::Body("garbage".into()), unavailable()),
        (Answer::Body(r#"{"data": []}"#.into()), unavailable()),
        (Answer::TooFew, unavailable()),
        (Answer::Slow(Duration::from_secs(2)), unavailable()),
        (Answer::Hangup, unavailable()),
        (Answer::CutOff, unavailable()),
        (Answer::Status(401), expected(Code::FailedPrecondition, "PROVIDER_REFUSED", false)),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        let text = format!("fox number {number}");
        provider.script(answer.clone(), 1);
        let status = ingest(&mut client, "foxes", text_document("fox", &text)).await.expect_err("no embedding");
        assert_eq!(told(&status), expected, "Ingest with {answer:?}: {status:?}");
        provider.script(answer.clone(), 1);
        let status = search_text(&mut client, &text).await.expect_err("no embedding");
        assert_eq!(told(&status), expected, "Search with {answer:?}: {status:?}");
        assert_eq!(get(&mut client, "foxes", "fox").await.unwrap().missing_ids, ["fox"]);
    }
    // The state of the provider is told apart from that of the service.
    assert_eq!(health(&server, "pgfox.embedder").await, ServingStatus::NotServing);
    assert_eq!(health(&server, "").await, ServingStatus::Serving);
    ingest(&mut client, "foxes", text_document("fox", "a fox")).await.unwrap();
    assert_eq!(search_text(&mut client, "a fox").await.unwrap().results.len(), 1);
    eventually("the embedder serves", async || health(&server, "pgfox.embedder").await == ServingStatus::Serving).await;
}

#[tokio::test]
async fn its_wait_is_passed_on() {
    let provider = Provider::start().await;
    let server = start(&provider).await;
    provider.script(Answer::Raw(429, vec![("retry-after", "7".into())], String::new()), 1);
    let status = search_text(&mut server.client(), "fox").await.expect_err("a limit");
    let retry = status.get_error_details().retry_info().cloned().unwrap().retry_delay.unwrap();
    assert!((6..=8).contains(&retry.as_secs()), "{retry:?}");
}

#[tokio::test]
async fn no_database_connection_is_held_while_it_is_slow() {
    let provider = Provider::start().await;
    let server = start(&provider).await;
    let (mut client, mut other) = (server.client(), server.client());
    let held = provider.hold();
    let slow = tokio::spawn(async move { ingest(&mut client, "foxes", text_document("slow", "a slow fox")).await });
    eventually("the provider is asked", async || provider.under_way() == 1).await;
    // All of it over the one connection there is.
    ingest(&mut other, "foxes", vector_document("quick", &[0.5; DIMENSIONS])).await.unwrap();
    assert_eq!(search(&mut other, "foxes", &[0.5; DIMENSIONS]).await.unwrap().results.len(), 1);
    held.notify_one();
    slow.await.unwrap().unwrap();
    assert_eq!(search(&mut other, "foxes", &[0.5; DIMENSIONS]).await.unwrap().results.len(), 2);
}
