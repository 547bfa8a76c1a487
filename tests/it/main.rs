//! The integration tests: one binary, so that they link once and share their fixtures.

// fixtures
mod provider; // an OpenAI-shaped embedding server
mod support; // Postgres, servers and clients

// tests
mod builds; // vector indexes: built, attached to, interrupted, stopped
mod embedded; // the private PostgreSQL: start, stop, kill, lock, users
mod invariants; // what ARCHITECTURE.md says is absent
mod openai; // embedding by a provider over HTTP: batches, retries, bad answers
mod round_trips; // how often a call waits for the database
mod tls; // every sslmode against a Postgres with TLS
mod walk; // create, ingest, index, search, delete
