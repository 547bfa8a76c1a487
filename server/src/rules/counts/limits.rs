//! How many there may be of each thing in a request.

use super::super::{
    MAX_DIMENSIONS, MAX_DOCUMENTS, MAX_EXAMPLES, MAX_SEARCHES,
    collections::{MAX_ALIASES, MAX_METADATA_INDEXES},
    fields::MAX_PATHS,
    filter, json,
};

/// Most numbers of a vector. Up to here the rules of a collection say how many it must have.
const MAX_VECTOR: usize = 4 * MAX_DIMENSIONS as usize;
/// Most values of any depth in metadata: each takes two bytes of JSON.
const MAX_METADATA: usize = json::MAX_BYTES / 2;
/// Most filters of a filter: each condition within as many as may be.
const MAX_FILTERS: usize = filter::MAX_CONDITIONS * filter::MAX_DEPTH;

/// Every list of a request, and every field that leads to messages which contain themselves: how many elements it may have,
/// in all depths, and what errors call them. A test compares this with the descriptor of the API.
pub(super) const LIMITS: [(&str, usize, &str); 31] = [
    ("google.protobuf.FieldMask.paths", MAX_PATHS, "entries"),
    ("pgfox.v1.Collection.metadata_indexes", MAX_METADATA_INDEXES, "entries"),
    ("pgfox.v1.Collection.aliases", MAX_ALIASES, "entries"),
    ("pgfox.v1.Vector.values", MAX_VECTOR, "entries"),
    ("pgfox.v1.Document.metadata", MAX_METADATA, "values"),
    ("pgfox.v1.IngestRequest.documents", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.IngestRequest.if_version", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.GetDocumentsRequest.ids", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.ListDocumentsRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.CountDocumentsRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.FacetDocumentsRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.DeleteDocumentsRequest.ids", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.DeleteDocumentsRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.UpdateMetadataRequest.ids", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.UpdateMetadataRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.UpdateMetadataRequest.metadata", MAX_METADATA, "values"),
    ("pgfox.v1.IdList.ids", MAX_DOCUMENTS, "entries"),
    ("pgfox.v1.Condition.equals", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.not_equals", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.less_than", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.at_most", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.greater_than", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.at_least", MAX_METADATA, "values"),
    ("pgfox.v1.Condition.one_of", filter::MAX_VALUES, "values"),
    ("pgfox.v1.Condition.none_of", filter::MAX_VALUES, "values"),
    ("pgfox.v1.Condition.contains_any", filter::MAX_VALUES, "values"),
    ("pgfox.v1.Condition.contains_all", filter::MAX_VALUES, "values"),
    ("pgfox.v1.Examples.positive_ids", MAX_EXAMPLES, "entries"),
    ("pgfox.v1.Examples.negative_ids", MAX_EXAMPLES, "entries"),
    ("pgfox.v1.SearchRequest.filter", MAX_FILTERS, "filters"),
    ("pgfox.v1.SearchBatchRequest.searches", MAX_SEARCHES, "entries"),
];
