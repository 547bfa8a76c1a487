//! An embedding provider that limits the rate, fails, answers nonsense or stalls.

use std::time::Duration;

use pgfox_server::OpenAiConfig;

use super::*;
use crate::{
    provider::{Answer, DIMENSIONS, Provider},
    support::{AN_HOUR, text_document, vector_document},
};

const KEY: &str = "sk-proj-Zq9vault8817tail";

/// A server on a database connection of its own, and a collection that the provider embeds.
async fn start(provider: &Provider) -> Server {
    start_with(provider, |_| {}).await
}

async fn start_with(provider: &Provider, change: impl FnOnce(&mut OpenAiConfig)) -> Server {
    let server = Server::start_with(18, |setup| {
        setup.openai = OpenAiConfig {
            base_url: Some(provider.base_url()),
            max_retries: 0,
            request_timeout: Duration::from_millis(500),
            api_key: Some(KEY.into()),
            ..OpenAiConfig::default()
        };
        change(&mut setup.openai);
        setup.pool_size = 1;
        setup.pool_wait = Duration::from_millis(200);
    })
    .await;
    let embedding = v1::Embedding { model: "openai/fixed-test".into(), ..Default::default() };
    let collection = v1::Collection { name: "foxes".into(), embedding: Some(embedding), ..Default::default() };
    let request = v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() };
    server.client().create_collection(request).await.unwrap();
    server
}

async fn search_text(client: &mut Client, text: &str) -> Result<v1::SearchResponse, Status> {
    let query = Some(v1::search_request::Query::Text(text.into()));
    let request = v1::SearchRequest { collection: "foxes".into(), query, ..Default::default() };
    Ok(client.search(request).await?.into_inner())
}

#[tokio::test]
async fn its_failures_are_reported_and_nothing_is_stored() {
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
        assert_eq!(reported(&status), expected, "Ingest with {answer:?}: {status:?}");
        provider.script(answer.clone(), 1);
        let status = search_text(&mut client, &text).await.expect_err("no embedding");
        assert_eq!(reported(&status), expected, "Search with {answer:?}: {status:?}");
        assert_eq!(get(&mut client, "foxes", "fox").await.unwrap().missing_ids, ["fox"]);
    }
    // The state of the provider is separate from that of the service.
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
    // All of this over the single connection.
    ingest(&mut other, "foxes", vector_document("quick", &[0.5; DIMENSIONS])).await.unwrap();
    assert_eq!(search(&mut other, "foxes", &[0.5; DIMENSIONS]).await.unwrap().results.len(), 1);
    held.notify_one();
    slow.await.unwrap().unwrap();
    assert_eq!(search(&mut other, "foxes", &[0.5; DIMENSIONS]).await.unwrap().results.len(), 2);
}

/// Callers give up long before an attempt of the server ends.
#[tokio::test]
async fn one_that_hangs_is_reported_even_if_callers_leave() {
    let provider = Provider::start().await;
    let server = start_with(&provider, |openai| {
        (openai.request_timeout, openai.outage_lasts) = (AN_HOUR, AN_HOUR);
        openai.hangs_after = Duration::from_millis(300);
    })
    .await;
    let mut client = server.client();
    assert_eq!(health(&server, "pgfox.embedder").await, ServingStatus::Serving);
    let _held = provider.hold();
    let query = Some(v1::search_request::Query::Text("a fox".into()));
    let mut request =
        tonic::Request::new(v1::SearchRequest { collection: "foxes".into(), query, ..Default::default() });
    request.set_timeout(Duration::from_secs(1));
    let status = client.search(request).await.expect_err("no embedding");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let reported = async |status| health(&server, "pgfox.embedder").await == status;
    eventually("the hanging provider is reported", async || reported(ServingStatus::NotServing).await).await;
    assert_eq!(health(&server, "").await, ServingStatus::Serving);
    search_text(&mut client, "another fox").await.unwrap();
    eventually("it is back", async || reported(ServingStatus::Serving).await).await;
}

#[tokio::test]
async fn an_outage_is_forgotten_if_nobody_calls() {
    let provider = Provider::start().await;
    let server = start_with(&provider, |openai| openai.outage_lasts = Duration::from_secs(3)).await;
    provider.script(Answer::Status(500), 1);
    search_text(&mut server.client(), "fox").await.expect_err("it fails");
    let reported = async |status| health(&server, "pgfox.embedder").await == status;
    eventually("the outage is reported", async || reported(ServingStatus::NotServing).await).await;
    let asked = provider.requests();
    eventually("the outage is forgotten", async || reported(ServingStatus::Serving).await).await;
    assert_eq!(provider.requests(), asked);
}

/// The provider's message follows the text of pgfox, shortened and without secrets.
#[tokio::test]
async fn its_words_are_made_fit_for_callers() {
    let provider = Provider::start().await;
    let server = start(&provider).await;
    let mut client = server.client();
    let host = provider.base_url();
    let said = |text: &str| serde_json::json!({ "error": { "message": text } }).to_string();
    let page = format!("<html><body>{}{KEY}</body></html>", "<p>Bad gateway</p>".repeat(2_700));
    let bodies = [
        (said(&format!("wrong key {KEY}")), Some("it says: wrong key ***")),
        (
            said("wrong key Zq9vault***tail of org-4711abcd, ask jane@example.org"),
            Some("wrong key *** of ***, ask ***"),
        ),
        (said("no such\r\n\tmodel\u{0}\u{1b}"), Some("it says: no such model")),
        (said("Authorization: Bearer 4711 at https://u:4711@example.org/v1?key=4711"), Some("it says: ")),
        (said(&"long ".repeat(10_000)), Some("long long")),
        (page, None),
        (format!("plain text {KEY}"), None),
        (String::new(), None),
    ];
    for (number, (body, expected)) in bodies.into_iter().enumerate() {
        for status in [400, 404, 429, 500] {
            provider.script(Answer::Raw(status, vec![], body.clone()), 1);
            let text = format!("fox {number} {status}");
            let error = search_text(&mut client, &text).await.expect_err("no embedding");
            let message = error.message();
            let own = format!("the embedding provider at {host}/embeddings ");
            let place = format!("(model \"fixed-test\", status {status}); ");
            assert!(message.starts_with(&own) && message.contains(&place), "{message}");
            assert_eq!(message.contains("it says: "), expected.is_some(), "{message}");
            assert!(message.contains(expected.unwrap_or_default()), "{message}");
            for secret in [KEY, "vault", "tail", "4711", "jane", "<", "\n", "\r", "\u{1b}"] {
                assert!(!message.contains(secret), "{message:?}");
            }
            assert!(message.len() < 450, "{message}");
        }
    }
    // Its message about a key is left out.
    provider.script(Answer::Raw(401, vec![], said("Incorrect API key provided: abcd")), 1);
    let message = search_text(&mut client, "a fox").await.expect_err("no embedding").message().to_owned();
    assert!(message.contains("does not accept the API key") && !message.contains("abcd"), "{message}");
}
