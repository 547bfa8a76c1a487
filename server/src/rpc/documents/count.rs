//! CountDocuments.

use std::time::Instant;

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rules::{Violations, filter},
};

pub(in crate::rpc) async fn count(
    app: &App,
    request: v1::CountDocumentsRequest,
    _deadline: Instant,
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
    Ok(v1::CountDocumentsResponse { count, notes: Vec::new() })
}
