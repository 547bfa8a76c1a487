//! grpc.health.v1 with the true state: the database and its extension for the service, the provider for the embedder.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1::pgfox_service_server::SERVICE_NAME;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::store::{Migrate, Probe, Readiness, Store, StoreError};

/// The name under which the state of the embedding provider is told. Not part of the overall state, so that an outage of
/// the provider takes no pod out of service.
const EMBEDDER: &str = "pgfox.embedder";
/// The name under which this process is told to be alive, whatever its database does: an orchestrator that restarted it
/// for an outage of the database would make things worse.
const PROCESS: &str = "pgfox.process";
/// The name of the overall state.
const OVERALL: &str = "";

/// How often the database is asked whether it is there.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// The same while it is not: it may be back.
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// How often builds are looked for that nobody works on, and how long that may take.
const RESUME_EVERY: Duration = Duration::from_secs(6);
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the database ready. For `wait` it tries again when the database cannot be reached or used yet; that this server
/// can never work with it is an error at once.
pub(crate) async fn prepare(store: &Store, migrate: Migrate, wait: Duration) -> Result<(), Arc<StoreError>> {
    let began = Instant::now();
    let mut last = String::new();
    while let Err(error) = store.prepare(migrate).await {
        if matches!(*error, StoreError::WrongDatabase(_)) || began.elapsed() + CHECK_EVERY > wait {
            return Err(error);
        }
        // Once for each reason.
        let detail = error.detail();
        if detail != last {
            tracing::warn!("the database is not ready, trying again every {} s: {detail}", CHECK_EVERY.as_secs());
            last = detail;
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
    Ok(())
}

/// Makes the database ready, then watches it, for as long as the server runs. Fails only when this server can never work
/// with this database.
pub(crate) async fn watch_database(store: &Store, migrate: Migrate) -> Result<(), Arc<StoreError>> {
    prepare(store, migrate, Duration::MAX).await?;
    // Apart, so that nothing that stalls holds up the probe.
    tokio::join!(probe(store), resume_builds(store));
    Ok(())
}

async fn probe(store: &Store) {
    let mut probe = Probe::new(store.clone());
    let mut healthy = true;
    loop {
        match probe.ask().await {
            Ok(()) if !healthy => tracing::info!("the database is back"),
            Err(error) if healthy => tracing::warn!("the database is not usable: {}", error.detail()),
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
                tracing::warn!("index builds could not be looked up: {}", error.detail());
            }
        }
        tokio::time::sleep(RESUME_EVERY).await;
    }
}

fn is_ready(store: &Store) -> bool {
    matches!(&*store.readiness().borrow(), Readiness::Ready(_))
}

/// Says that this server is alive and not ready yet. Without a word the library takes it to be.
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
        // Who watches a state hears of changes alone.
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
            return; // the store or the embedders are gone, and the server with them
        }
    }
}

/// Says that this server is going away, and ends the open watches, which would keep it from doing so.
pub(crate) async fn leave(reporter: &mut HealthReporter) {
    let leaving = [(PROCESS, false), (OVERALL, false), (SERVICE_NAME, false), (EMBEDDER, false)];
    set(reporter, leaving).await;
    for (service, _) in leaving {
        reporter.clear_service_status(service).await;
    }
    // For checks over connections that are still open.
    set(reporter, leaving).await;
}

async fn set<const N: usize>(reporter: &HealthReporter, states: [(&str, bool); N]) {
    for (service, serving) in states {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(service, status).await;
    }
}
