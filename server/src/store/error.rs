//! The errors of the store. Messages are fit for callers; the driver's text is for the log only.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    connection::{
        ConnectError, PoolError,
        sqlstate::{Kind, classify, explain},
    },
    log,
    sources::{MetadataProblem, SourceProblem},
};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the collection \"{0}\" does not exist; create it, or check the name")]
    CollectionNotFound(String),
    /// Deleted and created again since the caller last read it.
    #[error("the collection \"{0}\" was replaced by another one in the meantime; start again with the new one")]
    CollectionReplaced(String),
    #[error("the collection \"{0}\" already exists; use it, or choose another name")]
    CollectionExists(String),
    #[error("views or other objects of the database depend on the collection \"{0}\"; drop them first")]
    CollectionInUse(String),
    #[error("the collection \"{collection}\" has no {}", list(ids))]
    DocumentsNotFound { collection: String, ids: Vec<String> },
    #[error(
        "document \"{id}\" in collection \"{collection}\" has no vector; store it with one, or with a text if the collection has a model"
    )]
    DocumentWithoutVector { collection: String, id: String },
    #[error(
        "the metadata of document \"{id}\" would have {bytes} bytes as JSON, but at most {limit} are allowed; nothing \
         was changed"
    )]
    MetadataTooLarge { id: String, bytes: usize, limit: usize },
    #[error(
        "{} in collection \"{collection}\" {} not at the version given in if_version; read the new version, then try again",
        list(ids),
        are(ids)
    )]
    VersionMismatch { collection: String, ids: Vec<String> },
    /// Data that was read before a write has changed. Repeating both helps.
    #[error("other writers kept changing the same documents; try again")]
    Overtaken,
    /// More documents than one transaction may change.
    #[error(
        "the filter selects more than {limit} documents in collection \"{collection}\", the maximum for one call; \
         nothing was changed. Narrow the filter, for example by ranges of a field, or send the ids that ListDocuments \
         returns page by page, or raise --max-bulk-documents of the server"
    )]
    TooManyDocuments { collection: String, limit: usize },
    /// All fields of a source that do not fit its table.
    #[error("the source does not fit its table")]
    SourceInvalid(Vec<SourceProblem>),
    /// The role may not read the table of a source, or build an index on it.
    #[error("{why}; have its owner run: {}", statements.join("; "))]
    SourceRefused { collection: String, why: String, statements: Vec<String> },
    /// A collection with a source cannot do this. `what` says what to do instead.
    #[error("the collection \"{collection}\" is attached to the table {table}: {what}")]
    Attached { collection: String, table: String, what: Cow<'static, str> },
    /// A call for collections that follow a table.
    #[error("the collection \"{0}\" follows no table; attach one with `follow`")]
    NotFollowing(String),
    /// The table of a source does not take the rows.
    #[error(
        "the table {table} of the collection \"{collection}\" refuses {}: {why}; nothing was written",
        id.as_ref().map_or_else(|| "the change".to_owned(), |id| format!("document \"{id}\""))
    )]
    RowsRefused { collection: String, table: String, id: Option<String>, why: String },
    /// Metadata that the columns of a source do not accept.
    #[error("the metadata does not fit the columns of the table")]
    MetadataInvalid(Vec<MetadataProblem>),
    /// The table of a source has changed.
    #[error(
        "{change}; undo this change, or delete the collection \"{collection}\" and attach it again, which does not touch \
         the table"
    )]
    SourceChanged { collection: String, table: String, change: String },
    #[error("the index {index} was made by SQL on the table {table}; drop it by SQL: DROP INDEX CONCURRENTLY {index}")]
    IndexMadeBySql { collection: String, table: String, index: String },
    #[error("the collection \"{0}\" has no such index; call ListIndexes to see its indexes")]
    IndexNotFound(String),
    #[error(
        "index {index} of collection \"{collection}\" is being built with other parameters; wait for it, or stop it \
         with DropIndex"
    )]
    BuildRunning { collection: String, index: String },
    #[error("the index was not built: {0}")]
    BuildFailed(String),
    #[error("the documents found have more than {limit} bytes together; request fewer documents or fields")]
    ResponseTooLarge { limit: usize },
    /// A short transaction of someone else held a lock that the operation needs.
    #[error(
        "the database is busy: another transaction holds a lock that collection \"{0}\" needs; try again. If that \
         does not help, look for transactions that stay open"
    )]
    CollectionBusy(String),
    /// Somebody dropped a part of it in the database.
    #[error(
        "the database lacks a table, a column or another part of collection \"{collection}\"; restore it from a \
         backup, or delete the collection and create it again"
    )]
    CollectionDamaged { collection: String, source: tokio_postgres::Error },
    /// The registry or the schema of the views is gone.
    #[error(
        "the database lacks the schema {0}, or a table of pgfox in it; restore it from a backup, or run `pgfox-server \
         migrate` to set up an empty schema"
    )]
    SchemaMissing(String),
    /// Says what to run to get the vector extension.
    #[error("{0}")]
    ExtensionMissing(String),
    /// This server can never work with this database: the schema or the encoding does not fit.
    #[error("{0}")]
    WrongDatabase(String),
    /// The database cannot be used (yet). The inner error says why.
    #[error("{0}")]
    NotReady(Arc<StoreError>),
    #[error("the database cannot be reached: {why}; try again, and check the database if this lasts")]
    Unavailable { why: String },
    #[error("the database is busy: {0}; try again later")]
    Busy(String),
    /// Refused before any work was done.
    #[error(
        "the server is overloaded: {waiting} calls of this kind wait for a connection to the database; try again later"
    )]
    Overloaded { waiting: usize, retry_after: Duration },
    #[error("the database role of the server lacks a privilege; grant the one that the log of the server names")]
    Refused(#[source] tokio_postgres::Error),
    /// The server is a standby, or somebody has made it or the transaction read-only.
    #[error("the database is read-only now; try again after a failover, or when it accepts writes again")]
    ReadOnly,
    /// Stopped by the statement timeout.
    #[error(
        "the query took too long and was stopped; request less at once, or raise statement_timeout of the database"
    )]
    TimedOut,
    /// Stopped by a cancel request that did not come from pgfox.
    #[error(
        "the query was cancelled in the database, by an administrator or another program; find out why, then try again"
    )]
    Cancelled,
    /// Cached data is no longer true. Repeating reads it again.
    #[error("the database has changed in the meantime; try again")]
    Stale(#[source] Option<tokio_postgres::Error>),
    /// Two transactions conflicted. Repeating helps.
    #[error("the transaction conflicted with another one; try again")]
    Conflict(#[source] tokio_postgres::Error),
    /// A defect of pgfox.
    #[error("{0}")]
    Internal(String),
    /// An error of the database that pgfox does not expect.
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
                log::warn(format!("lost the connection to the database: {}", explain(&error)));
                Self::unavailable("the connection was lost")
            }
            Kind::Login => {
                log::error(format!("the database refuses the login: {}", explain(&error)));
                Self::unavailable("it refuses the login of the server")
            }
            Kind::OutOfConnections => Self::Busy("it accepts no more connections now".into()),
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

/// The first few ids, in quotes.
fn list(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let noun = if ids.len() == 1 { "document" } else { "documents" };
    let shown: Vec<String> = ids.iter().take(SHOWN).map(|id| format!("\"{id}\"")).collect();
    let more = ids.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if more == 0 { format!("{noun} {shown}") } else { format!("{noun} {shown} and {more} more") }
}

fn are(ids: &[String]) -> &'static str {
    if ids.len() == 1 { "is" } else { "are" }
}
