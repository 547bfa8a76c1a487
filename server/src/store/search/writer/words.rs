//! The full-text search: BM25 of the texts that can be among the results.

use tokio_postgres::types::Type;

use super::{Writer, all_of};
use crate::store::search::{
    TEXT_LENGTH,
    words::{Measure, RankedTerm, Ranking, Rung, seeds},
};

/// Texts that are scored at most, for queries of few words. More take longer than anybody waits for a search by words.
const MAX_SCORED: usize = 30_000;
/// Fewer are scored when the query has more words than this; never below a fifth.
const CHEAP_WORDS: usize = 16;

/// How texts are scored.
struct Bm25 {
    /// SQL: the part of the formula that depends on the length of a chunk `w`.
    norm: String,
    /// SQL: the score of a text `m`.
    score: String,
    /// Texts to score at most in one step; `None`: all of them.
    at_most: Option<usize>,
}

impl<'a> Writer<'_, 'a> {
    /// Notes what the words of a chunk must not be.
    pub(super) fn exclude_words(&mut self, ranking: &'a Ranking) {
        let queries: Vec<&str> =
            ranking.excluded.iter().flat_map(|excluded| &excluded.queries).map(String::as_str).collect();
        if !queries.is_empty() {
            let number = self.parameters.push(queries, Type::TEXT_ARRAY);
            self.excluded_words = Some(format!("@@ ANY(${number}::tsquery[])"));
        }
    }

    /// The condition on a vector `e` that its chunk has none of the words that are excluded.
    pub(super) fn without_words(&self) -> Option<String> {
        let excluded = self.excluded_words.as_ref()?;
        Some(format!(
            "NOT EXISTS (SELECT FROM {} x WHERE x.document_key = e.document_key AND x.chunk = e.chunk AND x.words {excluded})",
            self.entry.tables.chunks
        ))
    }

    /// `matches`: the best of the texts. The seeds give the score that the results reach at least, `reached`. It chooses the
    /// rung of the ladder, `chosen`, below which no text reaches that score.
    pub(super) fn matches(&mut self, ranking: &'a Ranking) {
        let Some(all) = ranking.ladder.last() else {
            let nothing = "MATERIALIZED (SELECT 0::bigint AS document_key, 0 AS chunk, 0::float8 AS score WHERE false)";
            self.with("matches", nothing);
            return;
        };
        let rows = self.reach.rows.unwrap_or_default();
        let base = self.parameters.push(ranking.norm_base, Type::FLOAT8);
        let per_word = self.parameters.push(ranking.norm_per_word, Type::FLOAT8);
        let at_most = if self.settings.exact {
            None
        } else {
            let words = ranking.terms.len().max(CHEAP_WORDS);
            Some((MAX_SCORED * CHEAP_WORDS / words).max(MAX_SCORED / 5))
        };
        let bm25 = Bm25 { norm: format!("${base} + ${per_word} * {TEXT_LENGTH}"), score: self.score(ranking), at_most };
        let mut scored: Vec<&str> = Vec::new();
        // What the texts that are scored already match.
        let mut done: Option<String> = None;
        let seeds = self.reach.rows.map(|rows| seeds(&ranking.ladder, ranking.texts, rows)).unwrap_or_default();
        for (rung, name) in seeds.iter().zip(["seed", "second_seed"]) {
            let query = self.tsquery(&rung.query);
            let is_needed = scored.last().map(|before| format!("(SELECT count(*) < {rows} FROM {before})"));
            self.score_texts(name, &without(&query, done.as_deref()), &bm25, is_needed);
            done = Some(match done {
                None => query,
                Some(first) => {
                    format!("(SELECT CASE WHEN count(*) < {rows} THEN {query} ELSE {first} END FROM seed)")
                }
            });
            scored.push(name);
        }
        let query = match seeds.first() {
            None => self.tsquery(&all.query),
            Some(seed) => {
                self.choose(&scored, &ranking.ladder, seed.bound, rows);
                "(SELECT query FROM chosen)".into()
            }
        };
        // Where not even the best were all scored, the others are not needed.
        let is_needed = (!scored.is_empty()).then(|| format!("NOT ({})", any_full(&scored, at_most)));
        self.score_texts("rest", &without(&query, done.as_deref()), &bm25, is_needed);
        scored.push("rest");
        let union: Vec<String> = scored.iter().map(|name| format!("SELECT * FROM {name}")).collect();
        let matches = format!(
            "MATERIALIZED (
    SELECT document_key, chunk, score FROM ({}) scored
    ORDER BY score DESC, document_key, chunk {})",
            union.join(" UNION ALL "),
            self.limit
        );
        self.with("matches", &matches);
        self.left_out_texts = any_full(&scored, at_most);
    }

    /// `reached` and `chosen`. The texts of the rungs with bounds from `seed` on are scored already.
    fn choose(&mut self, scored: &[&str], ladder: &'a [Rung], seed: f64, rows: usize) {
        let union: Vec<String> = scored.iter().map(|name| format!("SELECT score FROM {name}")).collect();
        let reached = format!(
            "MATERIALIZED (SELECT score FROM ({}) s ORDER BY score DESC OFFSET {} LIMIT 1)",
            union.join(" UNION ALL "),
            rows.saturating_sub(1)
        );
        self.with("reached", &reached);
        let mut rungs: Vec<String> = Vec::new();
        for rung in ladder.iter().filter(|rung| rung.bound <= seed) {
            let bound = self.parameters.push(rung.bound, Type::FLOAT8);
            let query = if rung.bound < seed { self.tsquery(&rung.query) } else { "NULL::tsquery".into() };
            rungs.push(format!("(${bound}::float8, {query})"));
        }
        let chosen = format!(
            "MATERIALIZED (SELECT query FROM (VALUES {}) r(bound, query)
               WHERE bound <= coalesce((SELECT score FROM reached), 0) ORDER BY bound DESC LIMIT 1)",
            rungs.join(", ")
        );
        self.with("chosen", &chosen);
    }

    /// The texts that match a query, with their scores.
    fn score_texts(&mut self, name: &str, query: &str, bm25: &Bm25, condition: Option<String>) {
        let Bm25 { norm, score, at_most } = bm25;
        let mut all = vec![Some(format!("w.words @@ {query}"))];
        all.push(condition);
        all.push(self.excluded_words.as_ref().map(|excluded| format!("NOT w.words {excluded}")));
        all.push(self.filter.clone());
        all.push(self.not_excluded("w.document_key"));
        let limit = at_most.map(|at_most| format!("LIMIT {at_most}")).unwrap_or_default();
        let texts = format!(
            "MATERIALIZED (
    SELECT document_key, chunk, {score} AS score
    FROM (SELECT w.document_key, w.chunk, w.words, {norm} AS norm
          FROM {} {}{limit}) m)",
            self.chunks(),
            all_of(&all),
        );
        self.with(name, &texts);
    }

    /// BM25 of a text `m`: the sum of `weight * tf / (tf + norm)`, written so that each count is computed once.
    fn score(&mut self, ranking: &'a Ranking) -> String {
        let total: f64 = ranking.terms.iter().map(|term| term.weight).sum();
        let total = self.parameters.push(total, Type::FLOAT8);
        let mut misses: Vec<String> = Vec::with_capacity(ranking.terms.len());
        for RankedTerm { weight, measure } in &ranking.terms {
            let weight = self.parameters.push(*weight, Type::FLOAT8);
            let count = match measure {
                Measure::Lexemes(lexemes) => {
                    let counts: Vec<String> = lexemes.iter().map(|lexeme| self.count(lexeme)).collect();
                    counts.join(" + ")
                }
                Measure::Phrase(query) => format!("(m.words @@ {})::int", self.tsquery(query)),
            };
            misses.push(format!("${weight} / (m.norm + {count})"));
        }
        format!("${total} - m.norm * ({})", misses.join(" + "))
    }

    /// How often a text `m` has a lexeme. With weights of 1, `ts_rank` of a single lexeme is the sum of 1/j² for j from 1 to
    /// that count, divided by 1.64493406685 (`calc_rank_or` in tsrank.c); what the sum lacks of its limit π²/6 is close to
    /// 1/(count + 0.5).
    fn count(&mut self, lexeme: &'a str) -> String {
        let query = self.tsquery(lexeme);
        format!("round(1 / (1.64493406685 * (1 - ts_rank('{{1,1,1,1}}', m.words, {query})::float8)) - 0.5)")
    }

    fn tsquery(&mut self, query: &'a str) -> String {
        format!("${}::tsquery", self.parameters.push(query, Type::TEXT))
    }
}

/// The condition that a step was not allowed to score all that matched.
fn any_full(steps: &[&str], at_most: Option<usize>) -> String {
    let Some(at_most) = at_most else { return "false".into() };
    let full: Vec<String> = steps.iter().map(|name| format!("(SELECT count(*) = {at_most} FROM {name})")).collect();
    full.join(" OR ")
}

/// SQL: a tsquery for what matches `query` and not `done`. The index then decides, and the texts are not read.
fn without(query: &str, done: Option<&str>) -> String {
    done.map_or_else(|| query.to_owned(), |done| format!("({query} && !!{done})"))
}
