//! Why the store could not do what it was asked. Messages are fit for callers; what the driver said is for the log only.

use std::{sync::Arc, time::Duration};

use super::{
    connection::{
        ConnectError, PoolError,
        sqlstate::{Kind, classify, explain},
    },
    log,
};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no collection \"{0}\"")]
    CollectionNotFound(String),
    /// Deleted and created again since the caller looked.
    #[error("the collection \"{0}\" was replaced by another one meanwhile")]
    CollectionReplaced(String),
    #[error("the collection \"{0}\" exists already")]
    CollectionExists(String),
    #[error("views or other objects of the database depend on the collection \"{0}\"; drop them first")]
    CollectionInUse(String),
    #[error("the collection \"{collection}\" has no document {}", list(ids))]
    DocumentsNotFound { collection: String, ids: Vec<String> },
    #[error("the document \"{id}\" of the collection \"{collection}\" has no vector, since it has no text")]
    DocumentWithoutVector { collection: String, id: String },
    #[error(
        "the metadata of the document \"{id}\" would be {bytes} bytes as JSON and may have {limit}; nothing was changed"
    )]
    MetadataTooLarge { id: String, bytes: usize, limit: usize },
    #[error("the collection \"{collection}\" has other versions than if_version says of the document {}", list(ids))]
    VersionMismatch { collection: String, ids: Vec<String> },
    /// What was read before a write is not true any more; repeating both helps.
    #[error("other writers kept changing the same documents")]
    Overtaken,
    /// More than one transaction may change.
    #[error(
        "the filter selects more than {limit} documents of the collection \"{collection}\", the most that one call changes; \
             nothing was changed: narrow the filter, such as by ranges of a field, or send the ids that ListDocuments \
             returns page by page, or raise --max-bulk-documents of the server"
    )]
    TooManyDocuments { collection: String, limit: usize },
    #[error("the collection \"{0}\" has no such index")]
    IndexNotFound(String),
    #[error(
        "the index {index} of the collection \"{collection}\" is being built with other parameters; \
             wait for it, or stop it with DropIndex"
    )]
    BuildRunning { collection: String, index: String },
    #[error("the index was not built: {0}")]
    BuildFailed(String),
    #[error("the documents found are larger than {limit} bytes together; ask for fewer")]
    ResponseTooLarge { limit: usize },
    /// A short transaction of others kept a lock that the operation needs.
    #[error(
        "the database is busy: another transaction holds a lock that the collection \"{0}\" needs; try again, and look \
             for transactions that stay open when that does not help"
    )]
    CollectionBusy(String),
    /// Somebody dropped a part of it in the database.
    #[error(
        "the database lacks a table, a column or another part of the collection \"{collection}\"; restore it from a \
             backup, or delete the collection and create it again"
    )]
    CollectionDamaged { collection: String, source: tokio_postgres::Error },
    /// The registry is gone, or the schema of the views.
    #[error(
        "the schema {0} is missing in the database, or a table of pgfox in it; restore it from a backup, or run \
             `pgfox-server migrate` to set up an empty one"
    )]
    SchemaMissing(String),
    /// What to run to get the vector extension.
    #[error("{0}")]
    ExtensionMissing(String),
    /// This server can never work with this database: its schema or its encoding is another.
    #[error("{0}")]
    WrongDatabase(String),
    /// The database cannot be used (yet); the error within says why.
    #[error("{0}")]
    NotReady(Arc<StoreError>),
    #[error("the database cannot be reached: {why}")]
    Unavailable { why: String },
    #[error("the database is busy: {0}")]
    Busy(String),
    /// Refused before anything was done.
    #[error(
        "the server is overloaded: {waiting} calls of this kind wait for a connection to the database; try again later"
    )]
    Overloaded { waiting: usize, retry_after: Duration },
    #[error("the role that the server uses lacks a privilege in the database; the log of the server names it")]
    Refused(#[source] tokio_postgres::Error),
    /// The server is a standby, or somebody has made it or the transaction read-only.
    #[error("the database is read-only now; writes are possible after a failover, or when it accepts them again")]
    ReadOnly,
    /// The statement timeout.
    #[error("the query took too long and was stopped")]
    TimedOut,
    /// A cancel request that was not ours.
    #[error("the query was cancelled in the database, by an administrator or another program")]
    Cancelled,
    /// Something that was cached is not true any more; repeating reads it anew.
    #[error("the database has changed meanwhile")]
    Stale(#[source] Option<tokio_postgres::Error>),
    /// Two transactions stood in each other's way; repeating helps.
    #[error("another transaction stood in the way")]
    Conflict(#[source] tokio_postgres::Error),
    /// A defect of pgfox.
    #[error("{0}")]
    Internal(String),
    /// An error of the database that pgfox does not foresee.
    #[error("the database reported an unexpected error")]
    Database(#[source] tokio_postgres::Error),
}

impl StoreError {
    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into() }
    }
}

impl StoreError {
    /// The error with its causes, for the log of the operator.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Refused(source)
            | Self::Conflict(source)
            | Self::Database(source)
            | Self::Stale(Some(source))
            | Self::CollectionDamaged { source, .. } => format!("{self}: {}", explain(source)),
            _ => self.to_string(),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match classify(&error) {
            Kind::ConnectionLost => {
                log::warn(format!("lost the database: {}", explain(&error)));
                Self::unavailable("the connection was lost")
            }
            Kind::Login => {
                log::error(format!("the database refuses the login: {}", explain(&error)));
                Self::unavailable("it refuses the login of the server")
            }
            Kind::OutOfConnections => Self::Busy("it takes no more connections now".into()),
            Kind::Resources => {
                log::error(format!("the database is out of a resource: {}", explain(&error)));
                Self::Busy("it is out of memory, disk or another resource".into())
            }
            Kind::Privilege => Self::Refused(error),
            Kind::ReadOnly => Self::ReadOnly,
            Kind::TimedOut => Self::TimedOut,
            Kind::Cancelled => Self::Cancelled,
            Kind::Conflict | Kind::LockTimeout => Self::Conflict(error),
            Kind::StalePlan | Kind::Undefined => Self::Stale(Some(error)),
            Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::Other => Self::Database(error),
        }
    }
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Timeout { .. } => {
                log::warn(error.to_string());
                Self::unavailable("it does not answer")
            }
            ConnectError::Refused { source, .. } => source.into(),
        }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Overloaded { waiting, retry_after } => Self::Overloaded { waiting, retry_after },
            PoolError::Busy => Self::Busy("every connection of the server's pool is in use".into()),
            PoolError::Refused(source) => source.into(),
            PoolError::Closed => Self::unavailable("the server is shutting down"),
            PoolError::NoAnswer => {
                log::warn(format!("no connection to the database: {error}"));
                Self::unavailable("it does not answer")
            }
        }
    }
}

/// Ids in quotes, the first few of them.
fn list(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(|id| format!("\"{id}\"")).collect();
    let more = ids.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
