//! Short forms of the calls that most tests make.

use std::{collections::HashMap, fmt::Debug};

use pgfox::v1::{self, MetadataIndexType, index_spec::Kind, search_request::Query};
use pgfox_server::OpenAiConfig;
use prost_types::FieldMask;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::{
    provider::Provider,
    support::{Client, Setup, reason},
};

/// Lets a server embed with `provider`.
pub(crate) fn with_provider(provider: &Provider) -> impl FnOnce(&mut Setup) {
    let base_url = Some(provider.base_url());
    |setup| setup.openai = OpenAiConfig { base_url, ..OpenAiConfig::default() }
}

pub(crate) fn request(collection: &str, documents: Vec<v1::Document>) -> v1::IngestRequest {
    v1::IngestRequest { collection: collection.into(), documents, ..Default::default() }
}

pub(crate) async fn ingest(client: &mut Client, collection: &str, documents: Vec<v1::Document>) -> v1::IngestResponse {
    client.ingest(request(collection, documents)).await.expect("ingested").into_inner()
}

/// The result of an ingest: inserted or changed, changed among these, unchanged.
pub(crate) fn counts(response: &v1::IngestResponse) -> (i32, i32, i32) {
    (response.upserted_count, response.updated_count, response.unchanged_count)
}

/// The documents with these ids, which must exist, and their vectors, as they were sent.
pub(crate) async fn get(client: &mut Client, collection: &str, ids: &[&str]) -> Vec<v1::Document> {
    let request = v1::GetDocumentsRequest {
        collection: collection.into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        include_vector: true,
        allow_missing: false,
    };
    let documents = client.get_documents(request).await.expect("documents").into_inner().documents;
    documents.into_iter().map(sent).collect()
}

/// A document without the fields that only the server sets.
pub(crate) fn sent(document: v1::Document) -> v1::Document {
    assert!(document.version > 0 && document.update_time.is_some());
    v1::Document { version: 0, create_time: None, update_time: None, ..document }
}

/// How many documents the collection has.
pub(crate) async fn count(client: &mut Client, collection: &str) -> i64 {
    let request = v1::GetCollectionRequest { name: collection.into() };
    let collection = client.get_collection(request).await.expect("a collection").into_inner().collection;
    collection.expect("a collection").document_count
}

/// A search for the neighbours of a vector.
pub(crate) fn near(collection: &str, values: &[f32], limit: i32) -> v1::SearchRequest {
    let query = Query::Vector(v1::Vector { values: values.to_vec() });
    v1::SearchRequest { collection: collection.into(), query: Some(query), limit, ..Default::default() }
}

/// A search for a text.
pub(crate) fn about(collection: &str, text: &str, limit: i32) -> v1::SearchRequest {
    let query = Query::Text(text.into());
    v1::SearchRequest { collection: collection.into(), query: Some(query), limit, ..Default::default() }
}

/// A search for documents similar to a document.
pub(crate) fn similar(collection: &str, id: &str, limit: i32) -> v1::SearchRequest {
    let query = Query::DocumentId(id.into());
    v1::SearchRequest { collection: collection.into(), query: Some(query), limit, ..Default::default() }
}

pub(crate) async fn search(client: &mut Client, request: v1::SearchRequest) -> v1::SearchResponse {
    client.search(request).await.expect("a search").into_inner()
}

/// The ids of the results, in their order.
pub(crate) fn ids(response: &v1::SearchResponse) -> Vec<&str> {
    response.results.iter().map(|result| result.document.as_ref().expect("a document").id.as_str()).collect()
}

/// Builds an index and waits until it is ready.
pub(crate) async fn build_index(client: &mut Client, collection: &str, kind: Kind) {
    let spec = v1::IndexSpec { kind: Some(kind), allow_few_rows: true };
    let request = v1::BuildIndexRequest { collection: collection.into(), spec: Some(spec), rebuild: false };
    let mut progress = client.build_index(request).await.expect("a build").into_inner();
    let mut phase = v1::IndexPhase::Unspecified;
    while let Some(message) = progress.message().await.expect("progress") {
        phase = message.phase();
    }
    assert_eq!(phase, v1::IndexPhase::Ready);
}

/// Gives a collection the index over all metadata and one over the times of a field.
pub(crate) async fn build_time_index(client: &mut Client, collection: &str, field: &str) {
    let index = |field: &str, kind: MetadataIndexType| v1::MetadataIndex { field: field.into(), r#type: kind.into() };
    let metadata_indexes = vec![index("", MetadataIndexType::Gin), index(field, MetadataIndexType::Time)];
    let request = v1::UpdateCollectionRequest {
        collection: Some(v1::Collection { name: collection.into(), metadata_indexes, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["metadata_indexes".into()] }),
    };
    client.update_collection(request).await.expect("an index");
}

/// The code and the reason of a refusal, and the fields that it names.
pub(crate) fn refusal<T: Debug>(result: Result<Response<T>, Status>) -> (Code, String, Vec<String>) {
    let status = result.expect_err("a refusal");
    let (reason, fields) = reason(&status);
    assert_eq!(status.code() == Code::InvalidArgument, !fields.is_empty(), "{status:?}");
    fits_headers(&status);
    (status.code(), reason, fields)
}

/// Checks that a refusal is INVALID_ARGUMENT for these fields.
#[track_caller]
pub(crate) fn invalid<T: Debug>(result: Result<Response<T>, Status>, fields: &[&str]) {
    let (code, _, named) = refusal(result);
    assert_eq!((code, named), (Code::InvalidArgument, fields.iter().map(|field| (*field).to_owned()).collect()));
}

/// The metadata of an error.
pub(crate) fn info(status: &Status) -> HashMap<String, String> {
    status.get_error_details().error_info().expect("an ErrorInfo").metadata.clone()
}

/// gRPC's libraries for C++, Java and Python accept 8 KiB of headers. With more than that they lose the error.
#[track_caller]
pub(crate) fn fits_headers(status: &Status) {
    let response = Status::with_details(status.code(), status.message(), status.details().to_vec().into());
    let response = response.into_http::<()>();
    // Counted as in HTTP/2.
    let bytes: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(bytes < 8 * 1024 - 256, "{bytes} bytes of headers: {}", status.message());
}
