//! From the words of a search to the weights of its terms.

use super::{
    Words,
    ladder::{Rung, Term as Bounded, ladder},
    statistics::{Counts, Freshness},
};
use crate::{
    store::{
        FullText, Store, StoreError, WordMaker,
        catalog::Entry,
        connection::{Connection, Value},
        indexes::Job,
        search::SearchSettings,
        transaction::Transaction,
    },
    words::{self, Pattern, Piece, Step, Term, of_pieces},
};

/// How texts are ranked: BM25 with the weights of this search. The formula is in the proto, at `FullText`.
#[derive(Clone, Debug)]
pub(in crate::store::search) struct Ranking {
    /// Heaviest first. Empty: nothing is looked for.
    pub(in crate::store::search) terms: Vec<RankedTerm>,
    /// What texts must not contain.
    pub(in crate::store::search) excluded: Vec<Excluded>,
    /// The part of BM25 that is added to the count of a word: `norm_base + norm_per_word * length`.
    pub(in crate::store::search) norm_base: f64,
    pub(in crate::store::search) norm_per_word: f64,
    /// Which texts to score; the last rung has them all.
    pub(in crate::store::search) ladder: Vec<Rung>,
    /// Number of texts in the collection.
    pub(in crate::store::search) texts: f64,
    /// The query has no words but stop words.
    pub(in crate::store::search) has_no_terms: bool,
    /// How much is known of the words of the collection.
    pub(in crate::store::search) freshness: Freshness,
}

/// A word or phrase that texts must not contain.
#[derive(Clone, Debug)]
pub(in crate::store::search) struct Excluded {
    /// As it was typed.
    pub(in crate::store::search) text: String,
    /// As tsqueries, none of which may match. None: it has only stop words, and excludes nothing.
    pub(in crate::store::search) queries: Vec<String>,
}

/// A term with its weight.
#[derive(Clone, Debug)]
pub(in crate::store::search) struct RankedTerm {
    /// What it adds to the score of a text is `weight * tf / (tf + norm)`.
    pub(in crate::store::search) weight: f64,
    pub(in crate::store::search) measure: Measure,
}

/// How often a text has a term.
#[derive(Clone, Debug)]
pub(in crate::store::search) enum Measure {
    /// As often as these lexemes, each a tsquery, together.
    Lexemes(Vec<String>),
    /// Once, if it matches this tsquery.
    Phrase(String),
}

impl Store {
    /// What a search by words needs to know beforehand, in one round trip; two where Postgres makes the words.
    pub(in crate::store::search) async fn rank(
        &self,
        connection: &Connection,
        entry: &Entry,
        words: &Words,
        settings: &SearchSettings,
    ) -> Result<Ranking, StoreError> {
        let collection = &entry.collection;
        let mut terms =
            if collection.words.is_own() { of_pieces(words.wanted(), &collection.languages) } else { Vec::new() };
        let mut excluded: Vec<Excluded> = Vec::new();
        for piece in words.excluded() {
            let own = if collection.words.is_own() { of_pieces([piece], &collection.languages) } else { Vec::new() };
            excluded.push(Excluded {
                text: piece.text.clone(),
                queries: own.iter().map(|term| tsquery(&term.pattern)).collect(),
            });
        }
        if collection.words.is_of_postgres() {
            let language = &collection.definition.full_text.language;
            let pieces: Vec<&Piece> = words.pieces.iter().collect();
            let patterns = patterns_of_postgres(connection, language, &pieces, settings).await?;
            let mut of_postgres = Vec::new();
            let mut excluded = excluded.iter_mut();
            for (piece, patterns) in pieces.into_iter().zip(patterns) {
                match if piece.is_excluded { excluded.next() } else { None } {
                    Some(excluded) => excluded.queries.extend(patterns.iter().map(tsquery)),
                    None => patterns.into_iter().for_each(|pattern| words::count_term(&mut of_postgres, pattern)),
                }
            }
            for term in of_postgres {
                if !terms.iter().any(|known| known.pattern == term.pattern) {
                    terms.push(term);
                }
            }
        }
        let counts = Counts::read(connection, entry, &self.inner.names.internal, &terms, settings).await?;
        let ranking = Ranking::new(&collection.definition.full_text, collection.words, &terms, excluded, &counts);
        if matches!(ranking.freshness, Freshness::Old | Freshness::Missing) {
            self.spawn_job(Job::WordStatistics(collection.id));
        }
        Ok(ranking)
    }
}

impl WordMaker {
    fn is_own(self) -> bool {
        matches!(self, Self::Own(_) | Self::Both { .. })
    }

    fn is_of_postgres(self) -> bool {
        matches!(self, Self::Postgres | Self::Both { .. })
    }
}

/// What a text search configuration makes of each piece.
async fn patterns_of_postgres(
    connection: &Connection,
    language: &str,
    pieces: &[&Piece],
    settings: &SearchSettings,
) -> Result<Vec<Vec<Pattern>>, StoreError> {
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let sql = "-- words_of_postgres
        SELECT p.number, v.lexeme, v.positions[1]::int
        FROM unnest($2::text[]) WITH ORDINALITY p(text, number),
             unnest(to_tsvector($1::text::regconfig, p.text)) v
        ORDER BY p.number, v.positions[1], v.lexeme";
    let transaction = Transaction::read_only(connection).deadline(settings.deadline);
    let statement = connection.prepare_cached(sql).await?;
    let parameters: [&dyn Value; 2] = [&language, &texts];
    let rows = connection.query(&statement, &parameters);
    let (begun, rows, committed) = futures_util::join!(transaction.begin(), rows, transaction.commit());
    begun?;
    let rows = rows?;
    committed?;
    let patterns = pieces.iter().zip(1_i64..).map(|(piece, number)| {
        let mut steps: Vec<Step> = Vec::new();
        let mut before = 0;
        for row in rows.iter().filter(|row| row.get::<_, i64>(0) == number) {
            let (lexeme, position): (String, i32) = (row.get(1), row.get(2));
            match steps.last_mut() {
                Some(step) if position == before => step.any.push(lexeme),
                last => {
                    let distance = if last.is_none() { 0 } else { (position - before) as u16 };
                    steps.push(Step { distance, any: vec![lexeme] });
                }
            }
            before = position;
        }
        match steps.len() {
            2.. if piece.is_phrase || piece.is_excluded => vec![Pattern::Phrase(steps)],
            _ => steps.into_iter().map(|step| Pattern::Word(step.any)).collect(),
        }
    });
    Ok(patterns.collect())
}

impl Ranking {
    fn new(full_text: &FullText, maker: WordMaker, terms: &[Term], excluded: Vec<Excluded>, counts: &Counts) -> Self {
        // While words are converted, a text gets its new words between counting and searching.
        let is_converting = matches!(maker, WordMaker::Both { .. });
        // The norm is divided by, and with a `k1` of 0 it would be 0.
        let (k1, b) = (full_text.k1.max(1e-6), full_text.b);
        let texts = counts.texts.max(1.0);
        let length = counts.length.max(1.0);
        let norm_base = k1 * (1.0 - b);
        let norm_per_word = k1 * b / length;
        let has_no_terms = terms.is_empty();
        let mut weighed: Vec<(RankedTerm, Bounded)> = Vec::with_capacity(terms.len());
        for (term, having) in terms.iter().zip(&counts.having) {
            if *having == 0.0 && !is_converting {
                continue;
            }
            let having = having.min(texts);
            let rarity = (1.0 + (texts - having + 0.5) / (having + 0.5)).ln();
            let weight = f64::from(term.count) * rarity * (k1 + 1.0);
            let query = tsquery(&term.pattern);
            // The length of a text is not used, because a compound may have no part that counts.
            let (measure, bound) = match &term.pattern {
                Pattern::Word(any) => (Measure::Lexemes(any.iter().map(|lexeme| quoted(lexeme)).collect()), weight),
                Pattern::Phrase(_) => (Measure::Phrase(query.clone()), weight / (1.0 + norm_base)),
            };
            weighed.push((RankedTerm { weight, measure }, Bounded { query, bound, share: having / texts }));
        }
        weighed.sort_by(|(_, a), (_, b)| b.bound.total_cmp(&a.bound));
        let (terms, bounded): (Vec<RankedTerm>, Vec<Bounded>) = weighed.into_iter().unzip();
        Self {
            ladder: if bounded.is_empty() { Vec::new() } else { ladder(&bounded) },
            terms,
            excluded,
            norm_base,
            norm_per_word,
            texts,
            has_no_terms,
            freshness: counts.freshness,
        }
    }
}

/// A pattern as the text of a tsquery.
pub(super) fn tsquery(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Word(any) => any_of(any),
        Pattern::Phrase(steps) => {
            let mut query = String::from("(");
            for (i, step) in steps.iter().enumerate() {
                if i > 0 {
                    query += &format!("<{}>", step.distance);
                }
                query += &any_of(&step.any);
            }
            query + ")"
        }
    }
}

fn any_of(lexemes: &[String]) -> String {
    match lexemes {
        [one] => quoted(one),
        many => format!("({})", many.iter().map(|lexeme| quoted(lexeme)).collect::<Vec<_>>().join("|")),
    }
}

/// A lexeme as it stands in a tsquery.
pub(super) fn quoted(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Language, TextLanguage};

    /// The lexemes that a search for "naïve" looks for, where no text has the new one yet.
    fn looked_for(maker: WordMaker) -> Vec<String> {
        let full_text = FullText { language: "english".into(), k1: 1.2, b: 0.75 };
        let term = |lexeme: &str| Term { pattern: Pattern::Word(vec![lexeme.to_owned()]), count: 1 };
        let counts = Counts { texts: 3.0, length: 5.0, having: vec![0.0, 1.0], freshness: Freshness::Counted };
        let ranking = Ranking::new(&full_text, maker, &[term("naiv"), term("naïv")], Vec::new(), &counts);
        let lexemes = |term: RankedTerm| match term.measure {
            Measure::Lexemes(lexemes) => lexemes,
            Measure::Phrase(_) => Vec::new(),
        };
        ranking.terms.into_iter().flat_map(lexemes).collect()
    }

    #[test]
    fn words_are_looked_for_while_texts_get_them() {
        let language = TextLanguage::One(Language::English);
        assert_eq!(looked_for(WordMaker::Both { language, progress: 0.5 }), ["'naiv'", "'naïv'"]);
        assert_eq!(looked_for(WordMaker::Own(language)), ["'naïv'"]);
    }
}
