//! Who may have a connection: as many at a time as the pool is large, and fewer while the server takes no more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::stats::Running;

/// How long permits are withheld before the server is asked again for more connections.
const WITHHELD_FOR: Duration = Duration::from_secs(1);

/// Lets as many in as there are permits; the others wait in turn.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    max: usize,
    waiting: Running,
    withheld: Mutex<Withheld>,
}

/// Permits for which the server has no connection.
#[derive(Default)]
struct Withheld {
    count: usize,
    since: Option<Instant>,
}

impl Gate {
    pub(super) fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, waiting: Running::default(), withheld: Mutex::default() }
    }

    /// Waits for a permit, which is given back when it is dropped. `None`: there was none for so long.
    pub(super) async fn enter(&self, longest: Duration) -> Option<OwnedSemaphorePermit> {
        self.give_back();
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.begin();
        timeout(longest, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()
    }

    /// Takes a permit out of use for a while: the server refused the connection that it stood for. Not the last one.
    pub(super) fn withhold(&self, permit: OwnedSemaphorePermit) -> bool {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if withheld.count + 1 >= self.max {
            return false;
        }
        permit.forget();
        *withheld = Withheld { count: withheld.count + 1, since: Some(Instant::now()) };
        true
    }

    fn give_back(&self) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if withheld.since.is_some_and(|since| since.elapsed() > WITHHELD_FOR) {
            let Withheld { count, .. } = std::mem::take(&mut *withheld);
            self.permits.add_permits(count);
        }
    }

    /// How many wait for a permit.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn withheld_permits_come_back() {
        let gate = Gate::new(3);
        let [one, two, three] = [(), (), ()].map(|()| gate.enter(Duration::ZERO));
        let (one, two, three) = (one.await.unwrap(), two.await.unwrap(), three.await.unwrap());
        assert!(gate.enter(Duration::ZERO).await.is_none());
        assert!(gate.withhold(one) && gate.withhold(two));
        assert!(!gate.withhold(three), "one is left");
        let three = gate.enter(Duration::ZERO).await.unwrap();
        assert!(gate.enter(Duration::ZERO).await.is_none());
        tokio::time::sleep(WITHHELD_FOR + Duration::from_millis(50)).await;
        let _all = (three, gate.enter(Duration::ZERO).await.unwrap(), gate.enter(Duration::ZERO).await.unwrap());
        assert!(gate.enter(Duration::ZERO).await.is_none());
    }
}
