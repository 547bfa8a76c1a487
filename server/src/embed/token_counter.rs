//! Counts the tokens of a text as its model does, so that a chunk can be as large as the model reads.

use super::LocalModel;

/// OpenAI's own embedding models. All of them use the tokenizer `cl100k_base` and read this many tokens.
const OPENAI_MODELS: [&str; 3] = ["text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"];
const OPENAI_MAX_TOKENS: usize = 8_191;
/// Number of bytes that are counted at a time to find where a text is too long.
const PIECE_BYTES: usize = 4_096;

/// The tokenizer of a model. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenCounter(Tokenizer);

#[derive(Clone, Debug)]
enum Tokenizer {
    Local(LocalModel),
    Cl100k,
}

impl TokenCounter {
    pub(super) fn local(model: LocalModel) -> Self {
        Self(Tokenizer::Local(model))
    }

    /// The tokenizer of a provider's model, if it is one of OpenAI's own models.
    pub(super) fn openai(model: &str) -> Option<Self> {
        OPENAI_MODELS.contains(&model).then_some(Self(Tokenizer::Cl100k))
    }

    /// Maximum number of tokens that the model reads from a text, without the tokens that it adds.
    pub fn max_tokens(&self) -> usize {
        match &self.0 {
            Tokenizer::Local(model) => model.max_text_tokens(),
            Tokenizer::Cl100k => OPENAI_MAX_TOKENS,
        }
    }

    /// The number of tokens of a text, without the tokens that the model adds. The time grows with the text. The first
    /// call for OpenAI's models takes a fraction of a second more.
    pub fn count(&self, text: &str) -> usize {
        match &self.0 {
            Tokenizer::Local(model) => model.count_tokens(text),
            Tokenizer::Cl100k => tiktoken_rs::cl100k_base_singleton().count_ordinary(text),
        }
    }

    /// The longest beginning of a text that the model reads. The time grows with that beginning.
    pub fn beginning<'t>(&self, text: &'t str) -> &'t str {
        let (mut end, mut room) = (0, self.max_tokens());
        // Counts in pieces, since some tokenizers take long for a long word. No token crosses a space after a word.
        while end < text.len() {
            let rest = &text[end..];
            let piece = &rest[..rest.floor_char_boundary(PIECE_BYTES)];
            let piece = match piece.rfind(' ') {
                Some(space) if space > 0 && piece.len() < rest.len() => &piece[..space],
                _ => piece,
            };
            let count = self.count(piece);
            if count > room {
                return &text[..end + self.fitting(piece, room)];
            }
            (end, room) = (end + piece.len(), room - count);
        }
        text
    }

    /// How many bytes at the beginning of a piece have `tokens` tokens. The whole piece has more.
    fn fitting(&self, piece: &str, tokens: usize) -> usize {
        let (mut fits, mut exceeds) = (0, piece.len());
        while exceeds - fits > 1 {
            let middle = piece.floor_char_boundary(fits.midpoint(exceeds));
            if middle <= fits {
                let next = piece.ceil_char_boundary(fits + 1);
                if next >= exceeds || self.count(&piece[..next]) > tokens {
                    break;
                }
                fits = next;
            } else if self.count(&piece[..middle]) > tokens {
                exceeds = middle;
            } else {
                fits = middle;
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_what_the_model_reads() {
        let counter = TokenCounter::openai("text-embedding-ada-002").unwrap();
        for unit in ["the quick brown fox ", "狐は犬を飛び越える。", "a", "🦊", " \n\n", "x1-"] {
            let text = unit.repeat(200_000 / unit.len());
            let beginning = counter.beginning(&text);
            let tokens = counter.count(beginning);
            assert!(tokens <= counter.max_tokens(), "{unit}: {tokens}");
            assert!(beginning.len() == text.len() || tokens > counter.max_tokens() - 100, "{unit}: {tokens}");
        }
        assert_eq!(counter.beginning("short"), "short");
    }

    #[test]
    fn openai_counts_as_its_models_do() {
        let counter = TokenCounter::openai("text-embedding-3-small").unwrap();
        // The example is from OpenAI's documentation of tiktoken.
        assert_eq!(counter.count("tiktoken is great!"), 6);
        assert_eq!(counter.count("<|endoftext|>"), 7, "special tokens are text here");
        assert_eq!(counter.count(""), 0);
        assert!(TokenCounter::openai("nomic-embed-text").is_none());
    }
}
