//! Checks a model's vector before it is stored or used in a search.

use std::time::Duration;

use crate::{
    embed::EmbedError,
    rules::{can_hold, has_direction},
    store::{Collection, Distance},
};

/// A model can return a vector that the collection cannot store.
pub(crate) fn check_embedding(collection: &Collection, vector: &[f32]) -> Result<(), EmbedError> {
    let definition = &collection.definition;
    let why = if !can_hold(vector, definition.vector_type) {
        "the embedding model returned a vector with a number that the collection cannot store"
    } else if definition.distance == Distance::Cosine && !has_direction(vector, definition.vector_type) {
        "the embedding model returned a vector of length zero, which DISTANCE_COSINE cannot compare"
    } else {
        return Ok(());
    };
    Err(EmbedError::Unavailable { why: why.into(), retry_after: Duration::from_secs(10) })
}
