//! Results that differ from each other: maximal marginal relevance.

use crate::store::{Distance, Hit};

/// How to choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Diversity {
    /// How much the query counts, 0 to 1; the rest is for the difference.
    pub(super) weight: f64,
    /// Results to choose from.
    pub(super) candidates: usize,
}

/// Chooses at most `limit` of the hits, which carry their vectors, one by one: each the one that is most similar to the
/// query and least to those chosen before. What has no vector comes last.
pub(super) fn choose(hits: Vec<Hit>, query: &[f32], distance: Distance, weight: f64, limit: usize) -> Vec<Hit> {
    struct Candidate {
        hit: Hit,
        relevance: f64,
        /// The largest similarity to one that was chosen.
        repeated: f64,
    }
    let (with, without): (Vec<Hit>, Vec<Hit>) = hits.into_iter().partition(|hit| hit.document.vector.is_some());
    let mut candidates: Vec<Candidate> = with
        .into_iter()
        .map(|hit| {
            let vector = hit.document.vector.as_deref().unwrap_or_default();
            Candidate { relevance: similarity(query, vector, distance), repeated: f64::NEG_INFINITY, hit }
        })
        .collect();
    let mut chosen: Vec<Hit> = Vec::with_capacity(limit.min(candidates.len()));
    while chosen.len() < limit && !candidates.is_empty() {
        let value = |candidate: &Candidate| {
            let repeated = if chosen.is_empty() { 0.0 } else { (1.0 - weight) * candidate.repeated };
            // The first one is the most similar, whatever the weight.
            (if chosen.is_empty() { 1.0 } else { weight }) * candidate.relevance - repeated
        };
        let mut best = 0;
        for position in 1..candidates.len() {
            if value(&candidates[position]) > value(&candidates[best]) {
                best = position;
            }
        }
        let next = candidates.remove(best).hit;
        let vector = next.document.vector.as_deref().unwrap_or_default();
        for candidate in &mut candidates {
            let other = candidate.hit.document.vector.as_deref().unwrap_or_default();
            candidate.repeated = candidate.repeated.max(similarity(vector, other, distance));
        }
        chosen.push(next);
    }
    let missing = limit - chosen.len();
    chosen.extend(without.into_iter().take(missing));
    chosen
}

/// The score of one vector for the other.
fn similarity(a: &[f32], b: &[f32], distance: Distance) -> f64 {
    distance.score(match distance {
        Distance::L2 => sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
        Distance::L1 => sum(a, b, |a, b| (a - b).abs()),
        Distance::InnerProduct => -sum(a, b, |a, b| a * b),
        Distance::Cosine => {
            let lengths = sum(a, a, |a, b| a * b) * sum(b, b, |a, b| a * b);
            1.0 - sum(a, b, |a, b| a * b) / lengths.sqrt()
        }
    })
}

/// Eight sums side by side compile to vector instructions.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(*a, *b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    f64::from(sums.iter().sum::<f32>() + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredDocument;

    fn hit(id: &str, vector: &[f32]) -> Hit {
        let vector = (!vector.is_empty()).then(|| vector.to_vec());
        let document =
            StoredDocument { id: id.into(), text: String::new(), metadata: "{}".into(), vector, version: None };
        Hit { document, distance: None, score: None, chunk: None, vector_rank: None, full_text_rank: None }
    }

    fn ids(weight: f64, limit: usize) -> String {
        let hits = vec![
            hit("a", &[1.0, 0.0]),
            hit("b", &[1.0, 0.01]),
            hit("c", &[0.8, 0.6]),
            hit("-", &[]),
            hit("d", &[0.0, 1.0]),
        ];
        let chosen = choose(hits, &[1.0, 0.0], Distance::Cosine, weight, limit);
        chosen.into_iter().map(|hit| hit.document.id).collect()
    }

    #[test]
    fn the_weight_moves_from_likeness_to_difference() {
        assert_eq!(ids(1.0, 4), "abcd");
        assert_eq!(ids(0.0, 2), "ad");
        assert_eq!(ids(0.4, 3), "adc");
        assert_eq!(ids(0.5, 9).len(), 5);
        assert!(ids(0.5, 9).ends_with('-'));
    }

    #[test]
    fn similarities_are_scores() {
        let (a, b): (Vec<f32>, Vec<f32>) = ((1..=11).map(|i| i as f32).collect(), vec![1.0; 11]);
        assert!((similarity(&a, &b, Distance::L1) - 1.0 / 56.0).abs() < 1e-6);
        assert!((similarity(&a, &b, Distance::L2) - 1.0 / (1.0 + 385_f64.sqrt())).abs() < 1e-6);
        assert!((similarity(&a, &b, Distance::InnerProduct) - 66.0).abs() < 1e-6);
        assert!((similarity(&a, &b, Distance::Cosine) - 66.0 / (506.0 * 11.0_f64).sqrt()).abs() < 1e-6);
    }
}
