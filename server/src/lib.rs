//! pgfox-server

pub mod store;
