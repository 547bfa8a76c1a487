//! grpc.health.v1 with the true state. The service follows the database and its extension; the embedder follows its
//! provider.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1::pgfox_service_server::SERVICE_NAME;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::store::{Migrate, Probe, Readiness, Store, StoreError};

/// The name for the state of the embedding provider. It is separate from the overall state, so that an outage of the
/// provider takes no pod out of service.
const EMBEDDER: &str = "pgfox.embedder";
/// The name for the liveness of this process, which does not depend on the database. Restarting the process during an
/// outage of the database would make things worse.
const PROCESS: &str = "pgfox.process";
/// The name of the overall state.
const OVERALL: &str = "";

/// How often the database is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How often it is checked during an outage, since it may be back soon.
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// How often to look for interrupted builds, and how long that may take.
const RESUME_EVERY: Duration = Duration::from_secs(6);
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the database ready. Retries for `wait` if the database cannot be reached or used yet. If this server can never
/// work with the database, fails at once.
pub(crate) async fn prepare(store: &Store, migrate: Migrate, wait: Duration) -> Result<(), Arc<StoreError>> {
    let began = Instant::now();
    let mut last = String::new();
    while let Err(error) = store.prepare(migrate).await {
        if matches!(*error, StoreError::WrongDatabase(_)) || began.elapsed() + CHECK_EVERY > wait {
            return Err(error);
        }
        // Log each reason once.
        let detail = error.detail();
        if detail != last {
            tracing::warn!("the database is not ready, trying again every {} s: {detail}", CHECK_EVERY.as_secs());
            last = detail;
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
    Ok(())
}

/// Makes the database ready, then watches it for as long as the server runs. Fails only if this server can never work
/// with this database.
pub(crate) async fn watch_database(store: &Store, migrate: Migrate) -> Result<(), Arc<StoreError>> {
    prepare(store, migrate, Duration::MAX).await?;
    // Separate, so that a stalled resume does not delay the probe.
    tokio::join!(probe(store), resume_builds(store));
    Ok(())
}

async fn probe(store: &Store) {
    let mut probe = Probe::new(store.clone());
    let mut healthy = true;
    loop {
        match probe.ask().await {
            Ok(()) if !healthy => tracing::info!("the database is back"),
            Err(error) if healthy => tracing::warn!("the database cannot be used: {}", error.detail()),
            _ => {}
        }
        healthy = is_ready(store);
        tokio::time::sleep(if healthy { CHECK_EVERY } else { CHECK_AGAIN }).await;
    }
}

async fn resume_builds(store: &Store) {
    loop {
        if is_ready(store) {
            let resumed = tokio::time::timeout(RESUME_TIMEOUT, store.resume_builds()).await;
            if let Ok(Err(error)) = resumed {
                tracing::warn!("cannot look up interrupted index builds: {}", error.detail());
            }
        }
        tokio::time::sleep(RESUME_EVERY).await;
    }
}

fn is_ready(store: &Store) -> bool {
    matches!(&*store.readiness().borrow(), Readiness::Ready(_))
}

/// Reports that this server is alive but not ready yet. Without a report the library assumes that it is ready.
pub(crate) async fn begin(reporter: &HealthReporter) {
    set(reporter, [(PROCESS, true), (OVERALL, false), (SERVICE_NAME, false), (EMBEDDER, false)]).await;
}

/// Reports the states as they change, for as long as the server runs.
pub(crate) async fn report(
    reporter: &HealthReporter,
    mut database: watch::Receiver<Readiness>,
    mut provider_outage: watch::Receiver<Option<tokio::time::Instant>>,
) {
    let mut reported = None;
    loop {
        let ready = matches!(&*database.borrow_and_update(), Readiness::Ready(_));
        let outage = provider_outage.borrow_and_update().filter(|until| *until > tokio::time::Instant::now());
        let states = [(OVERALL, ready), (SERVICE_NAME, ready), (EMBEDDER, outage.is_none())];
        // Watchers hear of changes only.
        if reported.replace(states) != Some(states) {
            set(reporter, states).await;
        }
        let outage_ends = async {
            match outage {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            changed = database.changed() => changed,
            changed = provider_outage.changed() => changed,
            () = outage_ends => Ok(()),
        };
        if changed.is_err() {
            return; // the store or the embedders are gone, so the server is ending
        }
    }
}

/// Reports that this server is going away, and ends open watches, which would keep it from ending.
pub(crate) async fn leave(reporter: &mut HealthReporter) {
    let leaving = [(PROCESS, false), (OVERALL, false), (SERVICE_NAME, false), (EMBEDDER, false)];
    set(reporter, leaving).await;
    for (service, _) in leaving {
        reporter.clear_service_status(service).await;
    }
    // For health checks over connections that are still open.
    set(reporter, leaving).await;
}

async fn set<const N: usize>(reporter: &HealthReporter, states: [(&str, bool); N]) {
    for (service, serving) in states {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(service, status).await;
    }
}
