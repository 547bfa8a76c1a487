//! GetDocuments.

use std::{collections::HashSet, time::Instant};

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rpc::messages::{check_size, to_message},
    rules::Violations,
    store::StoreError,
};

pub(in crate::rpc) async fn get(
    app: &App,
    request: v1::GetDocumentsRequest,
    _deadline: Instant,
) -> Result<v1::GetDocumentsResponse, Error> {
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
