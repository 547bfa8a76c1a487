//! Turning text into token ids: the `tokenizers` crate, with the model's own length instead of the one in `tokenizer.json`,
//! and work that depends on that length, not on the text's.

use std::path::Path;

use tokenizers::{Encoding, Tokenizer, TruncationDirection};

use super::LoadError;

/// Bytes of a text that are looked at first; more only when they hold too few tokens.
const FIRST_CUT: usize = 8 << 10;

/// Bytes of a text that are looked at at most. Ordinary text has a token per 1 to 8 bytes; only one of nearly nothing but
/// spaces or control characters has less than 512 tokens here, and is cut off.
const MAX_READ_BYTES: usize = 256 << 10;

/// A cut can change the tokens of the word that it goes through. BERT's WordPiece makes at most 100 of a word
/// (`max_input_chars_per_word`), so with this many more tokens than the model reads, those it reads are the right ones.
const CUT_MARGIN: usize = 128;

pub(super) struct Tokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// Tokens that stand around every text: [CLS] and [SEP].
    added_tokens: usize,
    lower_case: bool,
}

/// What the model reads of one text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokenized {
    /// At least one, at most `max_tokens`.
    pub(super) ids: Vec<u32>,
    pub(super) truncated: bool,
}

impl Tokens {
    /// Reads `tokenizer.json`; every id it can give is below `vocabulary`.
    pub(super) fn load(file: &Path, vocabulary: usize, max_tokens: usize, lower_case: bool) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::Unusable { file: file.to_owned(), why };
        let json = std::fs::read(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| unusable(error.to_string()))?;
        // tokenizer.json also carries a length (128 for all-MiniLM-L6-v2) that the model was not meant to be used with.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
        if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().find(|&(_, id)| id as usize >= vocabulary) {
            return Err(unusable(format!("token {token:?} has the id {id}, the model has only {vocabulary} tokens")));
        }
        let added_tokens = tokenizer.encode_fast("", true).map_err(|error| unusable(error.to_string()))?.len();
        if added_tokens == 0 {
            return Err(unusable("it puts no [CLS] and [SEP] around a text".to_owned()));
        }
        if added_tokens >= max_tokens {
            return Err(unusable(format!("it adds {added_tokens} tokens to a text, the model reads {max_tokens}")));
        }
        // A word of cuneiform that no vocabulary has.
        tokenizer
            .encode_fast("\u{12000}".repeat(101), true)
            .map_err(|error| unusable(format!("it has no token for unknown words: {error}")))?;
        Ok(Self { tokenizer, max_tokens, added_tokens, lower_case })
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Tokens of a text that the model reads at most, without those that stand around it.
    pub(super) fn max_text_tokens(&self) -> usize {
        self.max_tokens - self.added_tokens
    }

    /// The number of the tokens of a text, however long it is, without those that stand around it.
    pub(super) fn count(&self, text: &str) -> usize {
        // No tokenizer that can be loaded fails, and no text has more tokens than bytes.
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

/// The part of a text that can matter to `tokenize`. White space around a text does not: sentence-transformers cuts it off.
pub(super) fn readable(text: &str) -> &str {
    // A character more than is read, so that `tokenize` still sees that the text goes on.
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
