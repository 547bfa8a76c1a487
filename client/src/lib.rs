//! A thin client for pgfox: connect, then use the generated stub and messages of [`v1`] as they are.
//!
//! ```no_run
//! use pgfox_client::{ConnectOptions, connect, v1};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = connect(&ConnectOptions::new("127.0.0.1:50051")).await?;
//! let request = v1::SearchRequest {
//!     collection: "films".into(),
//!     query: Some(v1::search_request::Query::Text("a fox in love".into())),
//!     ..Default::default()
//! };
//! for result in client.search(request).await?.into_inner().results {
//!     println!("{:?} {}", result.distance, result.document.unwrap_or_default().id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate adds to the stub: calls have a deadline and are retried if that can help ([`retry`]).
//! [`ingest`](fn@ingest) streams any number of documents with back-pressure and resumes after a broken connection.
//! [`error`] reads the details of pgfox's errors from a [`tonic::Status`]. [`filter`] is a short notation for filters,
//! [`metadata`](mod@metadata) converts anything that serde serializes to metadata, and [`all_documents`] reads all
//! pages.

pub mod connect;
pub mod error;
pub mod filter;
pub mod ingest;
mod list;
pub mod metadata;
pub mod retry;

pub use connect::{Client, ConnectError, ConnectOptions, Transport, connect, transport};
pub use ingest::{IngestCause, IngestError, IngestEvent, IngestOptions, IngestTotals, SkippedDocument, ingest};
pub use list::{all_collections, all_documents};
pub use pgfox::v1;
// Their types are part of the API, so a program needs the same versions.
pub use {prost_types, tonic};
