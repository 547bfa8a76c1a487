//! Makes a provider's message safe for callers: short, on one line and without secrets. Providers repeat keys in their
//! messages, whole or in part, and name accounts.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Maximum length of a message for callers, in characters.
const MAX_CHARS: usize = 200;
/// Maximum number of characters of a message that are read.
const MAX_READ_CHARS: usize = 4_000;
/// A word that shares this many characters in a row with the key counts as a part of it.
const KEY_PART: usize = 6;
/// The replacement for a secret.
const HIDDEN: &str = "***";

/// Matches anything that looks like a secret. It is better to hide a word too much than one too few, since hidden words
/// are seldom useful.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        // A value named as a secret.
        r#"(?i)(?<name>\b(?:bearer\s|(?:api[-_ ]?key|authorization|password|secret|signature|token)\b[^\s:=]{0,3}(?:\s\w+){0,2}\s?[:=])\s*)(?:bearer\s)?\S+"#,
        // An email address.
        r#"[^\s@<>"'(]+@[^\s@<>"')]+"#,
        // A key or an account id, by the prefixes of the providers.
        r"\b(?:AIza|(?:gh[pousr]|glpat|gsk|hf|nvapi|org|pk|pplx|proj|rk|sk|xai)[-_])[\w*.…-]{6,}",
        // A value that is partly masked already.
        r"\S*(?:\*{3,}|•{3,}|[xX]{6,})\S*",
        r"[\w-]{2,}(?:\.{3}|…)[\w-]{2,}",
        // A UUID, or anything too long for a word.
        r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
        r"[\w+/=-]*[A-Za-z0-9]{20,}[\w+/=-]*",
    ];
    // A test checks that it compiles.
    Regex::new(&patterns.join("|")).ok()
});

/// Cleans the message of a provider, or of a library about the provider's answer. `None` if nothing of it can be shown.
pub(super) fn for_callers(message: &str, key: &str) -> Option<String> {
    let secrets = SECRETS.as_ref()?;
    let is_secret = |word: &str| holds_part_of(word, key) || (word.contains("://") && shown_url(word) != word);
    let words = cut(message, MAX_READ_CHARS).split(|c: char| c.is_whitespace() || c.is_control());
    let words = words.filter(|word| !word.is_empty()).map(|word| if is_secret(word) { HIDDEN } else { word });
    let words: Vec<&str> = words.collect();
    let line = words.join(" ");
    let hidden = |found: &Captures<'_>| format!("{}{HIDDEN}", found.name("name").map_or("", |name| name.as_str()));
    let line = secrets.replace_all(&line, hidden);
    match cut(&line, MAX_CHARS) {
        "" => None,
        whole if whole.len() == line.len() => Some(whole.to_owned()),
        beginning => Some(format!("{beginning}...")),
    }
}

/// A base URL without its secrets: user, password, query and fragment. The URL may be invalid.
pub(crate) fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, _)| url.split_at(scheme.len() + 3));
    // The last @, since a password may contain any character.
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    match rest.split_once(['?', '#']) {
        Some((rest, _)) => format!("{scheme}{user}{rest}?{HIDDEN}"),
        None => format!("{scheme}{user}{rest}"),
    }
}

fn holds_part_of(word: &str, key: &str) -> bool {
    let (word, key) = (word.as_bytes(), key.as_bytes());
    let holds = |part: &[u8]| word.windows(part.len()).any(|window| window == part);
    if key.len() < KEY_PART { !key.is_empty() && holds(key) } else { key.windows(KEY_PART).any(holds) }
}

/// The first characters of a text.
fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Zq9-vault-8817-tail";

    fn shown(message: &str) -> String {
        for_callers(message, KEY).unwrap_or_default()
    }

    #[test]
    fn secrets_are_hidden() {
        for (message, expected) in [
            (
                "Incorrect API key provided: sk-abc***xyz. See https://example.org",
                "Incorrect API key provided: *** See https://example.org",
            ),
            ("bad key Zq9-vault-8817-tail", "bad key ***"),
            ("bad key (ends in 8817-tail)", "bad key (ends in ***"),
            ("Authorization: Bearer abc.def x", "Authorization: *** x"),
            ("got bearer abc.def here", "got bearer *** here"),
            (r#"{"api_key": "short"} is wrong"#, r#"{"api_key": *** is wrong"#),
            ("token=4711", "token=***"),
            ("key sk-proj-4711aa is revoked", "key *** is revoked"),
            ("in organization org-AbCd1234EfGh on tokens per min", "in organization *** on tokens per min"),
            ("key AbC1...Xy9Z", "key ***"),
            ("ask jane.doe@example.org", "ask ***"),
            ("see https://user:pass@host/v1?key=abc#top now", "see *** now"),
            ("id 123e4567-e89b-12d3-a456-426614174000", "id ***"),
            ("hash 0123456789abcdef0123456789abcdef", "hash ***"),
            ("eyJhbGciOiJIUzI1NiIsInR5cCI.x", "***.x"),
        ] {
            assert_eq!(shown(message), expected, "{message}");
        }
    }

    #[test]
    fn what_helps_stays() {
        for message in [
            "The model `text-embedding-3-small` does not exist",
            "maximum context length is 8192 tokens, however you requested 9000 tokens",
            "Invalid 'input[3]': max_tokens_per_request is 300000",
            "risk-free task-force desk-bound",
            "connection refused (os error 111)",
            "batch size 64 > maximum allowed batch size 32",
            "try again later...",
        ] {
            assert_eq!(shown(message), message);
        }
    }

    #[test]
    fn one_short_line() {
        assert_eq!(shown("no\r\nsuch\u{0} \u{1b}[31m model"), "no such [31m model");
        assert_eq!(for_callers(" \n", ""), None);
        let long = shown(&"ä ".repeat(50_000));
        assert_eq!(long.chars().count(), MAX_CHARS + 3);
        // A secret at the cut is hidden before the message is cut.
        let cut = shown(&format!("{} {KEY}", "a ".repeat(95)));
        assert!(!cut.contains("Zq9"), "{cut}");
    }

    #[test]
    fn short_keys_are_hidden_too() {
        assert_eq!(for_callers("the key abc is bad", "abc").as_deref(), Some("the key *** is bad"));
        assert_eq!(for_callers("no key", "").as_deref(), Some("no key"));
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, expected) in [
            ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
            ("https://user:p@ss/?word@host/v1", "https://***@host/v1"),
            ("https://host/v1?key=abc", "https://host/v1?***"),
            ("https://host/v1#abc", "https://host/v1?***"),
            ("user:password@host", "***@host"),
            ("", ""),
        ] {
            assert_eq!(shown_url(url), expected, "{url}");
        }
    }
}
