//! The integration tests: one binary, so that they link once and share their fixtures.

// fixtures
mod calls; // short forms of the calls that most tests make
mod metadata; // metadata as JSON, and filters over it
mod naughty; // strings that break careless programs
mod pooler; // PgBouncer in transaction mode
mod process;
// the real binaries
mod provider; // an OpenAI-shaped embedding server
mod proxy; // a network between a server and its database that fails
mod relay; // a line to Postgres that counts round trips
mod support; // Postgres, servers and clients

// tests
mod admission; // who waits for a connection, who is refused, and which connection a call gets
mod attached; // collections over tables that are there already
mod backends; // what the sessions of the pool keep in the database
mod bad_documents; // documents that break the rules
mod binary; // the programs as a user runs them
mod builds; // vector indexes: built, attached to, interrupted, stopped
mod bulk; // deleting and changing what a filter selects: the maximum number, and which calls are delayed
mod chunked_search; // passages, documents by their best passage, and the places of both
mod chunking; // how a long text is split, and what a change of it costs
mod churn; // everything at once on one name
mod codes; // filters by declared fields: the nearest that match, in step with what is written
mod collections; // creating, getting, listing and deleting collections
mod conditions; // writes that depend on what is stored
mod demo; // the embedded default as a user runs it: the demo, kill -9, health checks
mod documents; // getting and deleting documents, and strings that break careless programs
mod edges; // callers without gRPC or TLS, and headers and pages that are nearly too large
mod embedded; // the private PostgreSQL: start, stop, kill, lock, users
mod explain; // the plans that searches must have
mod facets; // documents counted by the values of a field
mod faults; // a database, a provider or a server that fails
mod filtered_search; // filters of every selectivity, largest distances, examples, fields, results that differ
mod filters; // what each test of a filter means, and how filters combine
mod follow; // collections that follow a table
mod full_text; // words, phrases and exclusions
mod highlights; // the passages that show the words
mod hybrid; // both results fused by their ranks
mod ingest; // what counts as a change, what it costs, and many writers at once
mod ingest_stream; // IngestStream: order, and what requests have to do with each other
mod invariants; // what ARCHITECTURE.md says is absent
mod list_documents; // pages of documents, in order, and their other fields
mod local_model; // the vectors of all-MiniLM-L6-v2 are those of onnxruntime
mod notes; // why an answer is empty
mod openai; // embedding by a provider over HTTP: batches, retries, bad answers
mod overload; // requests that take much of the server: hostile counts, compression, bytes in flight
mod overload_embedding; // searches beside more documents than a model can embed
mod own_words; // words made by pgfox: as SQL sees them, by language, brought over from older versions
mod pooled; // through a pooler that loses prepared statements
mod ranking; // BM25, the statistics that it needs, and what hybrid search makes of it
mod reference; // docs/reference.md and docs/errors.md are what the protos say
mod registry; // collections and aliases that several servers change at a time
mod reload; // keys and certificates that change while a server runs
mod required; // parts of messages that must be there
mod round_trips; // how often a call waits for the database
mod search_batch; // several searches, one call to embed them
mod searching; // the nearest, limits, settings, and what is said of the result
mod strangers; // connections without a call, and too many of them
mod surface; // reflection, health, deadlines, gzip, keys, TLS, shutdown
mod telemetry; // metrics by HTTP, ids of calls, logs as JSON
mod tls; // every sslmode against a Postgres with TLS
mod torn;
mod update_collection; // metadata indexes and aliases
mod update_metadata; // merging and replacing metadata
mod upgrade; // what an older version has set up
mod walk; // create, ingest, index, search, delete
mod web; // pages in a browser: gRPC-Web and CORS
