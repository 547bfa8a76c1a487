//! FacetDocuments.

use std::time::Instant;

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rpc::messages::{check_size, notes},
    rules::{MAX_LIMIT, Violation, Violations, filter, json},
    store::Facets,
};

/// The number of values if the caller does not set it.
const DEFAULT_LIMIT: i32 = 10;

pub(in crate::rpc) async fn facet(
    app: &App,
    request: v1::FacetDocumentsRequest,
    deadline: Instant,
) -> Result<v1::FacetDocumentsResponse, Error> {
    let v1::FacetDocumentsRequest { collection, filter, field, limit, bucket_width } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    let filter = filter.and_then(|filter| filter::read(&mut violations, "filter", filter));
    let path = filter::read_field(&field).map_err(|rule| violations.push(Violation::new("field", rule))).ok();
    violations.range("limit", limit, 0, MAX_LIMIT);
    let is_width = bucket_width >= 0.0 && bucket_width.is_finite();
    violations.check(is_width, "bucket_width", "must be above 0, or 0 to count each value");
    let path = violations.finish_with(path)?;

    let facets = Facets {
        filter: filter.as_ref(),
        path: &path,
        limit: if limit == 0 { DEFAULT_LIMIT } else { limit } as usize,
        width: (bucket_width > 0.0).then_some(bucket_width),
        max_bytes: app.limits.max_response_bytes,
    };
    let found = app.store.facet_documents(&collection, &facets).await?;
    let notes = if found.values.is_empty() {
        notes(app, &collection, filter.as_ref(), Some(&path), deadline).await
    } else {
        Vec::new()
    };
    let other_value_count = found.value_count - found.values.len() as i64;
    let values = found.values.into_iter().map(|(value, count)| {
        let value = json::read_any(&value).map_err(|_| Error::Internal("a value that is not JSON".into()))?;
        Ok(v1::FacetValue { value: Some(value), count })
    });
    let values = values.collect::<Result<_, Error>>()?;
    let response =
        v1::FacetDocumentsResponse { values, other_value_count, without_value_count: found.without_count, notes };
    check_size(app, &response)?;
    Ok(response)
}
