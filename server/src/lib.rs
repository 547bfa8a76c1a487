//! The pgfox server: semantic search on PostgreSQL and pgvector over gRPC.
//!
//! A call passes `layers`, then goes to the file of its noun in `rpc`, which checks it by `rules`, embeds and stores.
//! Neither `store` nor `embed` knows gRPC. The modules are private: what the program, the tests and the benchmarks use is
//! exported here by name.

mod app;
mod blocking;
mod budget;
mod chunk;
mod config;
mod embed;
mod embedded;
mod error;
mod health;
mod layers;
mod rpc;
mod rules;
mod serve;
mod stats;
mod store;

pub use app::Limits;
pub use config::{
    Cli, Command, DatabaseUrlArgs, Dirs, FETCHED_MODEL, HealthcheckArgs, LogArgs, LogFormat, MigrateArgs, ServeArgs,
    Settings, WatchedFiles, default_dirs, hide_passwords, shown_password,
};
pub use embed::{
    ConfigError, EmbedError, Embedders, EmbeddingConfig, LocalConfig, LocalModel, Model, OpenAiConfig, ProviderKey,
    Purpose,
};
pub use embedded::{Cache, EmbeddedError, EmbeddedPostgres, Options as EmbeddedOptions, Progress, stored_database_url};
pub use layers::{auth::ApiKeys, connections::Certificate, web::Origin};
pub use serve::{ServeConfig, migrate, serve};
pub use store::{Connector, Dsn, Migrate, PoolOptions, SCHEMA_VERSION, StoreConfig};

/// For the tests of connections only.
#[doc(hidden)]
pub mod connection {
    pub use crate::store::{
        AsStatement, Class, Connection, Kind, Pool, PoolError, PoolOptions, Statement, Value, classify,
    };
}
