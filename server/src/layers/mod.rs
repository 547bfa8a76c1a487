//! The layers that every call passes before it reaches the service, from the outside in.

pub(crate) mod auth;
pub(crate) mod connections;
pub(crate) mod drain;
pub(crate) mod messages;
pub(crate) mod plain;
pub(crate) mod telemetry;
pub(crate) mod transport;
pub(crate) mod web;
