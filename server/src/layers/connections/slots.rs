//! Limits the number of connections, and chooses which one ends when there are too many.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::stats::Counter;

/// At most one in four connections may be without a call, so that strangers use up neither the places nor the memory of
/// callers.
const SILENT_SHARE: usize = 4;

/// Counts the connections that the server ended or refused, by reason.
#[derive(Debug, Default)]
pub(crate) struct ConnectionStats {
    /// Refused because there was no room and every connection had made a call.
    pub(crate) refused: Counter,
    /// Closed without a call to make room for a newer one.
    pub(crate) replaced: Counter,
    /// Closed after too long without a call.
    pub(crate) silent: Counter,
    /// Closed after too long without a further call.
    pub(crate) idle: Counter,
}

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct Slots {
    max: usize,
    max_silent: usize,
    ending: CancellationToken,
    taken: Mutex<Taken>,
    /// Notified when a connection that made room is closed.
    closed: Notify,
    pub(crate) stats: ConnectionStats,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// The number of connections that made room and are not closed yet.
    closing: usize,
    next: u64,
    /// The connections without a call, oldest first, each with the token that ends it.
    silent: BTreeMap<u64, CancellationToken>,
}

impl Slots {
    /// Makes room for `max` connections. All of them end with `ending`.
    pub(crate) fn new(max: usize, ending: CancellationToken) -> Arc<Self> {
        let max_silent = max.div_ceil(SILENT_SHARE);
        let (taken, closed, stats) = (Mutex::default(), Notify::new(), ConnectionStats::default());
        Arc::new(Self { max, max_silent, ending, taken, closed, stats })
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// The number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.taken().count
    }

    /// Takes room for a connection. If there is none, the oldest connection without a call makes room. `None` if every
    /// connection has made a call.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut taken = self.taken();
        if taken.count >= self.max || taken.silent.len() >= self.max_silent {
            if taken.end_oldest() {
                self.stats.replaced.add(1);
            } else {
                self.stats.refused.add(1);
                return None;
            }
        }
        let end = self.ending.child_token();
        let id = taken.next;
        taken.next += 1;
        taken.count += 1;
        taken.silent.insert(id, end.clone());
        drop(taken);
        Some(Slot { slots: Arc::clone(self), id, called: AtomicBool::new(false), end })
    }

    /// Waits until few of the connections that made room are still open. Without this a burst would open far more
    /// descriptors than connections.
    pub(super) async fn closed(&self) {
        while self.taken().closing >= self.max_silent {
            self.closed.notified().await;
        }
    }

    /// Ends the oldest connection without a call, which frees its descriptor.
    pub(super) fn end_oldest(&self) {
        if self.taken().end_oldest() {
            self.stats.replaced.add(1);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while the lock is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn end_oldest(&mut self) -> bool {
        let Some((_, end)) = self.silent.pop_first() else { return false };
        self.count -= 1;
        self.closing += 1;
        end.cancel();
        true
    }
}

/// The room of a connection. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    called: AtomicBool,
    end: CancellationToken,
}

impl Slot {
    /// Records that the connection has made a call. It no longer has to make room for others.
    pub(crate) fn keep(&self) {
        if !self.is_kept() && self.slots.taken().silent.remove(&self.id).is_some() {
            self.called.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    pub(super) fn stats(&self) -> &ConnectionStats {
        &self.slots.stats
    }

    /// Waits until the connection has to make room, or until all connections end.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        // A connection that was ended has already given its room away.
        if taken.silent.remove(&self.id).is_some() || self.is_kept() {
            taken.count -= 1;
        } else {
            taken.closing -= 1;
            self.slots.closed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_without_a_call_makes_room() {
        let slots = Slots::new(8, CancellationToken::new());
        let caller = slots.take().unwrap();
        caller.keep();
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        assert_eq!(slots.count(), 3);
        // At most a quarter of eight, so two, may be without a call.
        let third = slots.take().unwrap();
        assert!(first.ended().now_or_never().is_some());
        assert!(second.ended().now_or_never().is_none() && third.ended().now_or_never().is_none());
        assert!(caller.ended().now_or_never().is_none());
        assert_eq!((slots.count(), slots.stats.replaced.get()), (3, 1));
        drop((first, second, third));
        assert_eq!(slots.count(), 1);
    }

    #[test]
    fn what_makes_room_is_waited_for() {
        let slots = Slots::new(8, CancellationToken::new());
        let mut strangers: Vec<Slot> = (0..3).map(|_| slots.take().unwrap()).collect();
        assert!(slots.closed().now_or_never().is_some(), "one of two is closing");
        strangers.push(slots.take().unwrap());
        assert!(slots.closed().now_or_never().is_none());
        strangers.remove(0);
        assert!(slots.closed().now_or_never().is_some());
        strangers.clear();
        assert_eq!((slots.count(), slots.taken().closing), (0, 0));
    }

    #[test]
    fn callers_are_not_ended() {
        let slots = Slots::new(2, CancellationToken::new());
        let callers: Vec<Slot> = (0..2).map(|_| slots.take().unwrap()).inspect(Slot::keep).collect();
        assert!(slots.take().is_none());
        assert_eq!((slots.count(), slots.stats.refused.get()), (2, 1));
        drop(callers);
        assert!(slots.take().is_some());
        assert_eq!(slots.count(), 0);
    }
}
