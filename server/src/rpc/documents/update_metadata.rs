//! UpdateMetadata.

use std::time::Instant;

use pgfox::v1::{self, MetadataUpdate};

use crate::{
    app::App,
    error::Error,
    rpc::messages::notes,
    rules::{Violation, Violations, documents::read_selection, json, source::metadata_violations},
    store::{Changed, MetadataChange, StoreError},
};

pub(in crate::rpc) async fn update(
    app: &App,
    request: v1::UpdateMetadataRequest,
    deadline: Instant,
) -> Result<v1::UpdateMetadataResponse, Error> {
    let v1::UpdateMetadataRequest { collection, ids, filter, metadata, update, dry_run } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    let filter = read_selection(&mut violations, ids, filter);
    let metadata = match metadata.as_ref().map(json::write) {
        Some(Ok(metadata)) => Some(metadata),
        Some(Err(rule)) => {
            violations.push(Violation::new("metadata", rule));
            None
        }
        None => {
            violations.push(Violation::new("metadata", "is required; it may be an object without fields"));
            None
        }
    };
    let replace = match MetadataUpdate::try_from(update) {
        Ok(MetadataUpdate::Unspecified | MetadataUpdate::Merge) => false,
        Ok(MetadataUpdate::Replace) => true,
        Err(_) => {
            violations.push(Violation::new("update", "must be a MetadataUpdate"));
            false
        }
    };
    let (filter, metadata) = violations.finish_with(filter.zip(metadata))?;

    let change = MetadataChange { metadata, replace, max_bytes: json::MAX_BYTES };
    let changed = if dry_run {
        app.store.count_changes(&collection, &filter, &change).await
    } else {
        app.store.update_metadata(&collection, &filter, &change, app.limits.max_bulk_documents, deadline).await
    };
    let Changed { matched, updated } = match changed {
        Err(StoreError::MetadataInvalid(problems)) => return Err(metadata_violations(problems).into()),
        changed => changed?,
    };
    let notes = if matched == 0 { notes(app, &collection, Some(&filter), None, deadline).await } else { Vec::new() };
    Ok(v1::UpdateMetadataResponse { matched_count: matched, updated_count: updated, notes })
}
