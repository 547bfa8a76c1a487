//! Whether the database can be used: asked by a connection of its own, so that neither a full pool nor a stuck call decides.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{
    Store, StoreError,
    connection::Dedicated,
    maintenance,
    schema::{self, Extension, Migrate},
};

/// Whether the database can be used.
#[derive(Clone, Debug)]
pub(crate) enum Readiness {
    /// Its extension and schemas are there.
    Ready(Arc<Extension>),
    /// Not yet, or not any more.
    NotReady {
        /// Why, as callers are told.
        why: Arc<StoreError>,
        /// What it was like before.
        known: Option<Arc<Extension>>,
    },
}

impl Readiness {
    pub(super) fn not_ready(why: StoreError) -> Self {
        Self::NotReady { why: Arc::new(why), known: None }
    }

    fn known(&self) -> Option<&Arc<Extension>> {
        match self {
            Self::Ready(extension) => Some(extension),
            Self::NotReady { known, .. } => known.as_ref(),
        }
    }
}

/// Asks the database again and again.
#[derive(Debug)]
pub(crate) struct Probe {
    store: Store,
    /// Kept between two questions.
    client: Option<Dedicated>,
}

impl Probe {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, client: None }
    }

    /// Asks the database whether it answers and has what calls need, and records the answer. Takes no longer than the
    /// timeout of health.
    pub(crate) async fn ask(&mut self) -> Result<(), StoreError> {
        let longest = self.store.inner.config.health_timeout;
        let asked = timeout(longest, self.ask_twice(longest / 2)).await;
        if asked.is_err() {
            self.store.inner.pool.distrust();
        }
        match asked.unwrap_or_else(|_| Err(StoreError::unavailable("it does not answer"))) {
            Ok(extension) => {
                self.store.inner.pool.close_suspects();
                self.store.set_ready(extension);
                Ok(())
            }
            // It answers; what it has to say is work, not an outage.
            Err(StoreError::Busy(_) | StoreError::Conflict(_) | StoreError::Cancelled) => Ok(()),
            Err(error) => {
                let why = match &error {
                    StoreError::ExtensionMissing(why) => StoreError::ExtensionMissing(why.clone()),
                    StoreError::SchemaMissing(schema) => StoreError::SchemaMissing(schema.clone()),
                    _ => StoreError::unavailable("it does not answer"),
                };
                self.store.set_not_ready(Arc::new(why));
                Err(error)
            }
        }
    }

    /// Asks by the connection of before, then by a new one: one that broke or stalls says nothing about the database.
    async fn ask_twice(&mut self, first: Duration) -> Result<Extension, StoreError> {
        let names = &self.store.inner.names;
        if let Some(client) = self.client.take() {
            match timeout(first, schema::probe(&*client, names)).await {
                Ok(Err(StoreError::Unavailable { .. })) => {}
                Ok(answer) => {
                    self.client = Some(client);
                    return answer;
                }
                Err(_) => self.store.inner.pool.distrust(),
            }
        }
        let (client, _notices) = self.store.inner.config.connector.connect().await?;
        let answer = schema::probe(&*client, names).await;
        self.client = Some(client);
        answer
    }
}

impl Store {
    /// Sets up an empty database, checks the extension and the version of the schema, and so makes the store usable.
    pub(crate) async fn prepare(&self, migrate: Migrate) -> Result<(), Arc<StoreError>> {
        let prepared = async {
            let config = &self.inner.config;
            let (client, _notices) = maintenance::connect(&config.direct).await?;
            let extension = schema::prepare(&client, &self.inner.names, migrate, config.health_timeout).await?;
            if !config.pool.unnamed_statements && !config.connector.keeps_statements().await? {
                return Err(StoreError::WrongDatabase(
                    "a pooler in front of the database does not keep prepared statements for each of its clients; start \
                     with --unnamed-statements (PGFOX_UNNAMED_STATEMENTS=true), or have the pooler keep them \
                     (PgBouncer: 1.21 or later and max_prepared_statements above 0)"
                        .into(),
                ));
            }
            // Only a warning, so nothing depends on it.
            match timeout(config.health_timeout, schema::letters_warning(&client)).await {
                Ok(Ok(Some(warning))) => tracing::warn!("{warning}"),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::debug!("the character type of the database is not known: {error}"),
                Err(_) => tracing::debug!("the character type of the database is not known"),
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
                let why = match *error {
                    StoreError::ExtensionMissing(_) | StoreError::Refused(_) | StoreError::Unavailable { .. } => {
                        Arc::clone(&error)
                    }
                    _ => Arc::new(StoreError::unavailable(error.to_string())),
                };
                self.set_not_ready(why);
                Err(error)
            }
        }
    }

    /// Reads anew what the database has: the types of the extension may have other ids. What is wrong beyond that, the next
    /// attempt of the caller finds out.
    pub(super) async fn look_again(&self) {
        let looked = async {
            let connection = self.connection().await?;
            let extension = schema::probe(&*connection, &self.inner.names).await?;
            connection.done();
            Ok::<_, StoreError>(extension)
        };
        if let Ok(extension) = looked.await {
            self.set_ready(extension);
        }
    }

    /// Follows whether the database can be used.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.inner.readiness.subscribe()
    }

    /// The extension as it was last seen. An error when the database is known to lack what every call needs; that it does
    /// not answer is for each call to find out, which may be sooner than the next probe.
    pub(super) fn extension(&self) -> Result<Arc<Extension>, StoreError> {
        match &*self.inner.readiness.borrow() {
            Readiness::Ready(extension) => Ok(Arc::clone(extension)),
            Readiness::NotReady { why, known: Some(extension) } if matches!(**why, StoreError::Unavailable { .. }) => {
                Ok(Arc::clone(extension))
            }
            Readiness::NotReady { why, .. } => Err(StoreError::NotReady(Arc::clone(why))),
        }
    }

    fn set_ready(&self, extension: Extension) {
        let extension = Arc::new(extension);
        let mut is_other = false;
        self.inner.readiness.send_if_modified(|readiness| {
            is_other = readiness.known() != Some(&extension);
            let is_news = is_other || !matches!(readiness, Readiness::Ready(_));
            if is_news {
                *readiness = Readiness::Ready(Arc::clone(&extension));
            }
            is_news
        });
        if is_other {
            if let Some(warning) = extension.warning() {
                tracing::warn!("{warning}");
            }
            // Statements name the schema of the extension and the types by their ids: both may be others now. So may be
            // everything in the registry.
            self.forget_all();
        }
    }

    fn set_not_ready(&self, why: Arc<StoreError>) {
        self.inner.readiness.send_modify(|readiness| {
            let known = readiness.known().cloned();
            *readiness = Readiness::NotReady { why, known };
        });
    }
}
