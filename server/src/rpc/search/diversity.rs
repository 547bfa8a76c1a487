//! Results that differ from each other: maximal marginal relevance.

use crate::store::{Distance, Hit};

/// How to choose among the candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Diversity {
    /// The weight of the query, 0 to 1. The rest is the weight of the difference.
    pub(super) weight: f64,
    /// Number of results to choose from.
    pub(super) candidates: usize,
}

/// Chooses at most `limit` of the hits, which have their vectors and texts. Each choice is the hit that is most similar
/// to the query and least similar to earlier choices. Hits without a vector come after those with one. Hits that repeat
/// a choice come last, however near to the query they are.
pub(super) fn choose(hits: Vec<Hit>, query: &[f32], distance: Distance, weight: f64, limit: usize) -> Vec<Hit> {
    struct Candidate {
        hit: Hit,
        relevance: f64,
        /// The largest similarity to an earlier choice.
        likeness: f64,
        repeats: Repeats,
    }
    let mut candidates: Vec<Candidate> = hits
        .into_iter()
        .map(|hit| {
            let relevance = hit.document.vector.as_deref().map_or(0.0, |vector| similarity(query, vector, distance));
            Candidate { relevance, likeness: f64::NEG_INFINITY, repeats: Repeats::Nothing, hit }
        })
        .collect();
    let mut chosen: Vec<Hit> = Vec::with_capacity(limit.min(candidates.len()));
    while chosen.len() < limit && !candidates.is_empty() {
        // The first choice is the most similar one, whatever the weight. Hits without a vector keep their order.
        let value = |candidate: &Candidate| match &candidate.hit.document.vector {
            Some(_) if chosen.is_empty() => candidate.relevance,
            Some(_) => weight * candidate.relevance - (1.0 - weight) * candidate.likeness,
            None => 0.0,
        };
        let precedes = |a: &Candidate, b: &Candidate| {
            let class = |candidate: &Candidate| (candidate.repeats, candidate.hit.document.vector.is_none());
            class(a).cmp(&class(b)).then_with(|| value(b).total_cmp(&value(a))).is_lt()
        };
        let mut best = 0;
        for position in 1..candidates.len() {
            if precedes(&candidates[position], &candidates[best]) {
                best = position;
            }
        }
        let next = candidates.remove(best).hit;
        for candidate in &mut candidates {
            candidate.repeats = candidate.repeats.max(Repeats::of(&candidate.hit, &next));
            if let (Some(vector), Some(other)) = (&next.document.vector, &candidate.hit.document.vector) {
                candidate.likeness = candidate.likeness.max(similarity(vector, other, distance));
            }
        }
        chosen.push(next);
    }
    chosen
}

/// The part of an earlier choice that a candidate repeats.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Repeats {
    Nothing,
    /// The vector. Some texts have the same vector although they differ.
    Vector,
    Text,
}

impl Repeats {
    fn of(candidate: &Hit, chosen: &Hit) -> Self {
        let (a, b) = (text(candidate), text(chosen));
        if !a.is_empty() && a == b {
            Self::Text
        } else if candidate.document.vector.is_some() && candidate.document.vector == chosen.document.vector {
            Self::Vector
        } else {
            Self::Nothing
        }
    }
}

/// The text that the vector of a hit was made from.
fn text(hit: &Hit) -> &str {
    hit.chunk.as_ref().map_or(&hit.document.text, |chunk| &chunk.text)
}

/// The score of one vector with the other as query.
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
    use crate::store::{Chunk, StoredDocument};

    fn hit(id: &str, text: &str, vector: &[f32]) -> Hit {
        let vector = (!vector.is_empty()).then(|| vector.to_vec());
        let document =
            StoredDocument { id: id.into(), text: text.into(), metadata: "{}".into(), vector, version: None };
        Hit { document, distance: None, score: None, chunk: None, vector_rank: None, full_text_rank: None }
    }

    fn ids(hits: Vec<Hit>, distance: Distance, weight: f64, limit: usize) -> String {
        let chosen = choose(hits, &[1.0, 0.0], distance, weight, limit);
        chosen.into_iter().map(|hit| hit.document.id).collect()
    }

    #[test]
    fn the_weight_moves_from_likeness_to_difference() {
        let ids = |weight, limit| {
            let hits = vec![
                hit("a", "", &[1.0, 0.0]),
                hit("b", "", &[1.0, 0.01]),
                hit("c", "", &[0.8, 0.6]),
                hit("-", "", &[]),
                hit("d", "", &[0.0, 1.0]),
            ];
            ids(hits, Distance::Cosine, weight, limit)
        };
        assert_eq!(ids(1.0, 4), "abcd");
        assert_eq!(ids(0.0, 2), "ad");
        assert_eq!(ids(0.4, 3), "adc");
        assert_eq!(ids(0.5, 9).len(), 5);
        assert!(ids(0.5, 9).ends_with('-'));
    }

    #[test]
    fn what_repeats_a_result_comes_last() {
        for distance in [Distance::Cosine, Distance::L2, Distance::L1, Distance::InnerProduct] {
            for weight in [0.0, 0.5, 1.0] {
                let mut hits = vec![
                    hit("a", "fox", &[1.0, 0.0]),
                    // Embedded a second time, with a little noise.
                    hit("b", "fox", &[1.0, 1e-4]),
                    hit("c", "Fox", &[1.0, 0.0]),
                    hit("d", "fox", &[1.0, 0.0]),
                    hit("e", "fox", &[]),
                    hit("f", "hen", &[-1.0, 0.0]),
                    hit("g", "hen", &[]),
                    hit("h", "owl", &[]),
                ];
                let found = ids(hits.clone(), distance, weight, 8);
                // Only equal texts are left for the last four. "c" has the same vector as "a".
                assert_eq!((&found[..4], found.len()), ("afhc", 8), "{distance:?} {weight}");
                // Without texts, equal vectors are repetitions.
                hits.iter_mut().for_each(|hit| hit.document.text.clear());
                let found = ids(hits, distance, weight, 8);
                assert!(found.ends_with("cd") || found.ends_with("dc"), "{distance:?} {weight}: {found}");
            }
        }
    }

    #[test]
    fn chunks_repeat_their_own_text() {
        let hits = ["fox", "fox", "hen"].iter().zip(["a", "b", "c"]).map(|(text, id)| {
            let chunk = Chunk { ordinal: 0, text: (*text).into(), start: 0, end: 3 };
            Hit { chunk: Some(chunk), ..hit(id, "the same document", &[1.0, f32::from(*text == "hen")]) }
        });
        assert_eq!(ids(hits.collect(), Distance::Cosine, 1.0, 3), "acb");
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
