//! Counts the calls to the models of a provider since the start, for operators.

use crate::stats::Counter;

/// Each is counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Batches of texts. Each counts once, however often it was tried.
    pub(crate) calls: Counter,
    pub(crate) texts: Counter,
    pub(crate) tokens: Counter,
    pub(crate) retries: Counter,
    /// Calls that returned no vectors.
    pub(crate) failures: Counter,
}

impl Stats {
    /// Records the end of a call for `texts` texts, with the number of tokens read.
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
