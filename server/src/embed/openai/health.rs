//! Whether the provider works, judged by its calls alone. No extra request is sent, because requests cost money.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// The state of the provider, judged by its calls.
#[derive(Debug)]
pub(in crate::embed) struct Health {
    /// Until when the provider counts as out of order. `None` means that it works.
    outage: watch::Sender<Option<Instant>>,
    silence: Mutex<Silence>,
    hangs_after: Duration,
    outage_lasts: Duration,
}

/// A request with its retries, for as long as somebody waits for it.
#[derive(Debug)]
pub(super) struct Asking<'h>(&'h Health);

impl Health {
    pub(super) fn new(hangs_after: Duration, outage_lasts: Duration) -> Self {
        let silence = Mutex::new(Silence::new(Instant::now()));
        Self { outage: watch::Sender::new(None), silence, hangs_after, outage_lasts }
    }

    pub(in crate::embed) fn outage(&self) -> watch::Receiver<Option<Instant>> {
        self.outage.subscribe()
    }

    /// Records a call that got its vectors.
    pub(in crate::embed) fn works(&self) {
        if self.outage.send_if_modified(|outage| outage.take().is_some()) {
            tracing::info!("the embedding provider works again");
        }
    }

    /// Records a call that got none. The outage expires after a while: without calls, nothing else shows that the
    /// provider works again.
    pub(in crate::embed) fn fails(&self) {
        let until = Instant::now() + self.outage_lasts;
        if self.outage.send_replace(Some(until)).is_none() {
            tracing::warn!("the embedding provider is out of order");
        }
    }

    pub(super) fn ask(&self) -> Asking<'_> {
        self.silence().begin(Instant::now(), self.outage_lasts);
        Asking(self)
    }

    /// Records an answer of the provider, whether vectors, a refusal or a rate limit.
    pub(super) fn heard(&self) {
        self.silence().heard(Instant::now());
    }

    /// Records an attempt without an answer.
    pub(super) fn unheard(&self) {
        let lasted = self.silence().lasted(Instant::now());
        self.judge(lasted);
    }

    fn judge(&self, silence: Duration) {
        if silence >= self.hangs_after {
            self.fails();
        }
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    /// Called when the request has ended or its caller has left.
    fn drop(&mut self) {
        let lasted = self.0.silence().end(Instant::now());
        self.0.judge(lasted);
    }
}

/// Measures for how long requests have been running without an answer since the last one. It is not enough to count the
/// requests that finally fail, because callers often leave before that.
#[derive(Debug)]
struct Silence {
    under_way: usize,
    /// The time of the last answer. If requests began or ended after it: when the first running one began, or when the
    /// last one ended.
    since: Instant,
    /// The silence before `since`.
    before: Duration,
}

impl Silence {
    fn new(now: Instant) -> Self {
        Self { under_way: 0, since: now, before: Duration::ZERO }
    }

    fn begin(&mut self, now: Instant, forget_after: Duration) {
        if self.under_way == 0 {
            if now - self.since > forget_after {
                self.before = Duration::ZERO;
            }
            self.since = now;
        }
        self.under_way += 1;
    }

    fn heard(&mut self, now: Instant) {
        (self.since, self.before) = (now, Duration::ZERO);
    }

    fn lasted(&self, now: Instant) -> Duration {
        self.before + (now - self.since)
    }

    /// Ends a request and returns how long the silence has lasted.
    fn end(&mut self, now: Instant) -> Duration {
        let lasted = self.lasted(now);
        self.under_way -= 1;
        if self.under_way == 0 {
            (self.since, self.before) = (now, lasted);
        }
        lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGET_AFTER: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_that_are_given_up_add_up() {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        for round in 1..=3 {
            silence.begin(now, FORGET_AFTER);
            now += seconds(2);
            assert_eq!(silence.end(now), seconds(2 * round));
            // Time without requests does not count.
            now += seconds(30);
        }
        now += seconds(40);
        silence.begin(now, FORGET_AFTER);
        assert_eq!(silence.end(now), Duration::ZERO, "silence long ago does not count");
    }

    #[test]
    fn an_answer_to_anyone_ends_it() {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        silence.begin(now, FORGET_AFTER);
        for _ in 0..5 {
            silence.begin(now, FORGET_AFTER);
            now += seconds(3);
            silence.heard(now);
            assert_eq!(silence.end(now), Duration::ZERO);
        }
        now += seconds(1);
        assert_eq!(silence.end(now), seconds(1));
    }

    #[test]
    fn requests_beside_each_other_count_once() {
        let mut now = Instant::now();
        let mut silence = Silence::new(now);
        for _ in 0..10 {
            silence.begin(now, FORGET_AFTER);
        }
        now += seconds(4);
        for _ in 0..10 {
            assert_eq!(silence.end(now), seconds(4));
        }
    }
}
