//! What was asked of the models of a provider since the start, for those who watch it.

use crate::stats::Counter;

/// Counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Batches of texts, each counted once however often it was tried.
    pub(crate) calls: Counter,
    pub(crate) texts: Counter,
    pub(crate) tokens: Counter,
    pub(crate) retries: Counter,
    /// Calls that gave no vectors.
    pub(crate) failures: Counter,
}

impl Stats {
    /// A call for so many texts has ended, with so many tokens read.
    pub(super) fn ended(&self, texts: usize, tokens: Option<u64>) {
        self.calls.add(1);
        match tokens {
            Some(tokens) => {
                self.texts.add(texts as u64);
                self.tokens.add(tokens);
            }
            None => self.failures.add(1),
        }
    }
}
