//! The pgfox server.

pub mod embed;
pub mod store;
