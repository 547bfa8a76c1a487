//! The pgfox server: semantic search on PostgreSQL and pgvector over gRPC.
//!
//! A call passes `layers`, then goes to the file of its noun in `rpc`. That file checks it with `rules`, embeds the
//! texts and calls the store. Neither `store` nor `embed` knows gRPC. The modules are private: this file exports by
//! name what the program, the tests and the benchmarks use.

mod app;
mod blocking;
mod budget;
mod chunk;
mod config;
mod embed;
mod embedded;
mod error;
mod follow;
mod health;
mod layers;
mod rpc;
mod rules;
mod serve;
mod stats;
mod store;
mod words;

pub use app::{FollowLimits, Limits};
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
