//! Everything that talks to PostgreSQL.

pub mod connect;
pub mod dsn;
pub mod errors;
mod tls;
