//! Embedding by a provider over real HTTP.

mod addresses;
mod limits;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox_server::{ConfigError, EmbedError, Embedders, EmbeddingConfig, Model, OpenAiConfig};

use crate::{
    provider::{Answer, DIMENSIONS, Provider, Refusal, vector},
    support::{eventually, in_time},
};

const MODEL: &str = "openai/text-embedding-3-small";
const KEY: &str = "secret-key-4711";

fn config(provider: &Provider) -> OpenAiConfig {
    OpenAiConfig { base_url: Some(provider.base_url()), api_key: Some(KEY.into()), ..OpenAiConfig::default() }
}

fn embedders(openai: OpenAiConfig) -> Embedders {
    Embedders::new(EmbeddingConfig { openai, ..EmbeddingConfig::default() }).unwrap()
}

fn model() -> Model {
    Model { name: MODEL.to_owned(), dimensions: DIMENSIONS, ask_dimensions: false }
}

fn works(embedders: &Embedders) -> bool {
    embedders.provider_outage().borrow().is_none()
}

fn expected(texts: &[&str]) -> Vec<f32> {
    texts.iter().flat_map(|text| vector(text, DIMENSIONS)).collect()
}

/// Waits until the provider answers so many requests.
async fn until_under_way(provider: &Provider, requests: usize) {
    eventually("as many requests are under way", async || provider.under_way() == requests).await;
}

#[tokio::test]
async fn embeds_in_order_over_several_requests() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    let texts: Vec<String> = (0..300).map(|i| format!("text number {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let embeddings = embedders.embed(&model(), &texts).await.unwrap();

    assert_eq!(embeddings.values, expected(&texts));
    assert_eq!(embeddings.truncated, vec![false; 300]);
    assert_eq!(embeddings.tokens, 900);
    assert_eq!((provider.requests(), provider.texts()), (3, 300));
    let body = provider.last_body();
    assert_eq!(body["model"], "text-embedding-3-small");
    assert_eq!(body["encoding_format"], "float");
    assert!(body.get("dimensions").is_none());
    assert_eq!(provider.last_authorization().unwrap(), format!("Bearer {KEY}"));
    assert_eq!(embedders.embed(&model(), &[]).await.unwrap().values, Vec::<f32>::new());
}

#[tokio::test]
async fn batches_are_bounded_in_bytes() {
    let provider = Provider::start().await;
    let embedders = embedders(OpenAiConfig { max_batch_bytes: 1000, ..config(&provider) });
    let (short, long, too_long) = ("a ".repeat(200), "b ".repeat(400), "ä ".repeat(1000));

    let embeddings = embedders.embed(&model(), &[&short, &short, &long, &too_long, &short]).await.unwrap();

    assert_eq!(embeddings.truncated, vec![false; 5]);
    for body in provider.bodies() {
        let input = body["input"].as_array().unwrap();
        let bytes: usize = input.iter().map(|text| text.as_str().unwrap().len()).sum();
        assert!(bytes <= 1000 || input.len() == 1, "{bytes}");
    }
    assert_eq!(provider.requests(), 4);
}

#[tokio::test]
async fn no_key_is_needed_with_a_base_url() {
    let provider = Provider::start().await;
    let openai = OpenAiConfig { base_url: Some(provider.base_url() + "/"), ..OpenAiConfig::default() };
    let embedders = embedders(openai);
    assert_eq!(embedders.default_model(), MODEL);
    assert_eq!(embedders.embed(&model(), &["fox"]).await.unwrap().values, vector("fox", DIMENSIONS));
    assert_eq!(provider.last_authorization(), None);
}

#[tokio::test]
async fn dimensions_are_probed_once_and_asked_for_only_where_needed() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));

    let natural = embedders.resolve(MODEL, None).await.unwrap();
    assert_eq!(natural, model());
    assert_eq!(embedders.resolve(MODEL, Some(DIMENSIONS)).await.unwrap(), model());
    assert_eq!(provider.requests(), 1);

    let short = embedders.resolve(MODEL, Some(8)).await.unwrap();
    assert_eq!(short, Model { dimensions: 8, ask_dimensions: true, ..model() });
    assert_eq!(provider.last_body()["dimensions"], 8);
    let embeddings = embedders.embed(&short, &["fox"]).await.unwrap();
    assert_eq!(embeddings.values, vector("fox", 8));
    assert_eq!(provider.last_body()["dimensions"], 8);

    let error = embedders.resolve("openai/fixed-model", Some(8)).await.unwrap_err();
    assert!(matches!(error, EmbedError::Dimensions { expected: 8, actual: DIMENSIONS, .. }), "{error}");
    let error = embedders.resolve("openai/missing", None).await.unwrap_err();
    assert!(matches!(&error, EmbedError::Refused { why } if why.contains("does not exist")), "{error}");
    assert!(works(&embedders), "a caller's typo is not an outage");
}

#[tokio::test]
async fn what_passes_is_retried() {
    let passing = [
        Answer::Status(429),
        Answer::Raw(429, vec![("retry-after-ms", "20".to_owned())], "<html>slow down</html>".to_owned()),
        Answer::Raw(503, vec![("retry-after", "0".to_owned())], String::new()),
        Answer::Status(500),
        Answer::Hangup,
        Answer::CutOff,
    ];
    for answer in passing {
        let provider = Provider::start().await;
        let embedders = embedders(config(&provider));
        provider.script(answer.clone(), 1);
        let embeddings = embedders.embed(&model(), &["fox"]).await;
        assert_eq!(embeddings.unwrap_or_else(|error| panic!("{answer:?}: {error}")).values, vector("fox", DIMENSIONS));
        assert_eq!(provider.requests(), 2, "{answer:?}");
        assert!(works(&embedders));
    }
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    provider.script(Answer::Raw(429, vec![("retry-after", "1".to_owned())], String::new()), 1);
    let start = Instant::now();
    embedders.embed(&model(), &["fox"]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_is_the_callers() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    provider.script(Answer::Raw(429, vec![("retry-after", "3600".to_owned())], String::new()), 1);
    let error = in_time("the wait is not ours", embedders.embed(&model(), &["fox"])).await.unwrap_err();
    assert!(matches!(error, EmbedError::RateLimited { retry_after, .. } if retry_after.as_secs() == 3600), "{error}");
    assert_eq!(provider.requests(), 1);
    assert!(works(&embedders), "a rate limit is not an outage");
}

#[tokio::test]
async fn retries_are_bounded() {
    let provider = Provider::start().await;
    let embedders = embedders(OpenAiConfig { max_retries: 1, ..config(&provider) });
    let mut outage = embedders.provider_outage();

    provider.script(Answer::Status(500), 2);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::Unavailable { .. }), "{error}");
    assert_eq!(provider.requests(), 2);
    assert!(outage.borrow_and_update().is_some());

    embedders.embed(&model(), &["fox"]).await.unwrap();
    assert!(outage.has_changed().unwrap() && outage.borrow_and_update().is_none());

    provider.script(Answer::Status(429), 2);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::RateLimited { .. }), "{error}");
    assert_eq!(provider.requests(), 5);
}

#[tokio::test]
async fn an_exhausted_quota_is_not_retried() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    provider.script(Answer::QuotaExhausted, 1);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::QuotaExhausted { .. }), "{error}");
    assert_eq!(provider.requests(), 1);
    assert!(!works(&embedders));
}

#[tokio::test]
async fn refusals_are_not_retried_and_show_neither_key_nor_page() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    for status in [400, 401, 403, 404] {
        for body in [format!(r#"{{"error":{{"message":"bad key {KEY}"}}}}"#), format!("<html>{KEY}</html>")] {
            let before = provider.requests();
            provider.script(Answer::Raw(status, vec![], body), 1);
            let error = embedders.embed(&model(), &["fox"]).await;
            let error = match (status, error) {
                // It takes the next text, so it refused this one. A search reports the same.
                (400, Ok(embeddings)) => EmbedError::Refused { why: embeddings.refused[0].1.clone() },
                (_, error) => error.unwrap_err(),
            };
            let text = error.to_string();
            assert!(matches!(error, EmbedError::Refused { .. }), "{text}");
            assert!(text.contains(&status.to_string()) && !text.contains(KEY) && !text.contains("html"), "{text}");
            assert_eq!(provider.requests(), before + if status == 400 { 2 } else { 1 });
        }
    }
    assert!(!format!("{embedders:?}").contains(KEY));
}

#[tokio::test]
async fn garbage_is_an_error() {
    let provider = Provider::start().await;
    let embedders = embedders(OpenAiConfig { max_reply_bytes: 100_000, ..config(&provider) });
    let nan = format!(r#"{{"data":[{{"index":0,"embedding":[{}NaN]}}]}}"#, "0,".repeat(DIMENSIONS - 1));
    let null = nan.replace("NaN", "null");
    let infinite = nan.replace("NaN", "1e39");
    let text = nan.replace("NaN", "\"1\"");
    let cut = nan[..nan.len() / 2].to_owned();
    let index = nan.replace("NaN", "1").replace("\"index\":0", "\"index\":1");
    let giant = format!("{{\"data\":\"{}\"}}", "x".repeat(1_000_000));
    let html = "<html><body>Welcome to the hotel's Wi-Fi</body></html>".to_owned();
    let bodies = [String::new(), "{}".to_owned(), "[]".to_owned(), html, nan, null, infinite, text, cut, index, giant];
    let mut answers: Vec<Answer> = bodies.into_iter().map(Answer::Body).collect();
    answers.push(Answer::TooFew);
    for answer in answers {
        let before = provider.requests();
        provider.script(answer.clone(), 1);
        let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
        assert!(matches!(error, EmbedError::Unavailable { .. }), "{answer:?}: {error}");
        assert!(error.to_string().len() < 300, "{error}");
        assert_eq!(provider.requests(), before + 1, "{answer:?}");
    }

    provider.script(Answer::Dimensions(7), 1);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::Dimensions { expected: DIMENSIONS, actual: 7, .. }), "{error}");
}

#[tokio::test]
async fn base64_and_bare_answers_are_read() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    let two = Model { dimensions: 2, ..model() };
    provider.script(Answer::Body(r#"{"data":[{"embedding":"AACAPwAAAMA="}]}"#.to_owned()), 1);
    assert_eq!(embedders.embed(&two, &["fox"]).await.unwrap().values, [1.0, -2.0]);
}

#[tokio::test]
async fn slow_and_absent_providers_are_unavailable() {
    let provider = Provider::start().await;
    let quick = OpenAiConfig { request_timeout: Duration::from_millis(200), max_retries: 1, ..config(&provider) };
    let embedders = embedders(quick.clone());
    provider.script(Answer::Slow(Duration::from_secs(60)), 2);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::Unavailable { .. }), "{error}");
    assert_eq!(provider.requests(), 2);
    until_under_way(&provider, 0).await;

    drop(provider);
    let https =
        OpenAiConfig { base_url: quick.base_url.as_ref().map(|url| url.replace("http", "https")), ..quick.clone() };
    for absent in [quick, https] {
        let error = self::embedders(absent).embed(&model(), &["fox"]).await.unwrap_err();
        assert!(matches!(error, EmbedError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test]
async fn requests_are_bounded_over_all_callers() {
    let provider = Provider::start().await;
    let embedders = Arc::new(embedders(OpenAiConfig { concurrency: 4, max_batch_texts: 1, ..config(&provider) }));
    provider.script(Answer::Slow(Duration::from_millis(100)), 12);
    let calls = (0..3).map(|_| {
        let embedders = Arc::clone(&embedders);
        tokio::spawn(async move { embedders.embed(&model(), &["a", "b", "c", "d"]).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().values, expected(&["a", "b", "c", "d"]));
    }
    assert_eq!(provider.requests(), 12);
    // One of four is for queries.
    assert_eq!(provider.most_under_way(), 3);
}

#[tokio::test]
async fn dropping_the_future_stops_the_requests() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    provider.script(Answer::Slow(Duration::from_secs(60)), 1);
    let call = tokio::spawn(async move { embedders.embed(&model(), &["fox"]).await });
    until_under_way(&provider, 1).await;
    call.abort();
    until_under_way(&provider, 0).await;
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn names_and_settings_are_checked() {
    let local = Embedders::new(EmbeddingConfig::default()).unwrap();
    assert_eq!(local.default_model(), "local/all-MiniLM-L6-v2");
    let long = format!("openai/{}", "x".repeat(10_000));
    for name in
        ["", "fox", "openai/", "openai/ada", "local/", "local/..", "local/a/b", "local/../x", "local/none", &long]
    {
        let error = local.resolve(name, None).await.unwrap_err();
        assert!(matches!(error, EmbedError::UnknownModel { .. }), "{name}: {error}");
        assert!(error.to_string().len() < 1000);
    }

    let with = |openai| Embedders::new(EmbeddingConfig { openai, ..EmbeddingConfig::default() }).unwrap_err();
    for url in ["", "localhost:80", "ftp://host/v1", "http://", "http://host/v1#key"] {
        let error = with(OpenAiConfig { base_url: Some(url.to_owned()), ..OpenAiConfig::default() });
        assert!(matches!(error, ConfigError::BaseUrl { .. }), "{url}: {error}");
    }
    for url in [
        "http://fox:hush@host/v1#a",
        "http://host/v1?key=hush#a",
        "http://host/v1#hush",
        "fox:hush@host",
        "http://host?key=hush",
    ] {
        let openai = OpenAiConfig { base_url: Some(url.to_owned()), ..OpenAiConfig::default() };
        assert!(!format!("{openai:?}").contains("hush"), "{openai:?}");
        let Err(error) = Embedders::new(EmbeddingConfig { openai: openai.clone(), ..EmbeddingConfig::default() })
        else {
            assert!(!format!("{:?}", embedders(openai)).contains("hush"));
            continue;
        };
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    let error = with(OpenAiConfig { api_key: Some("two\nlines".into()), ..OpenAiConfig::default() });
    assert!(matches!(error, ConfigError::ApiKey), "{error}");
    let error = with(OpenAiConfig { api_key: Some(KEY.into()), concurrency: 0, ..OpenAiConfig::default() });
    assert!(matches!(error, ConfigError::Zero { name: "concurrency" }), "{error}");
    let config = EmbeddingConfig { default_model: Some("openai/ada".to_owned()), ..EmbeddingConfig::default() };
    assert!(matches!(Embedders::new(config).unwrap_err(), ConfigError::DefaultModel { .. }));
}
