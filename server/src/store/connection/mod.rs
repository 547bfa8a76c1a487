//! Connections to the database: pooled ones for calls, single ones for long work, and the meaning of their errors.
//!
//! A call can end at any moment: its deadline passes, or its client leaves. Dropping the future of a running statement
//! neither stops it on the server nor waits for it. So a pooled [`Connection`] that was not handed back by
//! [`done`](Connection::done) is settled in the background before another call gets it.

pub(crate) mod dsn;
mod gate;
mod pool;
mod pooled;
mod pooler;
mod session;
pub(crate) mod sqlstate;
mod statements;
mod tls;
mod values;

use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Socket,
    config::SslMode,
    error::DbError,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::log;
use dsn::{Dsn, DsnError, TlsOptions, Verify};
use sqlstate::explain;

pub use gate::Class;
pub use pool::{Pool, PoolError, PoolOptions};
pub use pooled::Connection;
pub use statements::{AsStatement, Statement};
pub use values::Value;
pub(super) use values::{Element, Foreign, Typed};

/// Maximum number of NOTICE messages that a connection keeps for its owner. Others are only in the log, at level debug.
const MAX_NOTICES: usize = 64;

/// Maximum time for the server to answer what is running when a connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The NOTICE messages of the server (`NOTICE: hnsw graph no longer fits into maintenance_work_mem ...`), in order.
pub(super) type Notices = mpsc::Receiver<DbError>;

/// Opens connections to one database. Clones share the target, so replacing it affects all of them.
#[derive(Clone)]
pub struct Connector(Arc<RwLock<Arc<Target>>>);

/// The address and the settings of the connections.
struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    timeout: Duration,
    /// The target for people, without the password.
    name: Arc<str>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.target().name).finish_non_exhaustive()
    }
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server did not answer in time.
    #[error("cannot connect to {target}: no answer within {} s (connect_timeout)", .after.as_secs())]
    Timeout {
        /// The server, without the password.
        target: Arc<str>,
        /// The limit that was exceeded.
        after: Duration,
    },
    /// The network, TLS or the server refused.
    #[error("cannot connect to {target}: {}", explain(.source))]
    Refused {
        /// The server, without the password.
        target: Arc<str>,
        /// The cause, for [`classify`](sqlstate::classify).
        source: tokio_postgres::Error,
    },
}

impl Connector {
    /// Prepares connections to `dsn` without opening any. Reads the certificate files that it names.
    ///
    /// # Errors
    /// `DsnError::File` and `DsnError::NoSystemRoots`.
    pub fn new(dsn: &Dsn) -> Result<Connector, DsnError> {
        // Without TLS it is never used, but the types require one.
        const NO_TLS: TlsOptions = TlsOptions {
            verify: Verify::Nothing,
            client: None,
            server_name_indication: true,
            direct: false,
            tls13_only: false,
        };
        debug_assert_eq!(dsn.tls.is_none(), dsn.config.get_ssl_mode() == SslMode::Disable);
        let tls = tls::client_config(dsn.tls.as_ref().unwrap_or(&NO_TLS))?;
        Ok(Connector(Arc::new(RwLock::new(Arc::new(Target {
            config: dsn.config.clone(),
            tls: MakeRustlsConnect::new(tls),
            timeout: dsn.connect_timeout,
            name: dsn.describe().into(),
        })))))
    }

    /// From now on connects as `other` does, with another user or password. Open connections stay.
    ///
    /// # Errors
    /// If `other` is for another database, whose state is unknown. The error is a text for people.
    pub fn replace(&self, other: &Connector) -> Result<(), String> {
        let (old, new) = (self.target(), other.target());
        let place = |target: &Target| {
            let Target { config, .. } = target;
            (config.get_hosts().to_vec(), config.get_ports().to_vec(), config.get_dbname().map(str::to_owned))
        };
        if place(&old) != place(&new) {
            return Err(format!("{} is not {}: restart the server to use another database", new.name, old.name));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn target(&self) -> Arc<Target> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a connection outside any pool, for work that takes long or keeps session state.
    ///
    /// # Errors
    /// `ConnectError`.
    pub async fn connect(&self) -> Result<(Dedicated, Notices), ConnectError> {
        let (sender, notices) = mpsc::channel(MAX_NOTICES);
        let target = self.target();
        let name = || Arc::clone(&target.name);
        let attempt = timeout(target.timeout, target.config.connect(target.tls.clone()));
        let (client, connection) = attempt
            .await
            .map_err(|_| ConnectError::Timeout { target: name(), after: target.timeout })?
            .map_err(|source| ConnectError::Refused { target: name(), source })?;
        let (_dropped, dropped) = oneshot::channel();
        let mut driving = drive(connection, Some(sender));
        tokio::spawn(async move {
            tokio::select! {
                _ = &mut driving => return,
                _ = dropped => {}
            }
            if timeout(CLOSE_TIMEOUT, &mut driving).await.is_err() {
                driving.abort();
            }
        });
        Ok((Dedicated { client, _dropped }, notices))
    }
}

/// A connection outside any pool. Dropping it closes it soon, even if the server still owes an answer: a dead server
/// would owe it for ever.
#[derive(Debug)]
pub struct Dedicated {
    client: Client,
    /// Its end signals that the connection was dropped.
    _dropped: oneshot::Sender<()>,
}

impl Deref for Dedicated {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Processes the messages of a connection until its client is dropped. Each NOTICE goes to the log and to its owner.
fn drive(mut connection: Driven, notices: Option<mpsc::Sender<DbError>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    tracing::debug!(
                        severity = notice.severity(),
                        message = notice.message(),
                        "notice from the database"
                    );
                    if let Some(notices) = &notices {
                        // If the channel is full or closed, the notice is lost. This limits the memory for them.
                        let _ = notices.try_send(notice);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    log::warn(format!("a database connection broke: {}", explain(&error)));
                    break;
                }
            }
        }
    })
}

/// Processes the messages of a connection.
type Driven = tokio_postgres::Connection<Socket, TlsStream>;

type TlsStream = <<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Stream;
