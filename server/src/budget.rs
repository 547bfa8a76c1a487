//! A budget for the memory of requests: the bytes that arrive, the decoded messages, and the vectors made from them.
//! Requests wait in order for bytes and give them back when their call ends.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of bytes per permit.
const UNIT: usize = 1024;
/// The maximum number of waiting requests. The beginning of each is in memory too.
const MAX_WAITING: usize = 128;

/// The wait for a share of the budget took too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the memory for requests is used up; repeat the call later, or send fewer and smaller requests at a time")]
pub(crate) struct Exhausted;

/// A budget for requests of one kind, so that they do not wait for requests of another kind. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    free: Arc<Semaphore>,
    units: usize,
    /// One permit for each request that may wait for bytes.
    turns: Semaphore,
    /// The right to exceed the budget. A request that already holds bytes cannot wait in line, because a request before
    /// it may wait for those bytes. One request at a time may exceed the budget, so one always ends.
    beyond: Arc<Semaphore>,
    wait: Duration,
}

impl Budget {
    pub(crate) fn new(bytes: usize, wait: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (free, beyond) = (Arc::new(Semaphore::new(units)), Arc::new(Semaphore::new(1)));
        Self(Arc::new(BudgetState { free, units, turns: Semaphore::new(MAX_WAITING), beyond, wait }))
    }

    /// The size of the budget.
    pub(crate) fn bytes(&self) -> usize {
        self.0.units * UNIT
    }

    /// An empty share, for a request that has begun.
    pub(crate) fn begin(&self) -> Held {
        Held { budget: self.clone(), permit: None, beyond: None }
    }
}

/// The share of a budget that a request holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// The number of bytes held, 0 for a small request.
    pub(crate) fn bytes(&self) -> usize {
        self.units() * UNIT
    }

    /// Changes the share to `bytes`, at most to the whole budget.
    pub(crate) async fn set(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let BudgetState { free, units, turns, beyond, wait } = &*self.budget.0;
        let (wanted, held) = (bytes.div_ceil(UNIT).min(*units), self.units());
        if wanted <= held {
            // The split-off part is dropped, which gives it back.
            let _ = self.permit.as_mut().and_then(|permit| permit.split(held - wanted));
            return Ok(());
        }
        if self.beyond.is_some() {
            return Ok(());
        }
        // A budget has at most u32::MAX units.
        let more = (wanted - held) as u32;
        match &mut self.permit {
            None => {
                let Ok(_turn) = turns.try_acquire() else { return Err(Exhausted) };
                let taking = tokio::time::timeout(*wait, Arc::clone(free).acquire_many_owned(more));
                self.permit = Some(taking.await.map_err(|_| Exhausted)?.map_err(|_| Exhausted)?);
            }
            Some(permit) => match Arc::clone(free).try_acquire_many_owned(more) {
                Ok(taken) => permit.merge(taken),
                Err(_) => {
                    let taking = tokio::time::timeout(*wait, Arc::clone(beyond).acquire_owned());
                    self.beyond = Some(taking.await.map_err(|_| Exhausted)?.map_err(|_| Exhausted)?);
                }
            },
        }
        Ok(())
    }
}

/// The part that receives a call passes this in the extensions of the request to the part that answers the call.
#[derive(Clone, Debug)]
pub(crate) struct Received(Arc<ReceivedState>);

#[derive(Debug)]
struct ReceivedState {
    budget: Budget,
    held: Mutex<Option<Held>>,
    /// Whether decoding the next message takes long.
    is_large: AtomicBool,
}

impl Received {
    pub(crate) fn new(budget: Budget) -> Self {
        Self(Arc::new(ReceivedState { budget, held: Mutex::default(), is_large: AtomicBool::new(false) }))
    }

    /// Announces a large message. Its share is held until the call ends, or until the caller of [`Self::take`] drops
    /// it.
    pub(crate) fn put(&self, held: Held) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        self.0.is_large.store(true, Ordering::Relaxed);
    }

    /// The share of the message that was received last.
    pub(crate) fn take(&self) -> Held {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.unwrap_or_else(|| self.0.budget.begin())
    }

    /// Returns whether a large message waits to be decoded, and marks it as begun.
    pub(crate) fn begin_decoding(&self) -> bool {
        self.0.is_large.load(Ordering::Relaxed) && self.0.is_large.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(bytes: usize) -> Budget {
        Budget::new(bytes, Duration::from_millis(50))
    }

    async fn held(budget: &Budget, bytes: usize) -> Result<Held, Exhausted> {
        let mut held = budget.begin();
        held.set(bytes).await.map(|()| held)
    }

    #[tokio::test]
    async fn bytes_are_given_back() {
        let budget = budget(10 * UNIT);
        let mut first = held(&budget, 8 * UNIT).await.expect("free");
        assert!(held(&budget, 3 * UNIT).await.is_err());
        first.set(5 * UNIT).await.expect("less");
        let second = held(&budget, 5 * UNIT).await.expect("given back");
        drop((first, second));
        held(&budget, 10 * UNIT).await.expect("all");
        held(&budget, 99 * UNIT).await.expect("as much as there is");
        assert_eq!(budget.0.free.available_permits(), 10);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let budget = Budget::new(UNIT, Duration::from_secs(60));
        let first = held(&budget, UNIT).await.expect("free");
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(held(&budget, UNIT))).collect();
        for waiting in &mut waiting {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        assert!(held(&budget, UNIT).await.is_err());
        drop(first);
        waiting.swap_remove(0).await.expect("its turn");
    }

    #[tokio::test]
    async fn one_at_a_time_goes_beyond() {
        let budget = budget(10 * UNIT);
        let mut first = held(&budget, 5 * UNIT).await.expect("free");
        let mut second = held(&budget, 5 * UNIT).await.expect("free");
        first.set(6 * UNIT).await.expect("beyond");
        first.set(9 * UNIT).await.expect("further beyond");
        assert!(second.set(6 * UNIT).await.is_err());
        let waits = tokio::spawn(async move { second.set(6 * UNIT).await.map(|()| second) });
        tokio::task::yield_now().await;
        drop(first);
        waits.await.expect("a task").expect("its turn");
        assert_eq!((budget.0.free.available_permits(), budget.0.beyond.available_permits()), (10, 1));
    }
}
