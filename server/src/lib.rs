//! pgfox-server
