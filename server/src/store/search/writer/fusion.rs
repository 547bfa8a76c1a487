//! Hybrid search: one score from the results of both searches.

use tokio_postgres::types::Type;

use super::Writer;
use crate::store::{
    Distance, NewCollection,
    search::{Fusion, FusionMethod},
};

impl Writer<'_, '_> {
    /// The rows of `nearest` and `matches` with one score.
    pub(super) fn fused(&mut self, fusion: &Fusion, near: &str) -> String {
        let vector = self.parameters.push(fusion.vector_weight, Type::FLOAT8);
        let full_text = self.parameters.push(fusion.full_text_weight, Type::FLOAT8);
        // `v` and `w` are the rows of each search, with what they add to the score as `part`.
        let (vector_part, full_text_part) = match fusion.method {
            FusionMethod::ReciprocalRank { constant } => {
                let constant = self.parameters.push(f64::from(constant), Type::FLOAT8);
                let part = |weight| format!("${weight} / (${constant} + rank)");
                (part(vector), part(full_text))
            }
            FusionMethod::RelativeScore => {
                let part =
                    |weight, scaled: &str| format!("${weight} / (${vector} + ${full_text}) * coalesce({scaled}, 1)");
                // Models make vectors of length 1. The square of their distance by L2 is proportional to that by cosine, so
                // both distances make the same order.
                let NewCollection { distance, model, .. } = &self.entry.collection.definition;
                let far = if *distance == Distance::L2 && model.is_some() { "distance ^ 2" } else { "distance" };
                // If all are equally far, each of them is the nearest. BM25 has a zero of its own.
                let near = format!("(max({far}) OVER () - {far}) / nullif(max({far}) OVER () - min({far}) OVER (), 0)");
                (part(vector, &near), part(full_text, "score / nullif(max(score) OVER (), 0)"))
            }
        };
        // What only a search finds that is switched off is not there.
        let join = match (fusion.vector_weight == 0.0, fusion.full_text_weight == 0.0) {
            (true, _) => "RIGHT",
            (_, true) => "LEFT",
            _ => "FULL",
        };
        format!(
            "SELECT coalesce(v.document_key, w.document_key) AS document_key, coalesce(v.chunk, w.chunk) AS chunk, v.distance,
           coalesce(v.part, 0) + coalesce(w.part, 0) AS score, v.rank AS vector_rank, w.rank AS full_text_rank
    FROM (SELECT document_key, chunk, distance, rank, {vector_part} AS part
          FROM (SELECT document_key, chunk, distance + 0 AS distance,
                       row_number() OVER (ORDER BY distance + 0, document_key, chunk) AS rank FROM nearest {near}) v) v
    {join} JOIN (SELECT document_key, chunk, score, rank, {full_text_part} AS part
          FROM (SELECT document_key, chunk, score,
                       row_number() OVER (ORDER BY score DESC, document_key, chunk) AS rank FROM matches) w) w
        ON w.document_key = v.document_key AND w.chunk = v.chunk"
        )
    }
}
