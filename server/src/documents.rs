//! GetDocuments and DeleteDocuments.

use std::collections::HashSet;

use pgfox::v1;

use crate::{
    App,
    error::Error,
    json,
    store::{StoreError, StoredDocument},
    validate::Violations,
};

pub(crate) async fn get(app: &App, request: v1::GetDocumentsRequest) -> Result<v1::GetDocumentsResponse, Error> {
    let v1::GetDocumentsRequest { collection, ids, include_vector, allow_missing } = request;
    check(&collection, &ids)?;
    let wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut found =
        app.store.get_documents(&collection, &wanted, include_vector, app.limits.max_response_bytes).await?;

    let mut documents = Vec::with_capacity(found.len());
    let mut missing_ids = Vec::new();
    let mut seen = HashSet::with_capacity(ids.len());
    for id in ids.iter().filter(|id| seen.insert(*id)) {
        match found.remove(id) {
            Some(document) => documents.push(to_message(document)?),
            None => missing_ids.push(id.clone()),
        }
    }
    if !missing_ids.is_empty() && !allow_missing {
        return Err(StoreError::DocumentsNotFound { collection, ids: missing_ids }.into());
    }
    let response = v1::GetDocumentsResponse { documents, missing_ids };
    check_size(app, &response)?;
    Ok(response)
}

pub(crate) async fn delete(
    app: &App,
    request: v1::DeleteDocumentsRequest,
) -> Result<v1::DeleteDocumentsResponse, Error> {
    check(&request.collection, &request.ids)?;
    let ids: Vec<&str> = request.ids.iter().map(String::as_str).collect();
    let deleted = app.store.delete_documents(&request.collection, &ids).await?;
    Ok(v1::DeleteDocumentsResponse { deleted_count: deleted as i64 })
}

fn check(collection: &str, ids: &[String]) -> Result<(), Error> {
    let mut violations = Violations::default();
    violations.name("collection", collection);
    violations.ids("ids", ids);
    violations.finish()
}

/// A document as the API shows it.
pub(crate) fn to_message(document: StoredDocument) -> Result<v1::Document, Error> {
    let metadata = json::read(&document.metadata)
        .map_err(|error| StoreError::Internal(format!("jsonb that is no JSON: {error}")))?;
    Ok(v1::Document {
        id: document.id,
        text: document.text,
        vector: document.vector.map(|values| v1::Vector { values }),
        metadata: (!metadata.fields.is_empty()).then_some(metadata),
        ..Default::default()
    })
}

/// Metadata can be several times larger as a message than it is as JSON.
pub(crate) fn check_size(app: &App, response: &impl prost::Message) -> Result<(), Error> {
    let limit = app.limits.max_response_bytes;
    if response.encoded_len() > limit {
        return Err(StoreError::ResponseTooLarge { limit }.into());
    }
    Ok(())
}
