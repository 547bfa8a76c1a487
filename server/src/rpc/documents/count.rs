//! CountDocuments.

use std::time::Instant;

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rpc::messages::notes,
    rules::{Violations, filter},
};

pub(in crate::rpc) async fn count(
    app: &App,
    request: v1::CountDocumentsRequest,
    deadline: Instant,
) -> Result<v1::CountDocumentsResponse, Error> {
    let v1::CountDocumentsRequest { collection, filter, estimated } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    let filter = filter.and_then(|filter| filter::read(&mut violations, "filter", filter));
    violations.finish()?;
    let count = if estimated {
        app.store.estimate_documents(&collection, filter.as_ref()).await?
    } else {
        app.store.count_documents(&collection, filter.as_ref()).await?
    };
    let notes = if count == 0 { notes(app, &collection, filter.as_ref(), None, deadline).await } else { Vec::new() };
    Ok(v1::CountDocumentsResponse { count, notes })
}
