//! How many connections there may be, and which one ends when there are too many.

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

/// At most one connection in so many may be one without a call, so that strangers take up neither the room nor the memory
/// of callers.
const SILENT_SHARE: usize = 4;

/// Why the server ended connections, or took none.
#[derive(Debug, Default)]
pub(crate) struct ConnectionStats {
    /// There was no room, and every connection had made a call.
    pub(crate) refused: Counter,
    /// Without a call, and closed for a newer one.
    pub(crate) replaced: Counter,
    /// Without a call for too long.
    pub(crate) silent: Counter,
    /// Without a further call for too long.
    pub(crate) idle: Counter,
}

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct Slots {
    max: usize,
    max_silent: usize,
    ending: CancellationToken,
    taken: Mutex<Taken>,
    /// A connection that made room is closed.
    closed: Notify,
    pub(crate) stats: ConnectionStats,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// Those that have made room and are not closed yet.
    closing: usize,
    next: u64,
    /// Those without a call, from the oldest on, and how to end each.
    silent: BTreeMap<u64, CancellationToken>,
}

impl Slots {
    /// Room for `max` connections, which all are to end with `ending`.
    pub(crate) fn new(max: usize, ending: CancellationToken) -> Arc<Self> {
        let max_silent = max.div_ceil(SILENT_SHARE);
        let (taken, closed, stats) = (Mutex::default(), Notify::new(), ConnectionStats::default());
        Arc::new(Self { max, max_silent, ending, taken, closed, stats })
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Open connections.
    pub(crate) fn count(&self) -> usize {
        self.taken().count
    }

    /// Room for a connection. When there is none the oldest without a call makes room; `None` if each has made one.
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

    /// Waits until few of the connections that have made room are still open: in a burst there would be far more
    /// descriptors than connections.
    pub(super) async fn closed(&self) {
        while self.taken().closing >= self.max_silent {
            self.closed.notified().await;
        }
    }

    /// Ends the oldest connection without a call, which gives its descriptor back.
    pub(super) fn end_oldest(&self) {
        if self.taken().end_oldest() {
            self.stats.replaced.add(1);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing that panics happens while it is held.
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

/// The room of a connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    called: AtomicBool,
    end: CancellationToken,
}

impl Slot {
    /// Its connection has made a call: it no longer has to make room for others.
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

    /// Waits until its connection has to make room, or all are to end.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        // One that was ended has given its room away.
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
        // A quarter of eight may be silent.
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
