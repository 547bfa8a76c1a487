//! What a model gave, before it is stored or searched for.

use std::time::Duration;

use crate::{
    embed::EmbedError,
    rules::{can_hold, has_direction},
    store::{Collection, Distance},
};

/// A model can give what the collection cannot hold.
pub(crate) fn check_embedding(collection: &Collection, vector: &[f32]) -> Result<(), EmbedError> {
    let definition = &collection.definition;
    let why = if !can_hold(vector, definition.vector_type) {
        "the embedding model gave a vector with a number that the collection cannot hold"
    } else if definition.distance == Distance::Cosine && !has_direction(vector, definition.vector_type) {
        "the embedding model gave a vector of length zero, which DISTANCE_COSINE cannot compare"
    } else {
        return Ok(());
    };
    Err(EmbedError::Unavailable { why: why.into(), retry_after: Duration::from_secs(10) })
}
