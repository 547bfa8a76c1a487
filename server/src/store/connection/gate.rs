//! Decides which calls may have a connection. At most as many calls run as the pool has connections, shared fairly
//! among the classes of calls, and fewer while the database accepts no more connections.
//!
//! A search that would wait too long is refused at once. A queue that only grows would serve every caller late, even
//! callers that have given up.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

/// How long permits are withheld before the database is asked for more connections again.
const WITHHELD_FOR: Duration = Duration::from_secs(1);

/// A search is refused at once if its expected wait is more than this share of the maximum wait.
const LIKELY: f64 = 0.1;

/// If the queue becomes this many times slower than allowed, the last calls in it are refused.
const SLOWER: f64 = 3.0;

/// Until a queue has moved, concurrent calls are assumed to be this many times slower than single calls, as if they
/// waited for the same processors.
const SLOWER_TOGETHER: f64 = 4.0;
/// The number of calls over which durations, and the times between their ends, are averaged. One pause of a busy
/// machine must not look like a slow queue.
const AVERAGED: u32 = 8;
const AVERAGED_ENDS: u32 = 32;

/// The shortest and the longest time after which a refused call should be retried.
const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// The additional delay for each refused call per served call: refusing costs time, too.
const RETRY_STEP: Duration = Duration::from_secs(1);
/// The number of calls over which refused and served calls are compared.
const COMPARED: f64 = 64.0;

/// The kind of work of a call. Each class has its own queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Work on collections and indexes. It comes first, since it is short.
    Administration,
    /// Searches and reads of documents.
    Search,
    /// Writes of documents.
    Ingest,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Administration, Self::Search, Self::Ingest];
}

/// The limits of a gate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum number of calls with a connection.
    pub(super) running: usize,
    /// Maximum number of calls that write into one collection.
    pub(super) writers: usize,
    /// Maximum number of waiting calls per class.
    pub(super) waiting: usize,
    /// Maximum time that a call waits. Calls that write wait until their deadline.
    pub(super) wait: Duration,
}

impl Limits {
    /// Maximum number of running calls of a class.
    fn of(self, class: Class) -> usize {
        let half = (self.running / 2).max(1);
        match class {
            Class::Administration => half,
            Class::Search => self.running,
            Class::Ingest => half.max(self.writers),
        }
    }

    fn likely(self) -> Duration {
        self.wait.mul_f64(LIKELY)
    }

    /// Maximum number of running calls of a class for one collection, so that its locks leave connections to other
    /// collections.
    fn of_collection(self, class: Class) -> usize {
        match class {
            Class::Administration => self.running,
            Class::Search => self.running - 2 * self.spare(),
            // Even in a small pool there is room for a call that writes into another collection.
            Class::Ingest => {
                let most = self.of(class).min(self.running - self.reserve(class));
                self.writers.min(most - self.spare())
            }
        }
    }

    /// The number of permits that are kept for other calls.
    fn spare(self) -> usize {
        usize::from(self.running >= 4)
    }

    /// The number of permits that a class leaves to others.
    fn reserve(self, class: Class) -> usize {
        if class == Class::Administration { 0 } else { self.spare() }
    }
}

/// Why a call was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// The queue is full, or moves too slowly.
    Overloaded { waiting: usize, retry_after: Duration },
    /// The call has waited for the maximum time.
    Timeout,
}

/// Hands out permits to calls.
pub(super) struct Gate {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: usize,
    /// The number of permits for which the database has no connection, and since when.
    withheld: Option<(usize, Instant)>,
    lanes: [Lane; 3],
    /// The class that had the last turn, among those that share the remaining permits.
    last: Option<Class>,
}

/// The calls of a class.
#[derive(Default)]
struct Lane {
    running: usize,
    /// The number of running calls for each collection.
    by_collection: HashMap<i64, usize>,
    queue: VecDeque<Waiter>,
    /// How long a call keeps its permit, averaged over recent calls.
    held: Duration,
    /// The time between the ends of two calls while others wait, averaged over recent calls.
    interval: Option<Duration>,
    /// When the last call ended, if other calls waited.
    ended: Option<Instant>,
    /// The number of refused calls. Each served call reduces it by a share.
    refused: f64,
}

struct Waiter {
    collection: Option<i64>,
    grant: oneshot::Sender<Result<Permit, Refused>>,
}

impl Lane {
    /// The expected wait of the last of `calls` waiting calls.
    fn expected_wait(&self, calls: usize) -> Duration {
        // Calls that ran alone say little about how long they take together.
        let at_first = || self.held.mul_f64((SLOWER_TOGETHER / self.running.max(1) as f64).min(1.0));
        self.interval.unwrap_or_else(at_first).mul_f64(calls as f64)
    }

    /// Updates the averages when a call ends.
    fn end(&mut self, permit: &Permit) {
        let average = |before: Duration, last: Duration, calls: u32| (before * (calls - 1) + last) / calls;
        self.held = average(self.held, permit.since.elapsed(), AVERAGED);
        if self.queue.is_empty() {
            (self.interval, self.ended) = (None, None);
            return;
        }
        let now = Instant::now();
        if let Some(ended) = self.ended.replace(now) {
            self.interval = Some(average(self.interval.unwrap_or(self.expected_wait(1)), now - ended, AVERAGED_ENDS));
        }
    }

    /// Refuses the last calls in the queue if calls have become slower.
    fn shed(&mut self, likely: Duration) {
        let longest = likely.mul_f64(SLOWER);
        while self.expected_wait(self.queue.len()) > longest
            && let Some(waiter) = self.queue.pop_back()
        {
            let refused = self.refuse();
            drop(waiter.grant.send(Err(refused)));
        }
    }

    fn refuse(&mut self) -> Refused {
        self.refused += 1.0;
        let wait =
            self.expected_wait(self.queue.len() + 1) + RETRY_STEP.mul_f64((self.refused / COMPARED).min(1_000.0));
        Refused::Overloaded { waiting: self.queue.len(), retry_after: wait.clamp(MIN_RETRY, MAX_RETRY) }
    }
}

impl State {
    fn has_room(&self, limits: Limits, class: Class, collection: Option<i64>) -> bool {
        let lane = &self.lanes[class as usize];
        self.free > limits.reserve(class)
            && lane.running < limits.of(class)
            && collection
                .and_then(|id| lane.by_collection.get(&id))
                .is_none_or(|&running| running < limits.of_collection(class))
    }

    fn take(&mut self, gate: &Arc<Gate>, class: Class, collection: Option<i64>) -> Permit {
        let lane = &mut self.lanes[class as usize];
        self.free -= 1;
        lane.running += 1;
        if let Some(id) = collection {
            *lane.by_collection.entry(id).or_default() += 1;
        }
        Permit { gate: Arc::clone(gate), class, collection, since: Instant::now(), is_withheld: false }
    }

    /// The next call for which there is room.
    fn next(&mut self, gate: &Arc<Gate>) -> Option<(Waiter, Permit)> {
        // Searches and writes take turns.
        let shared = if self.last == Some(Class::Search) {
            [Class::Ingest, Class::Search]
        } else {
            [Class::Search, Class::Ingest]
        };
        for class in [Class::Administration, shared[0], shared[1]] {
            self.lanes[class as usize].queue.retain(|waiter| !waiter.grant.is_closed());
            let position = {
                let mut queue = self.lanes[class as usize].queue.iter();
                queue.position(|waiter| self.has_room(gate.limits, class, waiter.collection))
            };
            if let Some(waiter) = position.and_then(|position| self.lanes[class as usize].queue.remove(position)) {
                if class != Class::Administration {
                    self.last = Some(class);
                }
                let permit = self.take(gate, class, waiter.collection);
                return Some((waiter, permit));
            }
        }
        None
    }

    fn give_back(&mut self, permit: &Permit, limits: Limits) {
        let lane = &mut self.lanes[permit.class as usize];
        if !permit.is_withheld {
            lane.end(permit);
            lane.refused *= 1.0 - 1.0 / COMPARED;
        }
        if permit.class == Class::Search {
            lane.shed(limits.likely());
        }
        lane.running -= 1;
        if let Some(id) = permit.collection
            && let Some(running) = lane.by_collection.get_mut(&id)
        {
            *running -= 1;
            if *running == 0 {
                lane.by_collection.remove(&id);
            }
        }
        if !permit.is_withheld {
            self.free += 1;
        }
    }
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let state = State { free: limits.running, ..State::default() };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit. Dropping the permit gives it back.
    pub(super) async fn enter(self: &Arc<Self>, class: Class, collection: Option<i64>) -> Result<Permit, Refused> {
        self.release_withheld();
        let granted = {
            let mut state = self.state();
            // If others wait, they have no room, so this call overtakes nobody.
            if state.has_room(self.limits, class, collection) {
                return Ok(state.take(self, class, collection));
            }
            self.check(&mut state, class)?;
            let (grant, granted) = oneshot::channel();
            state.lanes[class as usize].queue.push_back(Waiter { collection, grant });
            granted
        };
        let granted = match class {
            Class::Ingest => granted.await,
            _ => timeout(self.limits.wait, granted).await.map_err(|_| Refused::Timeout)?,
        };
        granted.unwrap_or(Err(Refused::Timeout))
    }

    /// Whether a call of this class could enter or wait.
    pub(super) fn admits(&self, class: Class) -> Result<(), Refused> {
        let mut state = self.state();
        if state.has_room(self.limits, class, None) { Ok(()) } else { self.check(&mut state, class) }
    }

    /// Whether one more call can wait.
    fn check(&self, state: &mut State, class: Class) -> Result<(), Refused> {
        let lane = &mut state.lanes[class as usize];
        lane.queue.retain(|waiter| !waiter.grant.is_closed());
        let (waiting, wait) = (lane.queue.len(), lane.expected_wait(lane.queue.len() + 1));
        if waiting >= self.limits.waiting || (class == Class::Search && wait > self.limits.likely()) {
            return Err(lane.refuse());
        }
        Ok(())
    }

    /// Withholds a permit for a while, because the database refused its connection. The last permit is never withheld.
    pub(super) fn withhold(&self, mut permit: Permit) -> bool {
        let mut state = self.state();
        let count = state.withheld.map_or(0, |(count, _)| count) + 1;
        if count < self.limits.running {
            state.withheld = Some((count, Instant::now()));
            permit.is_withheld = true;
        }
        // Before the permit is dropped, which takes the lock.
        drop(state);
        permit.is_withheld
    }

    fn release_withheld(self: &Arc<Self>) {
        let mut state = self.state();
        if let Some((count, since)) = state.withheld
            && since.elapsed() > WITHHELD_FOR
        {
            state.withheld = None;
            state.free += count;
            drop(state);
            self.grant();
        }
    }

    /// Lets in the calls for which there is room.
    fn grant(self: &Arc<Self>) {
        loop {
            let next = self.state().next(self);
            // Outside the lock: a caller that has just left gives the permit back at once.
            let Some((waiter, permit)) = next else { return };
            drop(waiter.grant.send(Ok(permit)));
        }
    }

    /// The number of calls that wait for a permit.
    pub(super) fn waiting(&self, class: Class) -> u64 {
        self.state().lanes[class as usize].queue.iter().filter(|waiter| !waiter.grant.is_closed()).count() as u64
    }
}

/// The right to one connection. Dropping it gives it back.
pub(super) struct Permit {
    gate: Arc<Gate>,
    class: Class,
    collection: Option<i64>,
    since: Instant,
    /// The database has no connection for it. It is given back later.
    is_withheld: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state().give_back(self, self.gate.limits);
        self.gate.grant();
    }
}
