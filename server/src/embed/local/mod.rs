//! Embeds in this process: BERT models in sentence-transformers format, such as all-MiniLM-L6-v2, on the CPU.
//!
//! `config` and `tokens` read the folder of a model, and `weights` reads its numbers. `bert` is the network. It uses
//! the products of `matrix` and the elementwise functions of `kernels`.

mod bert;
mod config;
mod kernels;
mod matrix;
mod tokens;
mod weights;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use tokio::task::JoinSet;

use self::{
    bert::Bert,
    config::Config,
    tokens::{Tokenized, Tokens, readable},
};
use super::{
    EmbedError, Embeddings, Purpose,
    turns::{Turn, Turns},
};
use crate::blocking::{Stopped, blocking};

/// The estimated number of tokens that are embedded in one batch, enough to keep a core busy. Documents give way to
/// queries more often, after every few milliseconds of work on a batch.
const BATCH_TOKENS: usize = 512;

/// Limits the batches that run at the same time in this process to one per core. Each call of [`LocalModel::embed`] is
/// in the queue once, however many texts it has.
static CORES: LazyLock<Arc<Turns>> =
    LazyLock::new(|| Arc::new(Turns::new(available_parallelism().map_or(1, usize::from), 0)));

/// A model in memory. Clones share it.
#[derive(Clone)]
pub struct LocalModel {
    model: Arc<Model>,
}

struct Model {
    tokens: Tokens,
    bert: Bert,
}

/// Why a folder cannot be used as a model.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The file is broken, or the model is of another kind.
    #[error("{} cannot be used: {why}", file.display())]
    Unusable { file: PathBuf, why: String },
}

impl LocalModel {
    /// Loads a sentence-transformers folder: `config.json`, `tokenizer.json`, `model.safetensors`. If they exist, it
    /// also reads `sentence_bert_config.json`, `modules.json` and the pooling module's `config.json`. Blocks for a
    /// fraction of a second per 100 MB.
    ///
    /// # Errors
    /// If a file is missing or broken, or if the model is not BERT with mean or CLS pooling.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let config = Config::read(dir)?;
        let (vocabulary, max_tokens) = (config.vocabulary, config.max_tokens);
        let tokens = Tokens::load(&dir.join("tokenizer.json"), vocabulary, max_tokens, config.lower_case)?;
        let weights = dir.join("model.safetensors");
        let model = Self { model: Arc::new(Model { tokens, bert: Bert::load(&weights, config)? }) };
        // Weights that are NaN, or so large that they overflow, would spoil every vector.
        match model.embed_blocking(&["a text"]) {
            Ok(embeddings) if embeddings.values.iter().all(|value| value.is_finite()) => Ok(model),
            _ => Err(LoadError::Unusable { file: weights, why: "its vectors are not finite".to_owned() }),
        }
    }

    /// The number of elements of a vector.
    pub fn dimensions(&self) -> usize {
        self.model.bert.dimensions()
    }

    /// Maximum number of tokens that the model reads from a text, including `[CLS]` and `[SEP]`. The rest of a longer
    /// text is cut off.
    pub fn max_tokens(&self) -> usize {
        self.model.tokens.max_tokens()
    }

    /// Maximum number of tokens that the model reads from a text, without `[CLS]` and `[SEP]`.
    pub fn max_text_tokens(&self) -> usize {
        self.model.tokens.max_text_tokens()
    }

    /// The number of tokens of a text, without `[CLS]` and `[SEP]`. The time grows with the text.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.model.tokens.count(text)
    }

    /// Embeds the texts on the blocking threads, with one batch per core at a time. Other calls get their turn between
    /// batches; queries also within a batch of documents. Dropping the future gives up the batches that have not begun.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] if too many calls wait, and [`EmbedError::Refused`] if the tokenizer fails on a text, which
    /// BERT's own never does.
    pub async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Embeddings, EmbedError> {
        let mut batches = JoinSet::new();
        for range in self.model.batches(texts) {
            let turn = CORES.take(purpose).await?;
            let model = Arc::clone(&self.model);
            let start = range.start;
            let texts: Vec<String> = texts[range].iter().map(|text| readable(text).to_owned()).collect();
            batches.spawn(blocking(move || {
                let mut turn = Some(turn);
                let mut pause = || {
                    if purpose == Purpose::Document {
                        turn = turn.take().and_then(Turn::give_way);
                    }
                };
                (start, model.embed_batch(&texts, &mut pause))
            }));
        }
        let dimensions = self.dimensions();
        let mut embeddings = Embeddings {
            values: vec![0.0; texts.len() * dimensions],
            tokens: 0,
            truncated: vec![false; texts.len()],
            ..Embeddings::default()
        };
        while let Some(done) = batches.join_next().await {
            let (start, batch) = match done {
                Ok(done) => done?,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return Err(Stopped.into()),
                },
            };
            let batch = batch?;
            embeddings.values[start * dimensions..][..batch.values.len()].copy_from_slice(&batch.values);
            embeddings.truncated[start..][..batch.truncated.len()].copy_from_slice(&batch.truncated);
            embeddings.tokens += batch.tokens;
        }
        Ok(embeddings)
    }

    /// Embeds the texts on this thread.
    ///
    /// # Errors
    /// Like [`LocalModel::embed`].
    pub fn embed_blocking(&self, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        let texts: Vec<&str> = texts.iter().map(|text| readable(text)).collect();
        self.model.embed_batch(&texts, &mut || {})
    }
}

impl fmt::Debug for LocalModel {
    /// Leaves out the weights: there are millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut model = f.debug_struct("LocalModel");
        model.field("dimensions", &self.dimensions()).field("max_tokens", &self.max_tokens()).finish_non_exhaustive()
    }
}

impl Model {
    /// Divides the texts into batches of similar size.
    fn batches(&self, texts: &[&str]) -> Vec<Range<usize>> {
        // An English token has about 4 bytes, and each text has two more tokens.
        let estimate = |text: &&str| (text.len() / 4 + 2).min(self.tokens.max_tokens());
        let total: usize = texts.iter().map(estimate).sum();
        let batch_tokens = total.div_ceil(total.div_ceil(BATCH_TOKENS).max(1));
        let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0);
        for (index, text) in texts.iter().enumerate() {
            tokens += estimate(text);
            if tokens >= batch_tokens || index + 1 == texts.len() {
                batches.push(start..index + 1);
                (start, tokens) = (index + 1, 0);
            }
        }
        batches
    }

    /// Embeds [`readable`] texts. Calls `pause` after every few milliseconds of work.
    fn embed_batch(&self, texts: &[impl AsRef<str>], pause: &mut dyn FnMut()) -> Result<Embeddings, EmbedError> {
        let tokenized: Vec<Tokenized> = texts
            .iter()
            .map(|text| {
                pause();
                self.tokens.tokenize(text.as_ref())
            })
            .collect::<Result<_, _>>()
            .map_err(|error| EmbedError::Refused { why: format!("the tokenizer cannot read the text: {error}") })?;
        let mut values = Vec::with_capacity(texts.len() * self.bert.dimensions());
        let mut rest: Vec<&[u32]> = tokenized.iter().map(|text| text.ids.as_slice()).collect();
        // The estimate can be far off. The true number of tokens limits the memory for a run through the model.
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest.iter().take_while(|ids| {
                tokens += ids.len();
                tokens <= 2 * BATCH_TOKENS
            });
            let count = fitting.count().max(1);
            values.extend(self.bert.embed(&rest[..count], pause));
            rest.drain(..count);
        }
        Ok(Embeddings {
            values,
            tokens: tokenized.iter().map(|text| text.ids.len() as u64).sum(),
            truncated: tokenized.iter().map(|text| text.truncated).collect(),
            ..Embeddings::default()
        })
    }
}
