//! The meaning of a driver's error, and its text for the operator.

use std::{error::Error as _, fmt::Write as _, io};

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

/// The meaning of an error for the caller. Each case has a different reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection broke, or the server cannot be reached, is starting up or is shutting down.
    ConnectionLost,
    /// The server accepts no more connections, because there are too many.
    OutOfConnections,
    /// The server refuses the credentials, or has no such database.
    Login,
    /// Disk, memory or another resource of the server is used up.
    Resources,
    /// The role lacks a privilege.
    Privilege,
    /// A table, its schema, a column, a type or an operator does not exist.
    Undefined,
    /// A unique key exists already.
    UniqueViolation,
    /// The row that another row refers to does not exist.
    ForeignKeyViolation,
    /// A serialization failure, a deadlock or a concurrent change of the same table. The transaction can be tried
    /// again.
    Conflict,
    /// A lock did not become free in time.
    LockTimeout,
    /// Stopped by `statement_timeout`.
    TimedOut,
    /// Stopped by a cancel request.
    Cancelled,
    /// A statement no longer fits the schema or the session. Forget it and try once more.
    StalePlan,
    /// The server is a standby, or the transaction is read-only.
    ReadOnly,
    /// Anything else.
    Other,
}

/// The meaning of `error`.
pub fn classify(error: &tokio_postgres::Error) -> Kind {
    let Some(db) = error.as_db_error() else {
        return classify_transport(error);
    };
    let code = db.code();
    match *code {
        SqlState::TOO_MANY_CONNECTIONS => Kind::OutOfConnections,
        SqlState::CANNOT_CONNECT_NOW
        | SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::IDLE_SESSION_TIMEOUT
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Kind::ConnectionLost,
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION | SqlState::INVALID_CATALOG_NAME => {
            Kind::Login
        }
        SqlState::INSUFFICIENT_PRIVILEGE => Kind::Privilege,
        SqlState::UNDEFINED_TABLE
        | SqlState::INVALID_SCHEMA_NAME
        | SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_OBJECT
        | SqlState::UNDEFINED_FUNCTION => Kind::Undefined,
        SqlState::UNIQUE_VIOLATION => Kind::UniqueViolation,
        SqlState::FOREIGN_KEY_VIOLATION => Kind::ForeignKeyViolation,
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::Conflict,
        SqlState::LOCK_NOT_AVAILABLE => Kind::LockTimeout,
        // Only the text distinguishes them. If the server has translated it, a timeout is more likely.
        SqlState::QUERY_CANCELED if db.message().contains("user request") => Kind::Cancelled,
        SqlState::QUERY_CANCELED => Kind::TimedOut,
        SqlState::READ_ONLY_SQL_TRANSACTION => Kind::ReadOnly,
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => Kind::StalePlan,
        // Statements name every column that this version knows. A newer version has added another.
        SqlState::NOT_NULL_VIOLATION => Kind::StalePlan,
        // These two codes cover many cases. Only the text distinguishes them, and the server may have translated it.
        // Then it is `Other`.
        SqlState::FEATURE_NOT_SUPPORTED if db.message().contains("cached plan must not change") => Kind::StalePlan,
        SqlState::INTERNAL_ERROR if db.message().contains("cache lookup failed") => Kind::StalePlan,
        // Postgres does not translate these texts. Two servers changed the same table, or one has dropped it.
        SqlState::INTERNAL_ERROR if db.message().starts_with("tuple concurrently") => Kind::Conflict,
        SqlState::INTERNAL_ERROR if db.message().starts_with("could not open relation with OID") => Kind::Undefined,
        _ => match code.code().get(..2) {
            Some("08") => Kind::ConnectionLost,
            Some("53") => Kind::Resources,
            _ => Kind::Other,
        },
    }
}

/// Classifies errors that did not come from the server.
fn classify_transport(error: &tokio_postgres::Error) -> Kind {
    if error.is_closed() || tls_error(error).is_some() {
        return Kind::ConnectionLost;
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
        // The driver reports values that it cannot encode or decode as I/O errors of these kinds.
        None | Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Kind::Other,
        Some(_) => Kind::ConnectionLost,
    }
}

/// The error with its causes and, if useful, a hint. For logs, never for clients.
pub(crate) fn explain(error: &tokio_postgres::Error) -> String {
    let mut text = match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                // Writing to a string cannot fail.
                let _ = write!(text, ": {error}");
                cause = error.source();
            }
            text
        }
    };
    if let Some(hint) = tls_error(error).and_then(tls_hint) {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}

fn tls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()
}

fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return None;
    };
    match reason {
        CertificateError::UnknownIssuer => {
            Some("the CA of the server's certificate is not trusted: set sslrootcert to the provider's CA file")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Some(
            "connect with a name that the server's certificate lists as subject alternative name, or use \
             sslmode=verify-ca",
        ),
        CertificateError::Other(_) => {
            Some("the server's certificate may be older than X.509 version 3: issue a new one")
        }
        _ => None,
    }
}
