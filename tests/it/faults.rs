//! Faults beneath the server: its database, its provider, or the server itself fails.

mod database;
mod health;
mod killed;
mod lost;
mod missing;
mod provider;
mod refusals;
mod refused_texts;
mod set_up;

use pgfox::v1;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::support::{Client, Server, eventually, reason};

/// The code, the reason, and whether the error suggests a retry.
fn reported(status: &Status) -> (Code, String, bool) {
    (status.code(), reason(status).0, status.get_error_details().retry_info().is_some())
}

fn expected(code: Code, reason: &str, retry: bool) -> (Code, String, bool) {
    (code, reason.into(), retry)
}

/// The health that the server reports.
async fn health(server: &Server, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest { service: service.into() };
    client.check(request).await.expect("health is always reported").into_inner().status()
}

async fn becomes(server: &Server, serving: bool) {
    let wanted = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    eventually(&format!("health is {wanted:?}"), async || health(server, "").await == wanted).await;
}

async fn get(client: &mut Client, collection: &str, id: &str) -> Result<v1::GetDocumentsResponse, Status> {
    let request = v1::GetDocumentsRequest {
        collection: collection.into(),
        ids: vec![id.into()],
        allow_missing: true,
        ..Default::default()
    };
    Ok(client.get_documents(request).await?.into_inner())
}

async fn search(client: &mut Client, collection: &str, values: &[f32]) -> Result<v1::SearchResponse, Status> {
    let request = v1::SearchRequest {
        collection: collection.into(),
        query: Some(v1::search_request::Query::Vector(v1::Vector { values: values.to_vec() })),
        ..Default::default()
    };
    Ok(client.search(request).await?.into_inner())
}

async fn ingest(client: &mut Client, collection: &str, document: v1::Document) -> Result<v1::IngestResponse, Status> {
    let request = v1::IngestRequest { collection: collection.into(), documents: vec![document], ..Default::default() };
    Ok(client.ingest(request).await?.into_inner())
}

/// The first key of the advisory locks of the servers with this schema.
fn lock_class(schema: &str) -> i32 {
    let bytes = schema.bytes().chain("_internal".bytes());
    bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).cast_signed()
}
