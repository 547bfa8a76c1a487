//! Decides who is next when a model is busy. Queries come before documents, since somebody waits for them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{EmbedError, Purpose};
use crate::blocking::Stopped;

/// Maximum number of calls that wait for a turn, for queries and for documents each.
const MAX_WAITING: usize = 500;
/// Maximum number of queries in a row that overtake documents. Then documents get a turn, so that a flood of searches
/// never stops an ingest.
const MAX_PASSING: usize = 8;

/// A fixed number of turns at a model. Some can be reserved for queries; documents never take those.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    /// The number of waiting queries, readable without the lock.
    waiting_queries: AtomicUsize,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The number of turns that documents may still take.
    free_for_documents: usize,
    queries: VecDeque<Waiter>,
    /// Documents that gave way in the middle of their turn. They come before other documents.
    interrupted: VecDeque<Waiter>,
    documents: VecDeque<Waiter>,
    /// The number of queries in a row that overtook documents.
    passing: usize,
}

type Waiter = oneshot::Sender<Turn>;

/// A turn at a model, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    purpose: Purpose,
}

impl Turns {
    pub(super) fn new(total: usize, reserved_for_queries: usize) -> Self {
        let state = State {
            free: total,
            free_for_documents: total.saturating_sub(reserved_for_queries),
            queries: VecDeque::new(),
            interrupted: VecDeque::new(),
            documents: VecDeque::new(),
            passing: 0,
        };
        Self { state: Mutex::new(state), waiting_queries: AtomicUsize::new(0) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] at once if too many calls wait.
    pub(super) async fn take(self: &Arc<Self>, purpose: Purpose) -> Result<Turn, EmbedError> {
        let (waiter, turn) = oneshot::channel();
        self.change(|state| state.enqueue(purpose, waiter))?;
        // A waiter is dropped without a turn only at shutdown.
        turn.await.map_err(|_| Stopped.into())
    }

    /// Changes the state, then hands out the free turns.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        while let Some((purpose, waiter)) = state.next() {
            self.waiting_queries.store(state.queries.len(), Ordering::Relaxed);
            // A waiter that has given up drops the turn, which takes the lock.
            drop(state);
            drop(waiter.send(Turn { turns: Arc::clone(self), purpose }));
            state = self.lock();
        }
        self.waiting_queries.store(state.queries.len(), Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enqueue(&mut self, purpose: Purpose, waiter: Waiter) -> Result<(), EmbedError> {
        let waiters = match purpose {
            Purpose::Query => &mut self.queries,
            Purpose::Document => &mut self.documents,
        };
        if waiters.len() >= MAX_WAITING {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        if waiters.len() >= MAX_WAITING {
            return Err(EmbedError::Busy);
        }
        waiters.push_back(waiter);
        Ok(())
    }

    /// Takes a free turn for the next waiter.
    fn next(&mut self) -> Option<(Purpose, Waiter)> {
        if self.free == 0 {
            return None;
        }
        // Skips waiters that have given up.
        for waiters in [&mut self.queries, &mut self.interrupted, &mut self.documents] {
            while waiters.front().is_some_and(Waiter::is_closed) {
                waiters.pop_front();
            }
        }
        let document_waits = self.free_for_documents > 0 && !(self.interrupted.is_empty() && self.documents.is_empty());
        let next = if document_waits && (self.queries.is_empty() || self.passing >= MAX_PASSING) {
            self.passing = 0;
            self.free_for_documents -= 1;
            (Purpose::Document, self.interrupted.pop_front().or_else(|| self.documents.pop_front())?)
        } else {
            let query = self.queries.pop_front()?;
            self.passing = if document_waits { self.passing + 1 } else { 0 };
            (Purpose::Query, query)
        };
        self.free -= 1;
        Some(next)
    }
}

impl Turn {
    /// Lets waiting queries go first, and blocks the thread until it is its turn again. For turns with documents.
    pub(super) fn give_way(self) -> Option<Self> {
        if self.turns.waiting_queries.load(Ordering::Relaxed) == 0 {
            return Some(self);
        }
        let (waiter, turn) = oneshot::channel();
        self.turns.lock().interrupted.push_back(waiter);
        drop(self);
        turn.blocking_recv().ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.change(|state| {
            state.free += 1;
            state.free_for_documents += usize::from(self.purpose == Purpose::Document);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt, task::Poll};

    use futures_util::{FutureExt as _, future::BoxFuture, poll};

    use super::*;

    struct Waiting(BoxFuture<'static, Result<Turn, EmbedError>>);

    impl fmt::Debug for Waiting {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Waiting")
        }
    }

    /// Enters the queue, or gets a turn at once.
    async fn stand(turns: &Arc<Turns>, purpose: Purpose) -> Result<Turn, Waiting> {
        let turns = Arc::clone(turns);
        let mut waiting = async move { turns.take(purpose).await }.boxed();
        match poll!(&mut waiting) {
            Poll::Ready(turn) => Ok(turn.unwrap()),
            Poll::Pending => Err(Waiting(waiting)),
        }
    }

    /// The turn of a waiter, if it has come.
    async fn turn(waiting: &mut Waiting) -> Option<Turn> {
        match poll!(&mut waiting.0) {
            Poll::Ready(turn) => Some(turn.unwrap()),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn queries_come_first_and_documents_in_their_order() {
        let turns = Arc::new(Turns::new(1, 0));
        let held = stand(&turns, Purpose::Document).await.unwrap();
        let mut documents =
            [stand(&turns, Purpose::Document).await.unwrap_err(), stand(&turns, Purpose::Document).await.unwrap_err()];
        let mut query = stand(&turns, Purpose::Query).await.unwrap_err();
        drop(held);
        assert!(turn(&mut documents[0]).await.is_none());
        drop(turn(&mut query).await.expect("the query is next"));
        assert!(turn(&mut documents[1]).await.is_none());
        drop(turn(&mut documents[0]).await.expect("the first document is next"));
        turn(&mut documents[1]).await.expect("the second document is next");
    }

    #[tokio::test]
    async fn documents_leave_what_is_reserved() {
        let turns = Arc::new(Turns::new(3, 1));
        let _held = [stand(&turns, Purpose::Document).await.unwrap(), stand(&turns, Purpose::Document).await.unwrap()];
        let mut document = stand(&turns, Purpose::Document).await.unwrap_err();
        let query = stand(&turns, Purpose::Query).await.expect("a turn is reserved");
        drop(query);
        assert!(turn(&mut document).await.is_none());
    }

    #[tokio::test]
    async fn a_flood_of_queries_lets_documents_through() {
        let turns = Arc::new(Turns::new(1, 0));
        let mut held = Some(stand(&turns, Purpose::Query).await.unwrap());
        let mut document = stand(&turns, Purpose::Document).await.unwrap_err();
        let mut passed = 0;
        loop {
            let mut query = stand(&turns, Purpose::Query).await.unwrap_err();
            drop(held.take());
            held = turn(&mut query).await;
            if held.is_none() {
                break;
            }
            passed += 1;
        }
        assert_eq!(passed, MAX_PASSING);
        turn(&mut document).await.expect("the document is next");
    }

    #[tokio::test]
    async fn those_who_give_up_take_no_turn_and_no_place() {
        let turns = Arc::new(Turns::new(1, 0));
        let held = stand(&turns, Purpose::Query).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING {
            waiting.push(stand(&turns, Purpose::Query).await.unwrap_err());
        }
        let refused = turns.take(Purpose::Query).await;
        assert!(matches!(refused, Err(EmbedError::Busy)), "{refused:?}");
        // Documents have a queue of their own.
        let mut document = stand(&turns, Purpose::Document).await.unwrap_err();
        waiting.clear();
        let query = stand(&turns, Purpose::Query).await.unwrap_err();
        drop(held);
        // A waiter that has its turn but never looks.
        drop(query);
        drop(turn(&mut document).await.expect("the document is next"));
        stand(&turns, Purpose::Query).await.expect("nobody else is there");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_document_gives_way_to_queries_alone() {
        let turns = Arc::new(Turns::new(1, 0));
        let held = stand(&turns, Purpose::Document).await.unwrap();
        let mut other = stand(&turns, Purpose::Document).await.unwrap_err();
        let held = held.give_way().expect("nobody to give way to");
        let mut query = stand(&turns, Purpose::Query).await.unwrap_err();
        let giving = tokio::task::spawn_blocking(move || held.give_way());
        let query = loop {
            match turn(&mut query).await {
                Some(query) => break query,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(!giving.is_finished());
        drop(query);
        let again = giving.await.unwrap().expect("it continues");
        assert!(turn(&mut other).await.is_none());
        drop(again);
        turn(&mut other).await.expect("the other document is next");
    }
}
