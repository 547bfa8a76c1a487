//! Checks whether the database can be used. It has its own connection, so that neither a full pool nor a stuck call
//! decides.

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
    /// Its extension and schemas exist.
    Ready(Arc<Extension>),
    /// The database cannot be used yet, or no longer.
    NotReady {
        /// Why, in words for callers.
        why: Arc<StoreError>,
        /// The last known state.
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

/// Checks the database repeatedly.
#[derive(Debug)]
pub(crate) struct Probe {
    store: Store,
    /// Kept between two checks.
    client: Option<Dedicated>,
}

impl Probe {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, client: None }
    }

    /// Checks that the database answers and has what calls need, and records the result. Takes at most the health
    /// timeout.
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
            // It answers. Fetching what it has to say is work, not an outage.
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

    /// Asks over the previous connection, then over a new one: a connection that broke or stalls says nothing about the
    /// database.
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
    /// Sets up an empty database, and checks the extension and the version of the schema. The store can then be used.
    pub(crate) async fn prepare(&self, migrate: Migrate) -> Result<(), Arc<StoreError>> {
        let prepared = async {
            let config = &self.inner.config;
            let (client, _notices) = maintenance::connect(&config.direct).await?;
            let extension = schema::prepare(&client, &self.inner.names, migrate, config.health_timeout).await?;
            if !config.pool.unnamed_statements && !config.connector.keeps_statements().await? {
                return Err(StoreError::WrongDatabase(
                    "a pooler in front of the database does not keep prepared statements for each of its clients; \
                     start with --unnamed-statements (PGFOX_UNNAMED_STATEMENTS=true), or configure the pooler to keep \
                     them (PgBouncer: 1.21 or later and max_prepared_statements above 0)"
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

    /// Reads again what the database has: the types of the extension may have new ids. If anything else is wrong, the
    /// caller's next attempt finds it.
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

    /// Watches whether the database can be used.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.inner.readiness.subscribe()
    }

    /// The extension as last seen. Fails if the database is known to lack what every call needs. Each call finds out by
    /// itself whether the database answers, which may be sooner than the next probe.
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
            // Statements contain the schema of the extension and the ids of its types. Both may have changed, and so
            // may everything in the registry.
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
