//! The integration tests: one binary, so that they link once and share their fixtures.

// fixtures
mod process; // the real binaries
mod provider; // an OpenAI-shaped embedding server
mod support; // Postgres, servers and clients

// tests
mod binary; // the programs as a user runs them
mod builds; // vector indexes: built, attached to, interrupted, stopped
mod demo; // the embedded default as a user runs it: the demo, kill -9, health checks
mod embedded; // the private PostgreSQL: start, stop, kill, lock, users
mod faults; // a database, a provider or a server that fails
mod invariants; // what ARCHITECTURE.md says is absent
mod openai; // embedding by a provider over HTTP: batches, retries, bad answers
mod round_trips; // how often a call waits for the database
mod surface; // reflection, health, deadlines, gzip, keys, TLS, shutdown
mod tls; // every sslmode against a Postgres with TLS
mod walk; // create, ingest, index, search, delete
