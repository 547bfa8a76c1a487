//! Measures of ranked results, as trec_eval defines them: `ndcg_cut` with the grade as gain, `recall`, and `recip_rank`
//! up to a rank. See <https://github.com/usnistgov/trec_eval>, files m_ndcg_cut.c, m_recall.c and m_recip_rank.c.

use std::collections::HashMap;

/// The grades of the documents that were judged for one query. A negative grade is read as 0.
pub(super) type Grades = HashMap<String, f64>;

/// The grades of every query.
pub(super) type Qrels = HashMap<String, Grades>;

pub(super) fn has_relevant(grades: &Grades) -> bool {
    grades.values().any(|grade| *grade > 0.0)
}

/// Sums of the measures over queries, at several ranks.
pub(super) struct Metrics {
    queries: usize,
    sums: Vec<At>,
}

/// The sums at one rank.
struct At {
    k: usize,
    ndcg: f64,
    recall: f64,
    reciprocal_rank: f64,
}

impl Metrics {
    pub(super) fn new(ks: &[usize]) -> Self {
        let sums = ks.iter().map(|&k| At { k, ndcg: 0.0, recall: 0.0, reciprocal_rank: 0.0 }).collect();
        Self { queries: 0, sums }
    }

    /// Adds the documents found for one query, best first. The query has a relevant document.
    pub(super) fn add(&mut self, grades: &Grades, found: &[&str]) {
        self.queries += 1;
        let gains: Vec<f64> = found.iter().map(|id| grades.get(*id).copied().unwrap_or(0.0)).collect();
        let mut ideal: Vec<f64> = grades.values().copied().filter(|grade| *grade > 0.0).collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        for at in &mut self.sums {
            let gains = &gains[..gains.len().min(at.k)];
            let relevant = gains.iter().filter(|gain| **gain > 0.0).count();
            let first = gains.iter().position(|gain| *gain > 0.0);
            at.ndcg += dcg(gains) / dcg(&ideal[..ideal.len().min(at.k)]);
            at.recall += relevant as f64 / ideal.len() as f64;
            at.reciprocal_rank += first.map_or(0.0, |position| 1.0 / (position as f64 + 1.0));
        }
    }

    pub(super) fn queries(&self) -> usize {
        self.queries
    }

    pub(super) fn ndcg(&self, k: usize) -> f64 {
        self.mean(k, |at| at.ndcg)
    }

    pub(super) fn recall(&self, k: usize) -> f64 {
        self.mean(k, |at| at.recall)
    }

    pub(super) fn reciprocal_rank(&self, k: usize) -> f64 {
        self.mean(k, |at| at.reciprocal_rank)
    }

    fn mean(&self, k: usize, sum: fn(&At) -> f64) -> f64 {
        self.sums.iter().find(|at| at.k == k).map_or(0.0, sum) / self.queries.max(1) as f64
    }
}

/// Discounted cumulative gain: the gain at rank r, from 1, counts 1 / log2(r + 1).
fn dcg(gains: &[f64]) -> f64 {
    gains.iter().enumerate().map(|(i, gain)| gain / (i as f64 + 2.0).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(pairs: &[(&str, f64)]) -> Grades {
        pairs.iter().map(|(id, grade)| ((*id).to_owned(), *grade)).collect()
    }

    #[track_caller]
    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual} instead of {expected}");
    }

    #[test]
    fn one_query_by_hand() {
        // Grades by rank: 2, 0 (unjudged), 3, 0 (judged), and the relevant `d` is not found.
        let judged = grades(&[("a", 2.0), ("c", 3.0), ("x", 0.0), ("d", 1.0)]);
        let mut metrics = Metrics::new(&[2, 10]);
        metrics.add(&judged, &["a", "b", "c", "x"]);
        // 2/log2(2) + 3/log2(4) = 3.5, divided by 3/log2(2) + 2/log2(3) + 1/log2(4) = 4.7618595071429155.
        near(metrics.ndcg(10), 3.5 / 4.761_859_507_142_915_5);
        // 2, divided by 3 + 2/log2(3) = 4.2618595071429155.
        near(metrics.ndcg(2), 2.0 / 4.261_859_507_142_915_5);
        near(metrics.recall(2), 1.0 / 3.0);
        near(metrics.recall(10), 2.0 / 3.0);
        near(metrics.reciprocal_rank(10), 1.0);
    }

    #[test]
    fn means_over_queries() {
        let mut metrics = Metrics::new(&[1, 3]);
        metrics.add(&grades(&[("a", 1.0)]), &["b", "a"]);
        metrics.add(&grades(&[("a", 1.0)]), &["a"]);
        metrics.add(&grades(&[("a", 1.0)]), &[]);
        assert_eq!(metrics.queries(), 3);
        near(metrics.reciprocal_rank(3), (0.5 + 1.0) / 3.0);
        near(metrics.reciprocal_rank(1), 1.0 / 3.0);
        // 1/log2(3) = 0.6309297535714575.
        near(metrics.ndcg(3), (0.630_929_753_571_457_5 + 1.0) / 3.0);
        near(metrics.recall(1), 1.0 / 3.0);
        near(metrics.recall(3), 2.0 / 3.0);
    }

    #[test]
    fn more_relevant_documents_than_results_count() {
        // The best possible two among three relevant documents: perfect at 2, although recall is not.
        let mut metrics = Metrics::new(&[2]);
        metrics.add(&grades(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]), &["c", "a", "b"]);
        near(metrics.ndcg(2), 1.0);
        near(metrics.recall(2), 2.0 / 3.0);
    }
}
