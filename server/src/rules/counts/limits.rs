//! The limits on how many of each thing a request may have.

use super::super::{
    MAX_DIMENSIONS, MAX_DOCUMENTS, MAX_EXAMPLES, MAX_SEARCHES,
    collections::{MAX_ALIASES, MAX_METADATA_INDEXES},
    fields::MAX_PATHS,
    filter, json,
    source::{MAX_ID_COLUMNS, MAX_TEXT_COLUMNS},
};
use crate::store::{MAX_FAILURES, MAX_METADATA_COLUMNS};

/// Maximum number of elements of a vector. Below this the rules of the collection say how many it must have.
const MAX_VECTOR: usize = 4 * MAX_DIMENSIONS as usize;
/// Maximum number of values in metadata, at any depth: each takes at least two bytes of JSON.
const MAX_METADATA: usize = json::MAX_BYTES / 2;
/// Maximum number of filters in a filter: each condition inside as many filters as are allowed.
const MAX_FILTERS: usize = filter::MAX_CONDITIONS * filter::MAX_DEPTH;

/// Every list of a request, and every field that leads to messages that contain themselves: its maximum number of
/// elements at all depths, and its name in errors. A test compares this with the descriptor of the API.
pub(super) const LIMITS: [(&str, usize, &str); 36] = [
    ("google.protobuf.FieldMask.paths", MAX_PATHS, "entries"),
    ("pgfox.v1.Collection.metadata_indexes", MAX_METADATA_INDEXES, "entries"),
    ("pgfox.v1.Codes.fields", MAX_METADATA_INDEXES, "entries"),
    ("pgfox.v1.SourceStatus.failures", MAX_FAILURES, "entries"),
    ("pgfox.v1.Collection.aliases", MAX_ALIASES, "entries"),
    ("pgfox.v1.Source.id_columns", MAX_ID_COLUMNS, "entries"),
    ("pgfox.v1.Source.text_columns", MAX_TEXT_COLUMNS, "entries"),
    ("pgfox.v1.Source.metadata_columns", MAX_METADATA_COLUMNS, "entries"),
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
