//! The bytes that requests may take at a time: those that arrive, what is decoded of them, and the vectors that are made of
//! them. What is used up is waited for in order, and given back when the call ends.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for.
const UNIT: usize = 1024;
/// At most so many requests wait, because the beginning of each is in memory too.
const MAX_WAITING: usize = 128;

/// The budget was used up for as long as a request may wait.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the server has as many bytes of requests at hand as it may; repeat the call later, or send smaller requests and fewer \
     at a time"
)]
pub(crate) struct Exhausted;

/// Bytes for requests of one kind, so that those of another do not wait for them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    free: Arc<Semaphore>,
    units: usize,
    /// One permit for each request that may wait.
    turns: Semaphore,
    /// The right to go beyond the budget. A request that holds bytes already cannot wait in line: those before it may wait
    /// for what it holds. One at a time goes beyond, and so one always ends.
    beyond: Arc<Semaphore>,
    wait: Duration,
}

impl Budget {
    pub(crate) fn new(bytes: usize, wait: Duration) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (free, beyond) = (Arc::new(Semaphore::new(units)), Arc::new(Semaphore::new(1)));
        Self(Arc::new(BudgetState { free, units, turns: Semaphore::new(MAX_WAITING), beyond, wait }))
    }

    /// All that it has.
    pub(crate) fn bytes(&self) -> usize {
        self.0.units * UNIT
    }

    /// Nothing of it, for a request that has begun.
    pub(crate) fn begin(&self) -> Held {
        Held { budget: self.clone(), permit: None, beyond: None }
    }
}

/// What a request holds of a budget, until it is dropped.
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

    /// How much that is; nothing of a small request.
    pub(crate) fn bytes(&self) -> usize {
        self.units() * UNIT
    }

    /// Holds so many bytes from now on; of more than there are all.
    pub(crate) async fn set(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let BudgetState { free, units, turns, beyond, wait } = &*self.budget.0;
        let (wanted, held) = (bytes.div_ceil(UNIT).min(*units), self.units());
        if wanted <= held {
            // Dropped, which gives it back.
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

/// What the part that receives a call passes to the part that answers it, among the extensions of the request.
#[derive(Clone, Debug)]
pub(crate) struct Received(Arc<ReceivedState>);

#[derive(Debug)]
struct ReceivedState {
    budget: Budget,
    held: Mutex<Option<Held>>,
    /// Whether to decode the next message takes long.
    is_large: AtomicBool,
}

impl Received {
    pub(crate) fn new(budget: Budget) -> Self {
        Self(Arc::new(ReceivedState { budget, held: Mutex::default(), is_large: AtomicBool::new(false) }))
    }

    /// A large message is there. It holds this for as long as the call lasts, or whoever takes it.
    pub(crate) fn put(&self, held: Held) {
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        self.0.is_large.store(true, Ordering::Relaxed);
    }

    /// What the message that was received last holds.
    pub(crate) fn take(&self) -> Held {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.unwrap_or_else(|| self.0.budget.begin())
    }

    /// Whether a large message is there that was not decoded yet; then that begins.
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
