//! Which texts a search has to score: a ladder of queries, each of which matches more texts than the one above it.
//!
//! A term adds at most its bound to the score of a text. So a text that lacks some of the terms scores less than the bounds
//! of the others add up to, and a query for the sets of terms whose bounds reach a score finds every text that can have it.
//! This is the idea of MaxScore (Turtle and Flood, 1995) and WAND (Broder and others, 2003) as conditions that an index of
//! Postgres serves.

/// A term of a query.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// As a tsquery.
    pub(super) query: String,
    /// The most that it adds to the score of a text.
    pub(super) bound: f64,
    /// The part of the texts that have it, 0 to 1.
    pub(super) share: f64,
}

/// A query that finds every text whose score reaches a bound.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store::search) struct Rung {
    /// Each text that the query does not match scores less.
    pub(in crate::store::search) bound: f64,
    /// As a tsquery.
    pub(in crate::store::search) query: String,
    /// The part of the texts that match, as if the terms were independent of each other.
    pub(in crate::store::search) share: f64,
}

/// Number of bounds that are tried for queries of few terms and of many.
const STEPS: [usize; 2] = [24, 8];
/// Up to so many terms are few.
const FEW_TERMS: usize = 16;
/// Scoring so many texts takes a few milliseconds.
const SCORED_AT_ONCE: f64 = 3_000.0;
/// Texts to score for each result before the bound is known.
const SEED_PER_RESULT: f64 = 4.0;
/// The second seed expects this many times the texts of the first.
const SEED_GROWTH: f64 = 10.0;

/// The ladder of some terms, heaviest first; the highest bound comes first. The last rung has the bound 0 and matches every
/// text that has any of the terms.
pub(super) fn ladder(terms: &[Term]) -> Vec<Rung> {
    let tree = Tree::new(terms);
    let steps = STEPS[usize::from(terms.len() > FEW_TERMS)];
    let total = tree.rest[0];
    let mut rungs: Vec<Rung> = Vec::new();
    for step in (0..steps).rev() {
        let bound = total * step as f64 / steps as f64;
        let Some(Node { query, share }) = tree.sets(0, bound.max(f64::MIN_POSITIVE)) else { continue };
        match rungs.last_mut() {
            // The same texts have an even lower bound.
            Some(last) if last.query == query => last.bound = bound,
            _ => rungs.push(Rung { bound, query, share }),
        }
    }
    rungs
}

/// The rungs whose texts are scored to learn which score the results reach: first few texts, then more if those are fewer than
/// `rows`. None where scoring all that match takes no longer.
pub(in crate::store::search) fn seeds(ladder: &[Rung], texts: f64, rows: usize) -> Vec<&Rung> {
    let Some((all, above)) = ladder.split_last() else { return Vec::new() };
    if all.share * texts <= SCORED_AT_ONCE {
        return Vec::new();
    }
    let wanted = SCORED_AT_ONCE.min(1_000.0_f64.max(SEED_PER_RESULT * rows as f64));
    let first = above.iter().find(|rung| rung.share * texts >= wanted);
    let second = above.iter().find(|rung| rung.share * texts >= SEED_GROWTH * wanted);
    let mut seeds: Vec<&Rung> = first.into_iter().chain(second).collect();
    seeds.dedup();
    if seeds.is_empty() {
        seeds.extend(above.last());
    }
    seeds
}

/// The sets of terms that reach a bound.
struct Tree<'a> {
    terms: &'a [Term],
    /// The bounds of the terms from here on, added up.
    rest: Vec<f64>,
    /// So many terms are combined with each other; one of those behind them will do.
    depth: usize,
}

struct Node {
    query: String,
    share: f64,
}

impl<'a> Tree<'a> {
    fn new(terms: &'a [Term]) -> Self {
        let mut rest = vec![0.0; terms.len() + 1];
        for (i, term) in terms.iter().enumerate().rev() {
            rest[i] = rest[i + 1] + term.bound;
        }
        // Two to the power of it times the terms is the most that a query grows to.
        let depth = match terms.len() {
            0..=8 => 8,
            9..=FEW_TERMS => 5,
            _ => 2,
        };
        Self { terms, rest, depth }
    }

    /// What matches texts whose terms from `i` on reach `need`, which is above 0. Nothing when they cannot. Above
    /// `depth` it matches some that do not.
    fn sets(&self, i: usize, need: f64) -> Option<Node> {
        if self.rest[i] < need {
            return None;
        }
        if i >= self.depth {
            // Without the last terms, which do not reach it by themselves.
            let needed = self.terms[i..].iter().zip(&self.rest[i..]).take_while(|(_, rest)| **rest >= need);
            let needed: Vec<&Term> = needed.map(|(term, _)| term).collect();
            let query = needed.iter().map(|term| term.query.as_str()).collect::<Vec<_>>().join("|");
            let share = 1.0 - needed.iter().map(|term| 1.0 - term.share).product::<f64>();
            let query = if needed.len() > 1 { format!("({query})") } else { query };
            return Some(Node { query, share });
        }
        let term = &self.terms[i];
        let without = self.sets(i + 1, need);
        let with = if need - term.bound <= 0.0 {
            Some(Node { query: term.query.clone(), share: term.share })
        } else {
            self.sets(i + 1, need - term.bound).map(|node| Node {
                // Where the others reach it alone, the term does not matter.
                query: format!("{}&{}", term.query, node.query),
                share: term.share * node.share,
            })
        };
        Some(match (with, without) {
            (with, None) => with?,
            (None, Some(without)) => without,
            (Some(with), Some(without)) => Node {
                query: format!("({}|{})", with.query, without.query),
                // `with` without its term holds wherever `without` does.
                share: with.share + (1.0 - term.share) * without.share,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(bounds: &[f64]) -> Vec<Term> {
        let term = |(i, bound): (usize, &f64)| Term { query: format!("'{i}'"), bound: *bound, share: 0.1 };
        bounds.iter().enumerate().map(term).collect()
    }

    /// Whether a text with these terms matches a query of the ladder.
    fn matches(query: &str, has: &dyn Fn(usize) -> bool) -> bool {
        fn any(text: &mut &str, has: &dyn Fn(usize) -> bool) -> bool {
            let mut value = all(text, has);
            while let Some(rest) = text.strip_prefix('|') {
                *text = rest;
                value |= all(text, has);
            }
            value
        }
        fn all(text: &mut &str, has: &dyn Fn(usize) -> bool) -> bool {
            let mut value = one(text, has);
            while let Some(rest) = text.strip_prefix('&') {
                *text = rest;
                value &= one(text, has);
            }
            value
        }
        fn one(text: &mut &str, has: &dyn Fn(usize) -> bool) -> bool {
            if let Some(rest) = text.strip_prefix('(') {
                *text = rest;
                let value = any(text, has);
                *text = text.strip_prefix(')').expect("a closed parenthesis");
                return value;
            }
            let (name, rest) = text[1..].split_once('\'').expect("a quoted term");
            *text = rest;
            has(name.parse().expect("a number"))
        }
        let mut text = query;
        let value = any(&mut text, has);
        assert_eq!(text, "", "all of {query} is read");
        value
    }

    #[test]
    fn what_a_rung_leaves_out_scores_less_than_its_bound() {
        for bounds in [vec![1.0], vec![2.0, 1.0], vec![3.0, 3.0, 2.0, 0.5], (1..=12).rev().map(f64::from).collect()] {
            let ladder = ladder(&terms(&bounds));
            assert_eq!(ladder.last().map(|rung| rung.bound), Some(0.0));
            assert!(ladder.is_sorted_by(|a, b| a.bound > b.bound && a.share <= b.share), "{ladder:?}");
            for has in 1..1_usize << bounds.len() {
                let has_term = |i: usize| has >> i & 1 == 1;
                let score: f64 = bounds.iter().enumerate().filter(|(i, _)| has_term(*i)).map(|(_, bound)| bound).sum();
                for rung in &ladder {
                    let is_found = matches(&rung.query, &has_term);
                    assert!(is_found || score < rung.bound + 1e-9, "{score} is left out of {rung:?}");
                }
                assert!(ladder.last().is_some_and(|rung| matches(&rung.query, &has_term)));
            }
        }
    }

    #[test]
    fn few_terms_leave_out_all_that_scores_less() {
        let ladder = ladder(&terms(&[3.0, 2.0, 1.0]));
        let queries: Vec<&str> = ladder.iter().map(|rung| rung.query.as_str()).collect();
        assert_eq!(queries[0], "'0'&'1'&'2'");
        assert!(queries.contains(&"('0'|'1'&'2')"), "{queries:?}");
        assert_eq!(queries.last(), Some(&"('0'|('1'|'2'))"));
    }

    #[test]
    fn long_queries_stay_bounded() {
        let many: Vec<f64> = (0..256).map(|i| 10.0 - f64::from(i) / 100.0).collect();
        let ladder = ladder(&terms(&many));
        assert!(ladder.iter().map(|rung| rung.query.len()).sum::<usize>() < 100_000);
    }

    #[test]
    fn shares_are_those_of_independent_terms() {
        let ladder = ladder(&terms(&[1.0, 1.0]));
        let shares: Vec<f64> = ladder.iter().map(|rung| (rung.share * 1e6).round() / 1e6).collect();
        assert_eq!(shares, [0.01, 0.19]);
    }
}
