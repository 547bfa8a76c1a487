//! How many texts a provider takes in a request: as many as configured, until it refuses that many.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing below this is learned, so that one odd refusal does not slow everything down.
const MIN_LEARNED: usize = 8;
/// Full requests that must pass before more texts are tried, after the first refusal; twice as many after each other one.
const FIRST_WAIT: usize = 16;
const MAX_WAIT: usize = 1_024;

#[derive(Debug)]
pub(super) struct BatchSize {
    /// What is configured.
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    texts: usize,
    /// Requests with so many texts that passed since that changed.
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

    /// A request with so many texts has passed. After many full ones twice as many are tried again: the refusal may have
    /// had another reason, or the provider another limit by now.
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

    /// A request was refused, and all of its texts passed in requests of at most so many.
    pub(super) fn learn(&self, texts: usize) {
        let texts = texts.max(MIN_LEARNED);
        let mut state = self.state();
        if texts < state.texts {
            (state.texts, state.passed, state.wait) = (texts, 0, (state.wait * 2).min(MAX_WAIT));
            tracing::warn!(texts, "the embedding provider takes fewer texts in a request than configured");
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
