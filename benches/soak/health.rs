//! The health that each server reports, and whether it is correct.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    report::{Kind, Report},
    world::{HEALTH_TIMEOUT, World},
};

const EVERY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long health may be wrong.
pub(crate) const LATE: Duration = Duration::from_secs(5);

/// The answer of a server; `None` if it does not answer.
type Answer = Option<bool>;

/// The changes of what a server answers, and when.
type Said = Arc<Mutex<Vec<(Instant, Answer)>>>;

/// The health that a server must report during a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Truth {
    /// SERVING all the time.
    Serving,
    /// NOT_SERVING, if the fault is long enough to be detected.
    NotServing,
    /// Anything.
    Any,
}

impl Truth {
    /// What both of two faults allow.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotServing, Self::Serving | Self::NotServing) | (Self::Serving, Self::NotServing) => {
                Self::NotServing
            }
            (Self::Serving, Self::Serving) => Self::Serving,
            _ => Self::Any,
        }
    }
}

/// Asks both servers again and again, not through the proxies. Stops when dropped.
pub(crate) struct Watcher {
    said: [Said; 2],
    tasks: Vec<JoinHandle<()>>,
    report: Arc<Report>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Watcher {
    pub(crate) fn start(world: &World) -> Self {
        let said: [Said; 2] = Default::default();
        let watch = |position: usize| {
            let address = world.replicas[position].address.subscribe();
            tokio::spawn(ask(address, Arc::clone(&said[position])))
        };
        let tasks = vec![watch(0), watch(1)];
        Self { said, tasks, report: Arc::clone(&world.report) }
    }

    fn said(&self, server: usize) -> MutexGuard<'_, Vec<(Instant, Answer)>> {
        self.said[server].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current answer of a server.
    fn now(&self, server: usize) -> Answer {
        self.said(server).last().and_then(|(_, answer)| *answer)
    }

    /// When a server first reported `serving` in a period.
    fn first(&self, server: usize, serving: bool, from: Instant, to: Instant) -> Option<Instant> {
        if from >= to {
            return None;
        }
        let said = self.said(server);
        let before = said.iter().rev().find(|(at, _)| *at <= from).filter(|(_, answer)| *answer == Some(serving));
        let during = || said.iter().find(|(at, answer)| *at > from && *at <= to && *answer == Some(serving));
        before.map(|_| from).or_else(|| during().map(|(at, _)| *at))
    }

    /// Reports whether the health of a server was correct during a fault.
    pub(crate) fn check_during(&self, server: usize, truth: Truth, began: Instant, ended: Instant, fault: &str) {
        let what = match truth {
            Truth::Any => return,
            Truth::Serving => {
                let wrong = self.first(server, false, began, ended);
                wrong.map(|at| format!("said NOT_SERVING {:.1?} after the beginning", at - began))
            }
            Truth::NotServing => {
                let latest = began + HEALTH_TIMEOUT + LATE;
                let noticed = self.first(server, false, began, ended);
                if let Some(at) = noticed {
                    self.report.worst("until health says NOT_SERVING", at - began, fault);
                }
                let noticed_late = noticed.map_or(ended > latest, |at| at > latest);
                let relapsed = self.first(server, true, latest.max(noticed.unwrap_or(latest)), ended);
                match (noticed_late, relapsed) {
                    (true, _) => Some(format!("did not say NOT_SERVING within {:.1?}", latest - began)),
                    (_, Some(at)) => Some(format!("said SERVING {:.1?} after the beginning", at - began)),
                    _ => None,
                }
            }
        };
        if let Some(what) = what {
            self.report.violation(Kind::Health, format!("during {fault} server {} {what}", server + 1));
        }
    }

    /// Waits until a server reports SERVING again, within a limit, and continues to.
    pub(crate) async fn check_after(&self, server: usize, ended: Instant, fault: &str) {
        while self.now(server) != Some(true) && ended.elapsed() < LATE * 6 {
            tokio::time::sleep(EVERY / 4).await;
        }
        let said = self.first(server, true, ended, Instant::now());
        let took = said.map_or_else(|| ended.elapsed(), |at| at - ended);
        self.report.worst("until health says SERVING", took, fault);
        if took > LATE {
            let what = format!("server {} took {took:.1?} to say SERVING after {fault}", server + 1);
            self.report.violation(Kind::Health, what);
        }
    }

    /// Reports whether a server reported anything but SERVING without a fault.
    pub(crate) fn check_calm(&self, server: usize, from: Instant, to: Instant) {
        if let Some(at) = self.first(server, false, from, to) {
            let what = format!("server {} said NOT_SERVING {:.1?} into a time without faults", server + 1, at - from);
            self.report.violation(Kind::Health, what);
        }
    }
}

async fn ask(mut address: watch::Receiver<String>, said: Said) {
    loop {
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{}", *address.borrow_and_update())) else { return };
        let mut client = HealthClient::new(endpoint.connect_timeout(TIMEOUT).connect_lazy());
        while address.has_changed().is_ok_and(|changed| !changed) {
            let asked = client.check(HealthCheckRequest::default());
            let answer = match tokio::time::timeout(TIMEOUT, asked).await {
                Ok(Ok(response)) => Some(response.into_inner().status() == ServingStatus::Serving),
                _ => None,
            };
            note(&said, answer);
            tokio::time::sleep(EVERY).await;
        }
        if address.has_changed().is_err() {
            return; // the soak is over
        }
    }
}

fn note(said: &Mutex<Vec<(Instant, Answer)>>, answer: Answer) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.last().is_none_or(|(_, last)| *last != answer) {
        said.push((Instant::now(), answer));
    }
}
