//! Builds a server from its parts and runs it until it is stopped.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use http::HeaderName;
use pgfox::v1::{FILE_DESCRIPTOR_SET, pgfox_service_server::PgfoxServiceServer};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    codec::CompressionEncoding,
    service::{Routes, interceptor::InterceptedService},
};
use tower::Layer as _;

use crate::{
    app::{App, Limits},
    budget::Budget,
    embed::{Embedders, EmbeddingConfig},
    follow, health,
    layers::{
        auth::ApiKeys,
        connections::{Certificate, Connections, Slots},
        drain::Drain,
        messages::Messages,
        plain::Plain,
        telemetry::{self, Telemetry},
        transport,
        web::{Origin, Web},
    },
    rpc::Service,
    store::{Class, Migrate, Store, StoreConfig},
};

/// The parts of a server.
#[derive(Debug)]
pub struct ServeConfig {
    pub store: StoreConfig,
    pub migrate: Migrate,
    pub embedding: EmbeddingConfig,
    pub limits: Limits,
    pub api_keys: ApiKeys,
    /// `None`: the server uses plain text without TLS.
    pub tls: Option<Certificate>,
    /// The listener for Prometheus; `None`: no metrics.
    pub metrics: Option<TcpListener>,
    /// The origins of pages that may call by gRPC-Web. Without origins gRPC-Web is off.
    pub web_origins: Vec<Origin>,
    /// Headers that their calls may have, beside those of gRPC-Web clients and tracing libraries.
    pub web_headers: Vec<HeaderName>,
}

/// Sets up the database, or upgrades the schema of an older version. Retries for `wait` while the database is not
/// ready.
///
/// # Errors
/// If the database stays unreachable, refuses the change, or can never work with this version.
pub async fn migrate(store: StoreConfig, wait: Duration) -> anyhow::Result<()> {
    Ok(health::prepare(&Store::new(store), Migrate::Always, wait).await?)
}

/// Serves until `shutdown`, then lets running calls finish. The caller owns the port and the signals.
///
/// # Errors
/// If a setting cannot work, the listener fails, or this server can never work with this database.
pub async fn serve(
    config: ServeConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let ServeConfig { store, migrate, embedding, limits, api_keys, tls, web_origins, web_headers, metrics } = config;
    let app = App::new(Store::new(store), Embedders::new(embedding)?, limits);
    let limits = Arc::clone(&app.limits);

    let (mut reporter, health) = tonic_health::server::health_reporter();
    health::begin(&reporter).await;
    let service = PgfoxServiceServer::new(Service::new(&app))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limits.max_request_bytes)
        .max_encoding_message_size(limits.max_response_bytes);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Needed by grpcurl to print the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };

    let web = Web::new(web_origins, web_headers);
    let plain = Plain { has_pages: web.is_some() };
    let connections = Connections::new(Arc::clone(&limits), tls.as_ref()).context("TLS cannot be used")?;
    let slots = Slots::new(limits.max_connections, app.draining.child_token());
    let messages = Messages {
        max_bytes: limits.max_request_bytes,
        ingest: Budget::new(limits.ingest_bytes(), limits.bytes_wait),
        others: Budget::new(limits.max_bytes_in_flight - limits.ingest_bytes(), limits.bytes_wait),
    };
    let telemetry = Telemetry::new();
    let _metrics = metrics.map(|listener| {
        let (store, embedders) = (app.store.clone(), app.embedders.clone());
        let connections = Arc::clone(&slots);
        let metrics = telemetry::Metrics { rpcs: telemetry.rpcs(), connections, store, embedders };
        AbortOnDropHandle::new(tokio::spawn(telemetry::http::serve(listener, metrics)))
    });
    let routes = Routes::new(health)
        .add_service(InterceptedService::new(service, api_keys.clone()))
        // Debugging tools ask for either version.
        .add_service(InterceptedService::new(reflection().build_v1()?, api_keys.clone()))
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, api_keys));
    let transport = transport::Transport { messages };
    let service = transport.layer(Drain(app.draining.clone()).layer(routes.prepare()));
    let service = plain.layer(tower::util::option_layer(web).layer(telemetry.layer(service)));
    let running = connections.serve(listener, slots, service, app.draining.clone());
    let mut running = AbortOnDropHandle::new(tokio::spawn(running));

    let follower = App { store: app.store.of(Class::Ingest), ..app.clone() };
    let mut following = AbortOnDropHandle::new(tokio::spawn(follow::run(follower)));
    let states = health::report(&reporter, app.store.readiness(), app.embedders.provider_outage());
    tokio::select! {
        ended = &mut running => ended.context("the server ended")?,
        watched = health::watch_database(&app.store, migrate) => watched?,
        () = states => {}
        () = shutdown => {}
    }
    tracing::info!("shutting down: running calls have {} s to finish", limits.drain.as_secs());
    health::leave(&mut reporter).await;
    app.draining.cancel();
    let finished = async { tokio::join!(&mut running, &mut following) };
    match tokio::time::timeout(limits.drain, finished).await {
        Ok((ended, _)) => ended.context("the server ended")?,
        Err(_) => tracing::warn!("some calls did not finish in time"),
    }
    let (hits, misses) = app.embedders.query_cache_hits_and_misses();
    if hits + misses > 0 {
        tracing::info!("{hits} of {} query texts had their vector in the cache", hits + misses);
    }
    app.store.close();
    Ok(())
}
