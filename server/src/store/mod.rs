//! Documents, vectors and indexes in Postgres: all SQL of pgfox. Knows neither tonic nor `pgfox::v1`.
//!
//! One file per operation. Every statement is a literal that begins with the name of its function, so that
//! pg_stat_statements and auto_explain point back to the code; identifiers in it are generated numbers, never user text.

mod aliases;
mod catalog;
mod collections;
mod connection;
mod documents;
mod error;
mod filter;
mod indexes;
mod ingest;
mod schema;
mod search;
mod stats;
mod tables;
mod transaction;
mod types;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use tokio::{sync::watch, task::AbortHandle};

pub use connection::{
    AsStatement, Connection, Connector, Pool, PoolError, PoolOptions, Statement, Value,
    dsn::Dsn,
    sqlstate::{Kind, classify},
};
pub use schema::{Migrate, SCHEMA_VERSION};

pub(crate) use connection::dsn::DsnError;
pub(crate) use documents::{DocumentOrder, Listing, MetadataChange, Position};
pub(crate) use error::StoreError;
pub(crate) use filter::{Bound, Filter, Literal, Test};
pub(crate) use indexes::{Build, BuildProgress, Phase};
pub(crate) use ingest::{Content, ContentHash, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoredContent, Written};
pub(crate) use search::{Completeness, Explanation, Found, Fusion, Hit, MAX_EF_SEARCH, Query, SearchSettings, Words};
pub(crate) use stats::{PoolStatus, Stats};
pub(crate) use types::{
    ChunkMethod, ChunkUnit, Chunking, Collection, CollectionInfo, Distance, DocumentVersion, Index, IndexKind,
    MetadataIndex, MetadataIndexType, NewCollection, StoredDocument, VectorType,
};

use schema::{Extension, Names};

/// How to reach the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// For searches and writes; may go through a pooler.
    pub connector: Connector,
    /// For migrations and builds, which need a session of their own.
    pub direct: Connector,
    /// Name of the schema with the views; `<schema>_internal` holds the rest.
    pub schema: String,
    /// The connections that calls share.
    pub pool: PoolOptions,
    /// Most memory for one index build in bytes; `None`: as Postgres is configured.
    pub build_memory: Option<u64>,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    config: StoreConfig,
    names: Names,
    readiness: watch::Sender<Readiness>,
    /// What is known of collections, by name. Never trusted for longer than a statement: see `Collection::revision`.
    catalog: RwLock<HashMap<String, Arc<catalog::Entry>>>,
    /// The indexes that this process is building, by id.
    building: Mutex<HashMap<i64, AbortHandle>>,
    stats: Stats,
}

/// Whether the database can be used.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    /// Its extension and schemas are there.
    Ready(Arc<Extension>),
    /// Not yet, or not any more: why, as callers are told.
    NotReady(Arc<StoreError>),
}

impl Store {
    /// Prepares to use the database; nothing is connected before [`Store::prepare`].
    pub(crate) fn new(config: StoreConfig) -> Self {
        let pool = config.connector.pool(config.pool);
        let not_yet = Readiness::NotReady(Arc::new(StoreError::unavailable("the server is starting")));
        Self {
            inner: Arc::new(Inner {
                pool,
                names: Names::new(&config.schema),
                config,
                readiness: watch::Sender::new(not_yet),
                catalog: RwLock::default(),
                building: Mutex::default(),
                stats: Stats::default(),
            }),
        }
    }

    /// Sets up an empty database, checks the extension and the version of the schema, and so makes the store usable.
    pub(crate) async fn prepare(&self, migrate: Migrate) -> Result<(), Arc<StoreError>> {
        let prepared = async {
            let config = &self.inner.config;
            let (mut client, _notices) = config.direct.connect().await?;
            let extension = schema::prepare(&mut client, &self.inner.names, migrate).await?;
            if !config.pool.unnamed_statements && !config.connector.keeps_statements().await? {
                return Err(StoreError::WrongDatabase(
                    "a pooler in front of the database does not keep prepared statements for each of its clients; start \
                     with --unnamed-statements (PGFOX_UNNAMED_STATEMENTS=true), or have the pooler keep them \
                     (PgBouncer: 1.21 or later and max_prepared_statements above 0)"
                        .into(),
                ));
            }
            Ok(extension)
        };
        match prepared.await {
            Ok(extension) => {
                self.set_ready(extension);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                let reason = match *error {
                    StoreError::ExtensionMissing(_) | StoreError::Refused(_) | StoreError::Unavailable { .. } => {
                        Arc::clone(&error)
                    }
                    _ => Arc::new(StoreError::unavailable(error.to_string())),
                };
                self.inner.readiness.send_replace(Readiness::NotReady(reason));
                Err(error)
            }
        }
    }

    /// Asks the database whether it still answers and still has the extension, and records the answer.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let checked = async {
            let connection = self.connection_unchecked().await?;
            let extension = schema::find_extension(&*connection).await?;
            connection.done();
            extension.ok_or_else(|| {
                StoreError::ExtensionMissing("the vector extension was dropped; run: CREATE EXTENSION vector".into())
            })
        };
        match checked.await {
            Ok(extension) => {
                self.set_ready(extension);
                Ok(())
            }
            // A busy pool is work, not an outage.
            Err(StoreError::Busy(_)) => Ok(()),
            Err(error) => {
                let reason = match &error {
                    StoreError::ExtensionMissing(why) => StoreError::ExtensionMissing(why.clone()),
                    _ => StoreError::unavailable("the database does not answer"),
                };
                self.inner.readiness.send_replace(Readiness::NotReady(Arc::new(reason)));
                Err(error)
            }
        }
    }

    /// Follows whether the database can be used.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.inner.readiness.subscribe()
    }

    /// What was done since the start.
    pub(crate) fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// How much of the pool is in use.
    pub(crate) fn pool_status(&self) -> PoolStatus {
        let status = self.inner.pool.status();
        PoolStatus {
            max: status.max_size as u64,
            open: status.size as u64,
            in_use: status.size.saturating_sub(status.available) as u64,
            waiting: status.waiting as u64,
        }
    }

    /// Ends the work in the background and every connection that is not in use.
    pub(crate) fn close(&self) {
        self.leave_builds();
        self.inner.pool.close();
    }

    fn set_ready(&self, extension: Extension) {
        let extension = Arc::new(extension);
        let replaced = self.inner.readiness.send_if_modified(|readiness| {
            if matches!(readiness, Readiness::Ready(known) if *known == extension) {
                return false;
            }
            *readiness = Readiness::Ready(Arc::clone(&extension));
            true
        });
        if replaced {
            if let Some(warning) = extension.warning() {
                tracing::warn!("{warning}");
            }
            // Statements name the schema of the extension and the types by their ids: both may be others now.
            self.forget_all();
        }
    }

    fn extension(&self) -> Result<Arc<Extension>, StoreError> {
        match &*self.inner.readiness.borrow() {
            Readiness::Ready(extension) => Ok(Arc::clone(extension)),
            Readiness::NotReady(error) => Err(StoreError::NotReady(Arc::clone(error))),
        }
    }

    /// A pooled connection, once the database can be used.
    async fn connection(&self) -> Result<Connection, StoreError> {
        if let Readiness::NotReady(error) = &*self.inner.readiness.borrow() {
            return Err(StoreError::NotReady(Arc::clone(error)));
        }
        self.connection_unchecked().await
    }

    /// A pooled connection for statements about a collection.
    async fn connection_to(&self, entry: &catalog::Entry) -> Result<Connection, StoreError> {
        let connection = self.connection().await?;
        connection.about(entry.collection.id);
        Ok(connection)
    }

    async fn connection_unchecked(&self) -> Result<Connection, StoreError> {
        let began = Instant::now();
        let connection = self.inner.pool.get().await;
        self.inner.stats.pool_wait.observe(began.elapsed());
        Ok(connection?)
    }

    /// Forgets prepared statements and collections, after something beneath them has changed.
    fn forget_all(&self) {
        self.inner.pool.forget_statements();
        self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
