//! What a failed call to a provider means: worth repeating, too large, or final.

use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;

use super::message;
use crate::embed::EmbedError;

/// When a caller may come back, if neither the provider nor the retries say.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// The longest wait that is passed on; more is a mistake of the provider or of a clock.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// What the provider did, in words of ours: "fails", "did not answer within 60 s".
    pub(super) why: String,
    /// The status of its answer.
    pub(super) status: Option<StatusCode>,
    /// Words of the provider or of a library, fit for callers.
    pub(super) said: Option<String>,
    /// What the provider asks to wait.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The provider is overloaded, fails or cannot be reached; it may work again soon.
    Unavailable,
    /// Too many requests; the same request works later.
    RateLimited,
    /// The provider answered with success and something that is not embeddings.
    Garbage,
    /// The account has used up what it paid for.
    QuotaExhausted,
    /// Too many texts, or a text that the model cannot read as a whole.
    TooLarge,
    /// Anything else that the provider says no to.
    Refused,
    /// It was not asked: too many wait for it.
    Busy,
}

impl Failure {
    pub(super) fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), status: None, said: None, retry_after: None }
    }

    /// Adds the words of someone else; `key` is hidden in them.
    pub(super) fn saying(self, said: &str, key: &str) -> Self {
        Self { said: message::for_callers(said, key), ..self }
    }

    /// What an answer without success means; `key` is hidden in its words.
    pub(super) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], key: &str) -> Self {
        let error = ProviderError::read(body);
        let kind = classify(status, &error);
        let is_key = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let why = match kind {
            Kind::Unavailable | Kind::Garbage => "fails",
            Kind::RateLimited => "limits the rate",
            Kind::QuotaExhausted => "says that the quota is used up",
            Kind::TooLarge => "finds the texts too large",
            Kind::Refused if is_key => "does not accept the API key of the server, or not for this model",
            Kind::Refused if status == StatusCode::NOT_FOUND => "does not know the model or the address",
            Kind::Refused => "refuses the request",
            Kind::Busy => "is busy",
        };
        // What it says of a key is mostly the key.
        let said = error.message.filter(|_| !is_key).and_then(|said| message::for_callers(&said, key));
        let retry_after = retry_after(headers, SystemTime::now()).map(|wait| wait.min(MAX_RETRY_AFTER));
        Self { kind, why: why.to_owned(), status: Some(status), said, retry_after }
    }

    /// Whether the same request may work a little later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::RateLimited)
    }

    /// Whether the provider is there and able to answer, though it did not give vectors.
    pub(super) fn is_answer(&self) -> bool {
        self.status.is_some() && self.kind != Kind::Unavailable
    }

    /// What callers are told: where it failed and why, what to do, and last what the provider says.
    pub(super) fn describe(&self, host: &str, model: &str) -> String {
        let Self { kind, why, status, said, .. } = self;
        let advice = match kind {
            Kind::Unavailable | Kind::Busy => "try again later",
            Kind::RateLimited => "try again later, or raise the limit there",
            Kind::Garbage => "check --openai-base-url",
            Kind::QuotaExhausted => "raise the quota there",
            Kind::TooLarge => "send shorter texts",
            Kind::Refused => "check the key, the model and --openai-base-url",
        };
        let mut text = format!("the embedding provider at {host} {why} (model \"{model}\"");
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

    pub(super) fn into_embed_error(self, host: &str, model: &str) -> EmbedError {
        let why = self.describe(host, model);
        let retry_after = self.retry_after.unwrap_or(RETRY_LATER);
        match self.kind {
            Kind::Unavailable | Kind::Garbage => EmbedError::Unavailable { why, retry_after },
            Kind::RateLimited => EmbedError::RateLimited { why, retry_after },
            Kind::QuotaExhausted => EmbedError::QuotaExhausted { why },
            Kind::TooLarge | Kind::Refused => EmbedError::Refused { why },
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
        StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
        // llama.cpp says so with 500
        _ if error.says_too_large() => Kind::TooLarge,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => Kind::Unavailable,
        _ if status.is_server_error() => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

/// The error in a reply, in any of the shapes that servers use: `{"error": {"message", "type", "code"}}` (OpenAI, vLLM),
/// the same in a list (Gemini), `{"error": "text"}` (Ollama), `{"message", "type"}` (TEI), `{"detail": ...}` (FastAPI).
#[derive(Debug, Default)]
struct ProviderError {
    /// As it was sent; none when the body is not JSON.
    message: Option<String>,
    /// `code` and `type`, where they are strings.
    codes: Vec<String>,
}

impl ProviderError {
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let body = body.get(0).unwrap_or(&body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = [Some(error), error.get("message"), error.get("detail"), body.get("message")]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
            .map(str::to_owned);
        let codes = ["code", "type"].iter().filter_map(|key| error.get(key)?.as_str().map(str::to_owned)).collect();
        Self { message, codes }
    }

    /// Servers have no common code for it, so their words are looked at as well.
    fn says_too_large(&self) -> bool {
        const WORDS: [&str; 11] = [
            "context length",         // OpenAI, vLLM, Ollama
            "context_length",         // LiteLLM
            "context size",           // llama.cpp
            "maximum input length",   // OpenAI
            "must have less than",    // TEI
            "batch size",             // TEI, DashScope
            "in one batch",           // Gemini
            "too long",               // OpenAI (more than 2048 texts)
            "too large",              // llama.cpp
            "too many",               // Mistral (texts, tokens)
            "max_tokens_per_request", // OpenAI (300,000 tokens)
        ];
        let says = |text: &str| {
            let text = text.to_ascii_lowercase();
            WORDS.iter().any(|words| text.contains(words))
        };
        self.message.as_deref().is_some_and(says) || self.codes.iter().any(|code| says(code))
    }
}

/// `retry-after-ms` (OpenAI, Azure), or `Retry-After` in seconds or as an HTTP date.
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
        for status in [301, 400, 401, 403, 404, 405, 422] {
            assert_eq!(kind(status, "<html>"), Kind::Refused, "{status}");
        }
    }

    #[test]
    fn too_large_in_the_words_of_each_server() {
        for (status, body) in [
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens, however you requested 9000 tokens","type":"invalid_request_error","code":null}}"#,
            ),
            (
                400,
                r#"{"error":{"message":"Invalid 'input[3]': maximum input length is 8192 tokens.","type":"invalid_request_error"}}"#,
            ),
            (400, r#"{"error":{"message":"'$.input' is too long. Maximum length is 2048, but got 2049 items."}}"#),
            (
                400,
                r#"{"error":{"message":"Requested 300001 tokens","type":"max_tokens_per_request","code":"max_tokens_per_request"}}"#,
            ),
            (
                400,
                r#"{"error":{"message":"the input length exceeds the context length","type":"invalid_request_error"}}"#,
            ),
            (400, r#"{"error":"the input length exceeds the context length"}"#),
            (
                400,
                r#"[{"error":{"code":400,"message":"BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"}}]"#,
            ),
            (
                400,
                r#"{"object":"error","message":"Too many inputs in request, split into more batches.","type":"invalid_request"}"#,
            ),
            (
                413,
                r#"{"message":"Input validation error: `inputs` must have less than 512 tokens. Given: 514","type":"Validation"}"#,
            ),
            (422, r#"{"message":"batch size 64 > maximum allowed batch size 32","type":"Validation"}"#),
            (413, "<html>413 Request Entity Too Large</html>"),
            (
                500,
                r#"{"error":{"code":500,"message":"input is too large to process. increase the physical batch size","type":"server_error"}}"#,
            ),
        ] {
            assert_eq!(kind(status, body), Kind::TooLarge, "{body}");
        }
    }

    #[test]
    fn own_words_come_first() {
        let describe = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            Failure::from_answer(status, &HeaderMap::new(), body.as_bytes(), "").describe("host:8080", "m")
        };
        let key = r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","code":"invalid_api_key"}}"#;
        assert_eq!(
            describe(401, key),
            "the embedding provider at host:8080 does not accept the API key of the server, or not for this model \
             (model \"m\", status 401); check the key, the model and --openai-base-url"
        );
        assert_eq!(
            describe(400, r#"{"detail":"no\nsuch\u0000 model"}"#),
            "the embedding provider at host:8080 refuses the request (model \"m\", status 400); \
             check the key, the model and --openai-base-url; it says: no such model"
        );
        for body in ["<html><h1>nginx</h1></html>", r#"{"detail":[{"msg":"field required"}]}"#] {
            assert!(describe(404, body).ends_with("--openai-base-url"), "{}", describe(404, body));
        }
    }
}
