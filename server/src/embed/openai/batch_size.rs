//! Learns how many texts a provider accepts in a request. It starts with the configured number and lowers it after
//! refusals.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The learned number never goes below this, so that one odd refusal does not slow everything down.
const MIN_LEARNED: usize = 8;
/// The number of full requests that must succeed after the first refusal before more texts are tried. It doubles with
/// each further refusal.
const FIRST_WAIT: usize = 16;
const MAX_WAIT: usize = 1_024;

#[derive(Debug)]
pub(super) struct BatchSize {
    /// The configured maximum.
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    texts: usize,
    /// The number of full requests that have succeeded since the size last changed.
    passed: usize,
    wait: usize,
}

impl BatchSize {
    pub(super) fn new(max: usize) -> Self {
        Self { max, state: Mutex::new(State { texts: max, passed: 0, wait: FIRST_WAIT }) }
    }

    pub(super) fn texts(&self) -> usize {
        self.state().texts
    }

    /// Records that a request with this many texts succeeded. After many full requests it doubles the size again: the
    /// refusal may have had another reason, or the provider may have a new limit.
    pub(super) fn passed(&self, texts: usize) {
        let mut state = self.state();
        if state.texts == self.max || texts < state.texts {
            return;
        }
        state.passed += 1;
        if state.passed >= state.wait {
            (state.texts, state.passed) = (state.texts.saturating_mul(2).min(self.max), 0);
        }
    }

    /// Records that a request was refused, and that all of its texts passed in requests of at most `texts` texts.
    pub(super) fn learn(&self, texts: usize) {
        let texts = texts.max(MIN_LEARNED);
        let mut state = self.state();
        if texts < state.texts {
            (state.texts, state.passed, state.wait) = (texts, 0, (state.wait * 2).min(MAX_WAIT));
            tracing::warn!(texts, "the embedding provider accepts fewer texts per request than configured");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shrinks_and_recovers() {
        let size = BatchSize::new(128);
        size.learn(32);
        assert_eq!(size.texts(), 32);
        (0..31).for_each(|_| size.passed(32));
        size.passed(31);
        assert_eq!(size.texts(), 32);
        size.passed(32);
        assert_eq!(size.texts(), 64);
        size.learn(32);
        (0..63).for_each(|_| size.passed(32));
        assert_eq!(size.texts(), 32, "after another refusal it waits longer");
        size.passed(32);
        (0..64).for_each(|_| size.passed(64));
        assert_eq!(size.texts(), 128);
        (0..2_000).for_each(|_| size.passed(128));
        assert_eq!(size.texts(), 128);
    }

    #[test]
    fn one_odd_refusal_does_not_stop_it() {
        let size = BatchSize::new(128);
        size.learn(1);
        assert_eq!(size.texts(), MIN_LEARNED);
        let small = BatchSize::new(4);
        small.learn(1);
        assert_eq!(small.texts(), 4);
    }
}
