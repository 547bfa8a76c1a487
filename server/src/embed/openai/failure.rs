//! Classifies a failed call to a provider: worth retrying, perhaps caused by its texts, or final.
//!
//! The status decides. The messages of providers differ and change, so they never decide that a text is too long. At
//! most their numbers say how long it may be.

use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;

use super::{
    error_body::{ProviderError, TokenLimit},
    message,
};
use crate::embed::EmbedError;

/// When a caller may try again if neither the provider nor the retries say.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// The longest wait that is passed on. A longer one is a mistake of the provider or of a clock.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// The behaviour of the provider in pgfox's words: "fails", "did not answer within 60 s".
    pub(super) why: String,
    /// The HTTP status of its answer.
    pub(super) status: Option<StatusCode>,
    /// The message of the provider or of a library, made safe for callers.
    pub(super) said: Option<String>,
    /// How long the provider asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The number of tokens and its limit, as the provider states them.
    pub(super) tokens: Option<TokenLimit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The provider is overloaded, fails or cannot be reached. It may work again soon.
    Unavailable,
    /// Too many requests. The same request works later.
    RateLimited,
    /// The provider answered with success, but not with embeddings.
    Garbage,
    /// The account has used up its quota.
    QuotaExhausted,
    /// The provider refuses the request, perhaps because of its texts: their number, length or contents.
    Texts,
    /// The provider refuses the request for another reason.
    Refused,
    /// The provider was not asked, because too many requests wait for it.
    Busy,
}

impl Failure {
    pub(super) fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), status: None, said: None, retry_after: None, tokens: None }
    }

    /// Adds the message of someone else and hides `key` in it.
    pub(super) fn saying(self, said: &str, key: &str) -> Self {
        Self { said: message::for_callers(said, key), ..self }
    }

    /// Classifies an answer without success and hides `key` in its message.
    pub(super) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], key: &str) -> Self {
        let retry_after = retry_after(headers, SystemTime::now()).map(|wait| wait.min(MAX_RETRY_AFTER));
        Self { retry_after, ..Self::from_error(status, ProviderError::read(body), key) }
    }

    /// Classifies a successful answer without embeddings and hides `key` in its message.
    pub(super) fn from_success(body: &Value, key: &str) -> Self {
        let error = ProviderError::of(body);
        // Gateways pass on the status that they received.
        let meant = error.status.and_then(|status| StatusCode::from_u16(status).ok());
        let failure = match meant.filter(|status| status.is_client_error() || status.is_server_error()) {
            Some(status) => Self::from_error(status, error, key),
            None if error.message.is_none() => {
                Self::new(Kind::Garbage, "gives an answer that is not a list of embeddings")
            }
            None => {
                let kind = match classify(StatusCode::OK, &error) {
                    Kind::Refused => Kind::Garbage,
                    kind => kind,
                };
                let said = error.message.and_then(|said| message::for_callers(&said, key));
                Self { said, ..Self::new(kind, "answers with an error") }
            }
        };
        Self { status: Some(StatusCode::OK), ..failure }
    }

    fn from_error(status: StatusCode, error: ProviderError, key: &str) -> Self {
        let kind = classify(status, &error);
        let why = match kind {
            Kind::Unavailable | Kind::Garbage => "fails",
            Kind::RateLimited => "limits the rate",
            Kind::QuotaExhausted => "says that the quota is used up",
            Kind::Refused if status == StatusCode::UNAUTHORIZED => {
                "does not accept the API key of the server, at least not for this model"
            }
            Kind::Refused if status == StatusCode::FORBIDDEN => {
                "does not allow the server to use it, at least not this model"
            }
            Kind::Refused if status == StatusCode::NOT_FOUND => "does not know the model or the address",
            Kind::Texts | Kind::Refused => "refuses the request",
            Kind::Busy => "is busy",
        };
        let tokens = if kind == Kind::Texts { error.token_limit() } else { None };
        // A message about a key usually contains the key.
        let is_key = status == StatusCode::UNAUTHORIZED;
        let said = error.message.filter(|_| !is_key).and_then(|said| message::for_callers(&said, key));
        Self { kind, why: why.to_owned(), status: Some(status), said, retry_after: None, tokens }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::RateLimited)
    }

    /// Whether the provider is reachable and able to answer, although it returned no vectors.
    pub(super) fn is_answer(&self) -> bool {
        self.status.is_some() && self.kind != Kind::Unavailable
    }

    /// The text for callers: where it failed and why, what to do, and last the provider's message.
    pub(super) fn describe(&self, url: &str, model: &str) -> String {
        let advice = match self.kind {
            Kind::Unavailable | Kind::Busy => "try again later",
            Kind::RateLimited => "try again later, or raise the limit there",
            Kind::Garbage => "check --openai-base-url",
            Kind::QuotaExhausted => "raise the quota there",
            Kind::Texts | Kind::Refused => "check the key, the model and --openai-base-url",
        };
        self.say(url, model, &self.why, advice)
    }

    /// The text for callers about a text that the provider refuses although it takes others.
    pub(super) fn describe_text(&self, url: &str, model: &str) -> String {
        let advice = "shorten the text, or use a collection with chunking";
        self.say(url, model, "refuses this text but accepts others", advice)
    }

    fn say(&self, url: &str, model: &str, why: &str, advice: &str) -> String {
        let Self { status, said, .. } = self;
        let mut text = format!("the embedding provider at {url} {why} (model \"{model}\"");
        if let Some(status) = status {
            text += &format!(", status {}", status.as_u16());
        }
        text += &format!("); {advice}");
        if let Some(said) = said {
            let whose = if status.is_some() { "it says" } else { "the cause" };
            text += &format!("; {whose}: {said}");
        }
        text
    }

    pub(super) fn into_embed_error(self, url: &str, model: &str) -> EmbedError {
        let why = self.describe(url, model);
        let retry_after = self.retry_after.unwrap_or(RETRY_LATER);
        match self.kind {
            Kind::Unavailable | Kind::Garbage => EmbedError::Unavailable { why, retry_after },
            Kind::RateLimited => EmbedError::RateLimited { why, retry_after },
            Kind::QuotaExhausted => EmbedError::QuotaExhausted { why },
            Kind::Texts | Kind::Refused => EmbedError::Refused { why },
            Kind::Busy => EmbedError::Busy,
        }
    }
}

fn classify(status: StatusCode, error: &ProviderError) -> Kind {
    const QUOTA: [&str; 2] = ["insufficient_quota", "billing_hard_limit_reached"];
    if status == StatusCode::PAYMENT_REQUIRED || error.codes.iter().any(|code| QUOTA.contains(&code.as_str())) {
        return Kind::QuotaExhausted;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Kind::RateLimited,
        StatusCode::BAD_REQUEST if error.says_overload() => Kind::RateLimited,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Kind::Texts,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => Kind::Unavailable,
        _ if status.is_server_error() => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

/// Reads `retry-after-ms` (OpenAI, Azure), or `Retry-After` in seconds or as an HTTP date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |text: &str, unit: f64| Duration::try_from_secs_f64(text.trim().parse::<f64>().ok()? * unit).ok();
    if let Some(wait) = headers.get("retry-after-ms").and_then(|value| number(value.to_str().ok()?, 0.001)) {
        return Some(wait);
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    number(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value.trim()).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:37 GMT
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn retry_after_in_every_form() {
        assert_eq!(wait("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(wait("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for garbage in ["", "soon", "-1", "NaN", "inf", "1e300", "\u{7f}"] {
            let Ok(value) = garbage.parse() else { continue };
            assert_eq!(
                retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), SystemTime::now()),
                None,
                "{garbage}"
            );
        }
    }

    fn kind(status: u16, body: &str) -> Kind {
        Failure::from_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), "").kind
    }

    #[test]
    fn kinds() {
        let rate = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert_eq!(kind(429, rate), Kind::RateLimited);
        assert_eq!(kind(429, "<html>slow down</html>"), Kind::RateLimited);
        assert_eq!(kind(429, ""), Kind::RateLimited);
        assert_eq!(kind(429, r#"{"error":{"message":"Too many requests","code":429}}"#), Kind::RateLimited);
        assert_eq!(kind(429, quota), Kind::QuotaExhausted);
        assert_eq!(kind(402, ""), Kind::QuotaExhausted);
        for status in [408, 500, 502, 503, 504, 529] {
            assert_eq!(kind(status, "<html>"), Kind::Unavailable, "{status}");
        }
        for status in [301, 401, 403, 404, 405] {
            assert_eq!(kind(status, "<html>"), Kind::Refused, "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(kind(status, "<html>"), Kind::Texts, "{status}");
        }
    }

    #[test]
    fn no_word_makes_an_overload_a_long_text() {
        for words in ["Too many concurrent requests", "the queue is too long", "batch size too large, context length"] {
            let body = serde_json::json!({ "error": { "message": words } }).to_string();
            for status in [500, 502, 503, 529] {
                assert_eq!(kind(status, &body), Kind::Unavailable, "{status} {words}");
            }
            assert_eq!(kind(429, &body), Kind::RateLimited, "{words}");
        }
        for words in ["Too many concurrent requests", "Rate limit reached", "ThrottlingException"] {
            let body = serde_json::json!({ "message": words }).to_string();
            assert_eq!(kind(400, &body), Kind::RateLimited, "{words}");
        }
    }

    #[test]
    fn stated_limits_are_read() {
        let limit = |status: u16, error: serde_json::Value| {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::from_answer(status, &HeaderMap::new(), error.to_string().as_bytes(), "");
            failure.tokens.map(|limit| (limit.actual, limit.max))
        };
        let says = |message: &str| limit(400, serde_json::json!({ "error": { "message": message } }));
        let openai = "This model's maximum context length is 8192 tokens, however you requested 9000 tokens \
                      (9000 in your prompt; 0 for the completion). Please reduce your prompt.";
        assert_eq!(says(openai), Some((9_000, 8_192)));
        assert_eq!(says("Input length 700 exceeds maximum allowed token size 512"), Some((700, 512)));
        assert_eq!(says("`inputs` must have less than 512 tokens. Given: 1,514"), Some((1_514, 512)));
        let llama = serde_json::json!({ "error": { "message": "too large", "n_prompt_tokens": 700, "n_ctx": 512 } });
        assert_eq!(limit(400, llama), Some((700, 512)));
        for message in [
            "total number of texts must be at most 96 - received 128",
            "Invalid 'input[3]': the input has too many tokens",
            "no tokens in text-embedding-3-small",
            "Rate limit reached: 1000 tokens per minute, requested 1200",
            "input token count 512",
        ] {
            assert_eq!(says(message), None, "{message}");
        }
        let overload = serde_json::json!({ "message": "700 tokens, at most 512" });
        assert_eq!((limit(503, overload.clone()), limit(429, overload)), (None, None));
    }

    #[test]
    fn success_with_an_error_is_an_error() {
        let read = |body: &str| {
            let failure = Failure::from_success(&serde_json::from_str(body).unwrap(), "");
            (failure.kind, failure.said)
        };
        let said = |words: &str| Some(words.to_owned());
        let body = r#"{"error":{"message":"model is loading","code":503}}"#;
        assert_eq!(read(body), (Kind::Unavailable, said("model is loading")));
        assert_eq!(read(r#"{"error":{"message":"slow down","code":"429"}}"#), (Kind::RateLimited, said("slow down")));
        assert_eq!(read(r#"{"error":"no such model"}"#), (Kind::Garbage, said("no such model")));
        assert_eq!(read(r#"{"code":1113,"msg":"no balance","success":false}"#), (Kind::Garbage, said("no balance")));
        assert_eq!(read(r#"{"object":"list"}"#), (Kind::Garbage, None));
    }

    #[test]
    fn own_words_come_first() {
        let describe = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            Failure::from_answer(status, &HeaderMap::new(), body.as_bytes(), "")
                .describe("http://host:8080/v1/embeddings", "m")
        };
        let key = r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","code":"invalid_api_key"}}"#;
        assert_eq!(
            describe(401, key),
            "the embedding provider at http://host:8080/v1/embeddings does not accept the API key of the server, at \
             least not for this model (model \"m\", status 401); check the key, the model and --openai-base-url"
        );
        assert_eq!(
            describe(400, r#"{"detail":"no\nsuch\u0000 model"}"#),
            "the embedding provider at http://host:8080/v1/embeddings refuses the request (model \"m\", status 400); \
             check the key, the model and --openai-base-url; it says: no such model"
        );
        for body in ["<html><h1>nginx</h1></html>", r#"{"detail":[{"msg":"field required"}]}"#] {
            assert!(describe(404, body).ends_with("--openai-base-url"), "{}", describe(404, body));
        }
    }
}
