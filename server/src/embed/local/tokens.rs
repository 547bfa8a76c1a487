//! Turns text into token ids with the `tokenizers` crate. The maximum length comes from the model, not from
//! `tokenizer.json`, and the work depends on that length, not on the length of the text.

use std::path::Path;

use tokenizers::{Encoding, Tokenizer, TruncationDirection};

use super::LoadError;

/// Number of bytes of a text that are read first. More are read only if these have too few tokens.
const FIRST_CUT: usize = 8 << 10;

/// Maximum number of bytes of a text that are read. Ordinary text has a token per 1 to 8 bytes. Only a text of almost
/// nothing but spaces or control characters has fewer than 512 tokens within this limit and is cut off.
const MAX_READ_BYTES: usize = 256 << 10;

/// A cut can change the tokens of the word that it divides. BERT's WordPiece makes at most 100 tokens of a word
/// (`max_input_chars_per_word`). So the tokens that the model reads are right if the text before the cut has this many
/// more.
const CUT_MARGIN: usize = 128;

pub(super) struct Tokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// The number of tokens added to every text: [CLS] and [SEP].
    added_tokens: usize,
    lower_case: bool,
}

/// The part of a text that the model reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokenized {
    /// At least one, at most `max_tokens`.
    pub(super) ids: Vec<u32>,
    pub(super) truncated: bool,
}

impl Tokens {
    /// Reads `tokenizer.json`. Checks that every id is below `vocabulary`.
    pub(super) fn load(file: &Path, vocabulary: usize, max_tokens: usize, lower_case: bool) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::Unusable { file: file.to_owned(), why };
        let json = std::fs::read(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| unusable(error.to_string()))?;
        // tokenizer.json also has a length (128 for all-MiniLM-L6-v2), with which the model was not meant to be used.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
        if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().find(|&(_, id)| id as usize >= vocabulary) {
            return Err(unusable(format!(
                "token {token:?} has the id {id}, but the model has only {vocabulary} tokens"
            )));
        }
        let added_tokens = tokenizer.encode_fast("", true).map_err(|error| unusable(error.to_string()))?.len();
        if added_tokens == 0 {
            return Err(unusable("it puts no [CLS] and [SEP] around a text".to_owned()));
        }
        if added_tokens >= max_tokens {
            return Err(unusable(format!(
                "it adds {added_tokens} tokens to a text, but the model reads only {max_tokens}"
            )));
        }
        // A cuneiform word, which no vocabulary has.
        tokenizer
            .encode_fast("\u{12000}".repeat(101), true)
            .map_err(|error| unusable(format!("it has no token for unknown words: {error}")))?;
        Ok(Self { tokenizer, max_tokens, added_tokens, lower_case })
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Maximum number of tokens that the model reads from a text, without the added ones.
    pub(super) fn max_text_tokens(&self) -> usize {
        self.max_tokens - self.added_tokens
    }

    /// The number of tokens of a text of any length, without the added ones.
    pub(super) fn count(&self, text: &str) -> usize {
        // No tokenizer that loads can fail here, and no text has more tokens than bytes.
        self.encode(text).map_or(text.len(), |encoding| encoding.len())
    }

    /// The tokens of a [`readable`] text, at most `max_tokens`.
    pub(super) fn tokenize(&self, text: &str) -> Result<Tokenized, tokenizers::Error> {
        let limit = self.max_text_tokens();
        let mut cut = FIRST_CUT;
        loop {
            let read = prefix(text, cut);
            let mut encoding = self.encode(read)?;
            let whole = read.len() == text.len();
            if whole || encoding.len() >= limit + CUT_MARGIN || cut >= MAX_READ_BYTES {
                let truncated = !whole || encoding.len() > limit;
                encoding.truncate(limit, 0, TruncationDirection::Right);
                let encoding = self.tokenizer.post_process(encoding, None, true)?;
                return Ok(Tokenized { ids: encoding.get_ids().to_vec(), truncated });
            }
            cut = (4 * cut).min(MAX_READ_BYTES);
        }
    }

    fn encode(&self, text: &str) -> Result<Encoding, tokenizers::Error> {
        if self.lower_case {
            self.tokenizer.encode_fast(text.to_lowercase(), false)
        } else {
            self.tokenizer.encode_fast(text, false)
        }
    }
}

/// The part of a text that can matter to `tokenize`. White space around a text does not, because sentence-transformers
/// removes it.
pub(super) fn readable(text: &str) -> &str {
    // Includes one more character, so that `tokenize` still sees that the text continues.
    prefix(text.trim(), MAX_READ_BYTES + 4)
}

/// At most the first `len` bytes, without splitting a character.
fn prefix(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
