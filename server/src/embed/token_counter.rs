//! Counting the tokens of a text as its model does, so that chunks can be as large as the model reads.

use super::LocalModel;

/// OpenAI's own embedding models: all of them have the tokenizer `cl100k_base` and read this many tokens.
const OPENAI_MODELS: [&str; 3] = ["text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"];
const OPENAI_MAX_TOKENS: usize = 8_191;

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
}

#[cfg(test)]
mod tests {
    use super::*;

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
