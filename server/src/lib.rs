//! The pgfox server: semantic search on PostgreSQL and pgvector over gRPC.
//!
//! A call goes from `service` to the file of its operation, which validates, embeds and stores. Neither `store` nor
//! `embed` knows gRPC.

mod auth;
mod build_index;
mod chunk;
mod collections;
pub mod config;
mod documents;
pub mod embed;
pub mod embedded;
mod error;
mod fields;
mod filter;
mod health;
mod ingest;
mod ingest_stream;
mod json;
mod list_documents;
mod search;
mod search_batch;
mod service;
mod stats;
pub mod store;
mod telemetry;
mod transport;
mod update_collection;
mod update_metadata;
mod validate;
mod web;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use pgfox::v1::{FILE_DESCRIPTOR_SET, pgfox_service_server::PgfoxServiceServer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{
    codec::CompressionEncoding,
    service::interceptor::InterceptedService,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tracing::Span;

pub use auth::ApiKeys;
pub use web::Origin;

use embed::{Embedders, EmbeddingConfig};
use store::{Migrate, Store, StoreConfig};
use telemetry::Telemetry;

/// What a server is made of.
#[derive(Debug)]
pub struct ServeConfig {
    pub store: StoreConfig,
    pub migrate: Migrate,
    pub embedding: EmbeddingConfig,
    pub limits: Limits,
    pub api_keys: ApiKeys,
    /// Certificate chain and key, PEM.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// Where Prometheus reads the metrics; `None`: nowhere.
    pub metrics: Option<TcpListener>,
    /// Whose pages may call by gRPC-Web. Without any there is neither that nor HTTP/1.1.
    pub web_origins: Vec<Origin>,
}

/// How much, and how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of a request.
    pub max_request_bytes: usize,
    /// Most bytes of a response.
    pub max_response_bytes: usize,
    /// Longest time for a call, beside those that ingest or stream.
    pub call_timeout: Duration,
    /// Longest time to embed and store one request of documents.
    pub ingest_timeout: Duration,
    /// Requests of documents that are written at a time; the others wait, so that searches find a connection.
    pub ingest_concurrency: usize,
    /// Longest time for the exact search that fills up a result which the index left short.
    pub fill_up: Duration,
    /// Most calls at a time on one connection.
    pub max_concurrent_calls: u32,
    /// How often an idle client is asked whether it is still there.
    pub keepalive: Duration,
    /// Age at which a client is asked to connect anew, when its calls have ended. `None`: any.
    pub max_connection_age: Option<Duration>,
    /// Longest time for running calls to finish at the end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 16 * 1024 * 1024,
            max_response_bytes: 16 * 1024 * 1024,
            call_timeout: Duration::from_secs(30),
            ingest_timeout: Duration::from_secs(600),
            ingest_concurrency: 4,
            fill_up: Duration::from_secs(2),
            max_concurrent_calls: 256,
            keepalive: Duration::from_secs(30),
            max_connection_age: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// Sets up the database, or brings what an older version has set up to this one. For `wait` it goes on trying when the
/// database is not ready for that.
pub async fn migrate(store: StoreConfig, wait: Duration) -> anyhow::Result<()> {
    Ok(health::prepare(&Store::new(store), Migrate::Always, wait).await?)
}

/// What every call needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    store: Store,
    embedders: Embedders,
    limits: Arc<Limits>,
    /// One permit for each request of documents that is being written.
    writers: Arc<Semaphore>,
    /// Cancelled when the server shuts down: streams end after the request they are at.
    draining: CancellationToken,
}

/// Runs work that keeps a processor busy, away from the threads that answer calls.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, error::Error> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => error::Error::ShuttingDown,
    })
}

/// How long a client may take to answer whether it is still there.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then lets running calls finish. The caller owns the port and the signals.
pub async fn serve(
    config: ServeConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let ServeConfig { store, migrate, embedding, limits, api_keys, tls, web_origins, metrics } = config;
    let app = App {
        store: Store::new(store),
        embedders: Embedders::new(embedding)?,
        writers: Arc::new(Semaphore::new(limits.ingest_concurrency)),
        limits: Arc::new(limits),
        draining: CancellationToken::new(),
    };
    let limits = Arc::clone(&app.limits);

    let (mut reporter, health) = tonic_health::server::health_reporter();
    health::begin(&reporter).await;
    let service = PgfoxServiceServer::new(app.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limits.max_request_bytes)
        .max_encoding_message_size(limits.max_response_bytes);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl can print the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };

    let web = web::Web::new(web_origins);
    let mut server = Server::builder()
        .accept_http1(web.is_some())
        .http2_keepalive_interval(Some(limits.keepalive))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits.max_concurrent_calls);
    if let Some(age) = limits.max_connection_age {
        server = server.max_connection_age(age);
    }
    if let Some((certificate, key)) = tls {
        let identity = Identity::from_pem(certificate, key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .context("the TLS certificate or key cannot be used")?;
    }
    let telemetry = Telemetry::new();
    let _metrics = metrics.map(|listener| {
        let (store, embedders) = (app.store.clone(), app.embedders.clone());
        let metrics = telemetry::Metrics { rpcs: telemetry.rpcs(), store, embedders };
        AbortOnDropHandle::new(tokio::spawn(telemetry::http::serve(listener, metrics)))
    });
    let router = server
        .layer(telemetry)
        .layer(tower::util::option_layer(web))
        .layer(transport::Transport { max_request_bytes: limits.max_request_bytes })
        .add_service(health)
        .add_service(InterceptedService::new(service, api_keys.clone()))
        // Tools that debug ask for either version.
        .add_service(InterceptedService::new(reflection().build_v1()?, api_keys.clone()))
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, api_keys));

    let drained = app.draining.clone();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let running = router.serve_with_incoming_shutdown(incoming, async move { drained.cancelled().await });
    let mut running = AbortOnDropHandle::new(tokio::spawn(running));

    let states = health::report(&reporter, app.store.readiness(), app.embedders.provider_health());
    tokio::select! {
        ended = &mut running => ended?.context("the server ended")?,
        watched = health::watch_database(&app.store, migrate) => watched?,
        () = states => {}
        () = shutdown => {}
    }
    tracing::info!("shutting down: running calls have {} s to finish", limits.drain.as_secs());
    health::leave(&mut reporter).await;
    app.draining.cancel();
    match tokio::time::timeout(limits.drain, &mut running).await {
        Ok(ended) => ended?.context("the server ended")?,
        Err(_) => tracing::warn!("some calls did not finish in time"),
    }
    let (hits, misses) = app.embedders.query_cache_hits_and_misses();
    if hits + misses > 0 {
        tracing::info!("the vectors of {hits} of {} query texts were remembered", hits + misses);
    }
    app.store.close();
    Ok(())
}
