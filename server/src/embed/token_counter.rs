//! Counting the tokens of a text as its model does, so that chunks can be as large as the model reads.

use super::LocalModel;

/// OpenAI's own embedding models: all of them have the tokenizer `cl100k_base` and read this many tokens.
const OPENAI_MODELS: [&str; 3] = ["text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"];
const OPENAI_MAX_TOKENS: usize = 8_191;
/// Bytes that are counted at a time to find where a text is too long.
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

    /// The tokenizer of a provider's model, if it is one of OpenAI's own.
    pub(super) fn openai(model: &str) -> Option<Self> {
        OPENAI_MODELS.contains(&model).then_some(Self(Tokenizer::Cl100k))
    }

    /// Tokens of a text that the model reads at most, without those that it adds.
    pub fn max_tokens(&self) -> usize {
        match &self.0 {
            Tokenizer::Local(model) => model.max_text_tokens(),
            Tokenizer::Cl100k => OPENAI_MAX_TOKENS,
        }
    }

    /// The number of the tokens of a text, without those that the model adds. Takes as long as the text, and at the first
    /// time for OpenAI's models a fraction of a second more.
    pub fn count(&self, text: &str) -> usize {
        match &self.0 {
            Tokenizer::Local(model) => model.count_tokens(text),
            Tokenizer::Cl100k => tiktoken_rs::cl100k_base_singleton().count_ordinary(text),
        }
    }

    /// The longest beginning of a text that the model reads. Takes as long as that beginning.
    pub fn beginning<'t>(&self, text: &'t str) -> &'t str {
        let (mut end, mut room) = (0, self.max_tokens());
        // In pieces, since some tokenizers take long for a long word. No token goes over a space that follows a word.
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

    /// How many bytes of the beginning of a piece have so many tokens, fewer than all of it.
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
        // From OpenAI's documentation of tiktoken.
        assert_eq!(counter.count("tiktoken is great!"), 6);
        assert_eq!(counter.count("<|endoftext|>"), 7, "special tokens are text here");
        assert_eq!(counter.count(""), 0);
        assert!(TokenCounter::openai("nomic-embed-text").is_none());
    }
}
