//! Addresses as people write them, and answers that are almost right.

use super::*;

#[tokio::test]
async fn addresses_as_people_write_them() {
    let provider = Provider::start().await;
    let host = provider.base_url().replace("/v1", "");
    let azure = "/openai/deployments/small";
    let version = "?api-version=2024-02-01";
    let bearer = Some(format!("Bearer {KEY}"));
    let key = Some(KEY.to_owned());
    for (base_url, path, authorization, api_key) in [
        (host.clone(), "/v1/embeddings", &bearer, &None),
        (format!("{host}/"), "/v1/embeddings", &bearer, &None),
        (format!("{host}/v1/"), "/v1/embeddings", &bearer, &None),
        (format!("{host}/v1/embeddings"), "/v1/embeddings", &bearer, &None),
        (format!("{host}/v1/embeddings/?a=b"), "/v1/embeddings?a=b", &bearer, &None),
        (format!("{host}{azure}{version}"), &format!("{azure}/embeddings{version}"), &None, &key),
        (format!("{host}{azure}/embeddings{version}"), &format!("{azure}/embeddings{version}"), &None, &key),
    ] {
        let embedders = embedders(OpenAiConfig { base_url: Some(base_url.clone()), ..config(&provider) });
        assert_eq!(embedders.embed(&model(), &["fox"]).await.unwrap().values, expected(&["fox"]), "{base_url}");
        assert_eq!(provider.last_address(), (path.to_owned(), api_key.clone()), "{base_url}");
        assert_eq!(&provider.last_authorization(), authorization, "{base_url}");
        provider.script(Answer::Status(404), 1);
        let error = embedders.embed(&model(), &["fox"]).await.unwrap_err().to_string();
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        assert!(error.contains(&format!("at {host}{path} ")) && !error.contains('?'), "{error}");
    }
}

#[tokio::test]
async fn answers_that_are_almost_right() {
    let provider = Provider::start().await;
    let embedders = embedders(OpenAiConfig { max_retries: 1, ..config(&provider) });
    let two = Model { dimensions: 2, ..model() };
    for body in [
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[3,4]}]}"#,
        r#"{"data":[{"embedding":[1,2]},{"embedding":[3,4]}],"error":null}"#,
        r#"{"data":[{"index":1,"embedding":"AABAQAAAgEA="},{"index":0,"embedding":"AACAPwAAAEA="}]}"#,
    ] {
        provider.script(Answer::Body(body.to_owned()), 1);
        assert_eq!(embedders.embed(&two, &["fox", "wolf"]).await.unwrap().values, [1.0, 2.0, 3.0, 4.0], "{body}");
    }
    let success = |error: &str| Answer::Body(format!(r#"{{"error":{{"message":"it is full, key {KEY}"{error}}}}}"#));
    let mixed = r#"{"data":[{"embedding":[1,2]}],"error":{"message":"it is full"}}"#.to_owned();
    for answer in [success(""), Answer::Body(mixed), Answer::Body(r#"{"code":1113,"msg":"it is full"}"#.into())] {
        provider.script(answer, 1);
        let error = embedders.embed(&two, &["fox"]).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, EmbedError::Unavailable { .. }), "{text}");
        assert!(text.contains("answers with an error") && text.contains("status 200"), "{text}");
        assert!(text.contains("it says: it is full") && !text.contains(KEY), "{text}");
    }
    // Gateways put the status inside.
    provider.script(success(r#","code":503"#), 1);
    embedders.embed(&model(), &["fox"]).await.unwrap();
    provider.script(success(r#","code":401"#), 1);
    let error = embedders.embed(&model(), &["fox"]).await.unwrap_err();
    assert!(matches!(error, EmbedError::Refused { .. }), "{error}");

    for words in ["Sorry, your account balance is insufficient", "Country, region, or territory not supported"] {
        let body = serde_json::json!({ "code": 30001, "message": format!("{words} {KEY}") }).to_string();
        provider.script(Answer::Raw(403, vec![], body), 1);
        let error = embedders.embed(&model(), &["fox"]).await.unwrap_err().to_string();
        assert!(error.contains("status 403); ") && error.contains(&format!("it says: {words}")), "{error}");
        assert!(!error.contains(KEY), "{error}");
    }
}
