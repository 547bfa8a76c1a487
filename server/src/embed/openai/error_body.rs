//! Reads the error in the body of an answer: its message, codes and numbers.

use serde_json::Value;

/// The error in a reply, in any of the forms that servers use: `{"error": {"message", "type", "code"}}` (OpenAI, vLLM),
/// the same in a list (Gemini), `{"error": "text"}` (Ollama), `{"message", "type"}` (TEI, Cohere), `{"detail": ...}`
/// (FastAPI), `{"code", "msg"}` (Zhipu).
#[derive(Debug, Default)]
pub(super) struct ProviderError {
    /// The message as it was sent. `None` if the body is not JSON.
    pub(super) message: Option<String>,
    /// `code` and `type`, if they are strings.
    pub(super) codes: Vec<String>,
    /// `code` or `status`, if it is a number or digits.
    pub(super) status: Option<u16>,
    /// The numbers that llama.cpp sends beside its message.
    tokens: Option<TokenLimit>,
}

impl ProviderError {
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice::<Value>(body).map_or_else(|_| Self::default(), |body| Self::of(&body))
    }

    pub(super) fn of(body: &Value) -> Self {
        let body = body.get(0).unwrap_or(body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = [Some(error), error.get("message"), error.get("detail"), body.get("message"), error.get("msg")]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
            .map(str::to_owned);
        let codes = ["code", "type"].iter().filter_map(|key| error.get(key)?.as_str().map(str::to_owned)).collect();
        let number = |key: &str| {
            let value = error.get(key)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let status = ["code", "status"].into_iter().find_map(number).and_then(|status| u16::try_from(status).ok());
        let count = |key: &str| usize::try_from(number(key)?).ok();
        let tokens = count("n_prompt_tokens").zip(count("n_ctx")).map(|(actual, max)| TokenLimit { actual, max });
        Self { message, codes, status, tokens }
    }

    /// Some servers limit the rate with status 400. A false match is harmless: the request is only retried.
    pub(super) fn says_overload(&self) -> bool {
        const WORDS: [&str; 9] = [
            "too many requests",
            "too many concurrent",
            "rate limit",
            "rate_limit",
            "throttl",
            "overloaded",
            "concurrency limit",
            "per minute",
            "try again later",
        ];
        let says = |text: &String| {
            let text = text.to_lowercase();
            WORDS.iter().any(|words| text.contains(words))
        };
        self.message.iter().chain(&self.codes).any(says)
    }

    /// Reads messages such as "Input length 700 exceeds maximum allowed token size 512". The largest number is the
    /// length of the text, and the next smaller one is the limit. If the numbers mean something else, the next request
    /// shows it.
    pub(super) fn token_limit(&self) -> Option<TokenLimit> {
        let message = self.message.as_deref().unwrap_or_default();
        let stated = || {
            if !message.to_lowercase().contains("token") {
                return None;
            }
            let words = message.split(|c: char| c.is_whitespace() || "[]()=:;".contains(c));
            let numbers = words.filter_map(|word| {
                let word = word.trim_matches(|c: char| !c.is_alphanumeric());
                word.replace([',', '_'], "").parse::<usize>().ok()
            });
            let mut numbers: Vec<usize> = numbers.collect();
            numbers.sort_unstable();
            numbers.dedup();
            let [.., max, actual] = numbers[..] else { return None };
            Some(TokenLimit { actual, max })
        };
        self.tokens.or_else(stated).filter(|limit| 0 < limit.max && limit.max < limit.actual)
    }
}

/// The length of a text and its limit, in tokens, as a provider states both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenLimit {
    pub(super) actual: usize,
    pub(super) max: usize,
}

impl TokenLimit {
    /// How many of the `bytes` of a text have `max` tokens or slightly fewer. `None` if the text cannot have as many
    /// tokens as stated.
    pub(super) fn bytes_of(self, bytes: usize) -> Option<usize> {
        /// Maximum number of tokens that models add.
        const ADDED: usize = 16;
        /// On average over a long text, no tokenizer puts more bytes of prose into one token.
        const MAX_TOKEN_BYTES: usize = 32;
        let Self { actual, max } = self;
        let can_be = (bytes / MAX_TOKEN_BYTES..=bytes + ADDED).contains(&actual);
        can_be.then(|| ((bytes as u128 * max as u128 / actual as u128) as usize).saturating_sub(bytes / 128))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_limit_is_a_part_of_the_text() {
        let bytes = |actual, max, bytes| TokenLimit { actual, max }.bytes_of(bytes);
        assert_eq!(bytes(1_000, 500, 4_000), Some(1_969));
        assert_eq!(bytes(500, 499, 510), Some(505));
        assert_eq!(bytes(9_000, 500, 4_000), None, "more tokens than bytes");
        assert_eq!(bytes(100, 50, 8_000_000), None, "hardly any tokens");
    }
}
