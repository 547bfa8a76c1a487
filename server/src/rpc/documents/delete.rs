//! DeleteDocuments.

use std::time::Instant;

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rpc::messages::notes,
    rules::{Violations, documents::read_selection},
};

pub(in crate::rpc) async fn delete(
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
        app.store.delete_documents(&collection, &filter, app.limits.max_bulk_documents, deadline).await? as i64
    };
    let notes =
        if deleted_count == 0 { notes(app, &collection, Some(&filter), None, deadline).await } else { Vec::new() };
    Ok(v1::DeleteDocumentsResponse { deleted_count, notes })
}
