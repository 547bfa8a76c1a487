//! GetDocuments and DeleteDocuments, and what the operations on documents share.

use std::{collections::HashSet, time::Instant};

use pgfox::v1;

use crate::{
    App,
    error::{Error, Violation},
    filter, json,
    store::{Filter, StoreError, StoredDocument},
    validate::Violations,
};

pub(crate) async fn get(app: &App, request: v1::GetDocumentsRequest) -> Result<v1::GetDocumentsResponse, Error> {
    let v1::GetDocumentsRequest { collection, ids, include_vector, allow_missing } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    violations.ids("ids", &ids);
    violations.finish()?;
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
    deadline: Instant,
) -> Result<v1::DeleteDocumentsResponse, Error> {
    let v1::DeleteDocumentsRequest { collection, ids, filter, dry_run } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    let filter = read_selection(&mut violations, ids, filter);
    let filter = violations.finish_with(filter)?;
    let deleted_count = if dry_run {
        app.store.count_documents(&collection, Some(&filter)).await?
    } else {
        app.store.delete_documents(&collection, &filter, deadline).await? as i64
    };
    Ok(v1::DeleteDocumentsResponse { deleted_count })
}

/// The documents that a request is to change: those with its ids or those of its filter. Never all by omission.
pub(crate) fn read_selection(
    violations: &mut Violations,
    ids: Vec<String>,
    filter: Option<v1::Filter>,
) -> Option<Filter> {
    match filter {
        None if ids.is_empty() => violations.push(Violation::new("ids", "is required, or else filter")),
        None => return violations.ids("ids", &ids).then_some(Filter::Ids(ids)),
        Some(filter) if ids.is_empty() => return filter::read(violations, "filter", filter),
        Some(_) => violations.push(Violation::new("filter", "must not be together with ids: send one of them")),
    }
    None
}

/// A document as the API shows it.
pub(crate) fn to_message(document: StoredDocument) -> Result<v1::Document, Error> {
    let metadata = json::read(&document.metadata)
        .map_err(|error| StoreError::Internal(format!("jsonb that is no JSON: {error}")))?;
    let (version, create_time, update_time) = match document.version {
        Some(version) => (version.number, Some(version.created_at.into()), Some(version.updated_at.into())),
        None => (0, None, None),
    };
    Ok(v1::Document {
        id: document.id,
        text: document.text,
        vector: document.vector.map(|values| v1::Vector { values }),
        metadata: (!metadata.fields.is_empty()).then_some(metadata),
        version,
        create_time,
        update_time,
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
