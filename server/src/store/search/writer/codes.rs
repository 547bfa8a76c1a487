//! The vector search by codes: it reads the codes of the matches from an index, and compares the best by their vectors.

use tokio_postgres::types::Type;

use super::{Writer, all_of, scan};
use crate::store::{
    codes::{FEW, LOOK, VERY_FEW, first_matches},
    search::statement::{Coded, Plan, UseOfCodes},
    tables::Tables,
    wire::Bits,
};

impl<'a> Writer<'_, 'a> {
    /// `coded` and `candidates`: whether codes are read, and the best of them. Returns the comparison of their vectors.
    pub(super) fn compare_coded(
        &mut self,
        coded: &'a Coded<'a>,
        usage: UseOfCodes,
        rows: usize,
        candidates: usize,
        every: &str,
    ) -> String {
        let Coded { codes, declared, code } = coded;
        let Tables { documents, embeddings, internal, extension, .. } = &self.entry.tables;
        let (table, all) = (declared.table(codes), &codes.table);
        // Without a filter there are none.
        let wanted = match &declared.wanted[..] {
            [] => String::new(),
            wanted => format!("${}", self.parameters.push(wanted, Type::TEXT_ARRAY)),
        };
        // If very few match, cells do not matter.
        let knows_few = coded.leaves_out_cells() && declared.access.is_some();
        let is_coded = if usage == UseOfCodes::Always && !knows_few {
            "(SELECT true AS coded)".to_owned()
        } else {
            let unlisted = declared.unlisted();
            let unlisted = unlisted.map(|unlisted| format!(" UNION ALL SELECT 1 FROM {all} c WHERE {unlisted}"));
            let query = format!("SELECT 1 FROM {table} c WHERE {}{}", declared.sql("$1"), unlisted.unwrap_or_default());
            let query = self.parameters.push(query, Type::TEXT);
            let is_coded = if usage == UseOfCodes::Always {
                "true".to_owned()
            } else {
                let share = self.parameters.push(coded.share(), Type::FLOAT8);
                format!("rows * ${share} <= {FEW} * root")
            };
            let few = if knows_few { format!(", rows, rows <= {VERY_FEW} * root AS few") } else { String::new() };
            format!(
                "MATERIALIZED (
    SELECT {is_coded} AS coded{few}
    FROM (SELECT {internal}.expected_rows(${query}, {wanted}) AS rows, sqrt(greatest(reltuples, 0)) AS root
          FROM pg_class WHERE oid = '{all}'::regclass) e)"
            )
        };
        self.with("coded", &is_coded);

        let weight = self.parameters.push(codes.maker.weight(code), Type::FLOAT8);
        let bits = self.parameters.push(Bits(&code.bits[..]), Type::BIT);
        let estimate = codes.maker.sql(extension, &format!("${bits}"), &format!("${weight}"));
        let is_coded = || Some("(SELECT coded FROM coded)".to_owned());
        let worst = self.worst_compared(coded, rows);
        let mut read = if coded.leaves_out_cells() {
            let worst = worst.clone().unwrap_or_else(|| nth(&candidates.to_string()));
            let (bits, weight) = (format!("${bits}"), format!("${weight}"));
            let read = Read { wanted: &wanted, bits: &bits, weight: &weight, estimate: &estimate, worst: &worst };
            self.read_near(coded, rows, candidates, &read, knows_few)
        } else {
            let distinct = if declared.is_repeated { "DISTINCT " } else { "" };
            let conditions = [is_coded(), Some(declared.sql(&wanted)), self.not_excluded("c.document_key")];
            format!(
                "SELECT {distinct}c.document_key, c.chunk, {estimate} AS estimate\n     FROM {table} c {}",
                all_of(&conditions)
            )
        };
        // What the table of the list leaves out is found by the documents.
        if let Some(unlisted) = declared.unlisted() {
            let filter = self.filter.clone().filter(|_| !declared.is_partial);
            let join = filter.as_ref().map(|_| format!("JOIN {documents} d ON d.key = c.document_key "));
            let conditions = [is_coded(), Some(unlisted), filter, self.not_excluded("c.document_key")];
            read += &format!(
                "
     UNION ALL
     SELECT c.document_key, c.chunk, {estimate}
     FROM {all} c {}{}",
                join.unwrap_or_default(),
                all_of(&conditions),
            );
        }
        // A number, not a parameter: a generic plan depends on it, too.
        let limit = candidates;
        // `candidates` lacks those that were left out before.
        let or_more = if coded.leaves_out_cells() { " OR (SELECT more FROM farthest)" } else { "" };
        let are_more = format!("count(*) = {candidates}{or_more}");
        self.are_more = Some(format!("(SELECT {are_more} FROM candidates)"));
        // All are compared if no more match.
        let near_enough = worst.map(|worst| {
            format!(
                "(k.estimate <= (SELECT CASE WHEN {are_more} THEN {worst} END
                     FROM candidates)) IS NOT FALSE"
            )
        });
        // Rows without a code come first.
        let candidates = match &self.filter {
            // Checks the documents in the order of their codes, until enough match.
            Some(filter) if declared.is_partial => format!(
                "SELECT r.document_key, r.chunk, r.estimate FROM (
     {read}ORDER BY estimate NULLS FIRST) r
     JOIN {documents} d ON d.key = r.document_key
     WHERE {filter} ORDER BY r.estimate NULLS FIRST"
            ),
            _ => format!("{read}ORDER BY estimate NULLS FIRST"),
        };
        self.with("candidates", &format!("MATERIALIZED (\n    {candidates} LIMIT {limit})"));

        let from = format!("candidates k JOIN {embeddings} e ON e.document_key = k.document_key AND e.chunk = k.chunk");
        scan(every, &from, &[near_enough, self.without_words()], &self.limit)
    }

    /// The worst estimate that is compared, of rows that have estimates: it may be as near as the last result. `None`: the
    /// caller says how many are compared, or words may exclude any of them.
    fn worst_compared(&mut self, coded: &Coded<'_>, rows: usize) -> Option<String> {
        let margin = coded.codes.margin(&coded.code)?;
        if self.settings.rerank_candidates.is_some() || self.without_words().is_some() {
            return None;
        }
        let last = self.parameters.push(rows as i32, Type::INT4);
        let margin = self.parameters.push(margin, Type::FLOAT8);
        Some(format!("{} + ${margin}", nth(&format!("${last}"))))
    }

    /// `first` and `farthest`: the first matches in the order of the cells, or of the index if few match; whether more match
    /// than are compared, the score up to which cells are read, the estimate above which nothing becomes a candidate, and
    /// whether all that match are read instead, because they are few or these cells are many. Returns the matches.
    fn read_near(
        &mut self,
        coded: &'a Coded<'a>,
        rows: usize,
        candidates: usize,
        read: &Read<'_>,
        knows_few: bool,
    ) -> String {
        let Coded { codes, declared, code } = coded;
        let Read { wanted, bits, weight, estimate, worst } = read;
        let table = declared.table(codes);
        let condition = match Plan::of(self.query, self.reach) {
            Plan::Generic => declared.sql_of_unknown(wanted),
            Plan::Custom => declared.sql(wanted),
        };
        let conditions = [Some(condition), self.not_excluded("c.document_key")];
        let scores = self.parameters.push(&code.scores[..], Type::FLOAT8_ARRAY);
        let cells = self.parameters.push(&code.cells[..], Type::INT2_ARRAY);
        // In this order: Postgres reads the index once for each cell.
        let near = |guard: &str, further: Option<String>| {
            let [condition, not_excluded] = conditions.clone();
            format!(
                "FROM unnest(${cells}, ${scores}) n (cell, score) CROSS JOIN LATERAL (
         SELECT c.document_key, c.chunk, c.code, c.norm FROM {table} c {}OFFSET 0) c
     WHERE (SELECT {guard} FROM coded) ",
                all_of(&[Some("c.cell = n.cell".to_owned()), condition, not_excluded, further]),
            )
        };
        let all = |guard: &str, columns: &str, further: Option<String>| {
            if !knows_few {
                return String::new();
            }
            let [condition, not_excluded] = conditions.clone();
            let guard = Some(format!("(SELECT {guard} FROM coded)"));
            format!(
                "
     UNION ALL
     SELECT c.document_key, c.chunk, {columns}{estimate}
     FROM {table} c {}",
                all_of(&[condition, not_excluded, guard, further])
            )
        };
        let (by_cell, few, not_few) = if knows_few {
            let cells = code.scores.len();
            let few = format!(
                ",
           (SELECT few OR rows < ({LOOK} + rows / {cells})
                   * (SELECT count(*) FROM unnest(${scores}) n (score) WHERE n.score BETWEEN f.met AND f.score)
            FROM coded) AS few"
            );
            ("coded AND NOT few", few, " WHERE NOT few")
        } else {
            ("coded", String::new(), "")
        };
        let first = first_matches(candidates);
        let matches = format!(
            "MATERIALIZED (
    SELECT c.document_key, c.chunk, c.norm, n.score, {estimate} AS estimate
     {}{}LIMIT {first})",
            near(by_cell, None),
            all("coded AND few", "c.norm, NULL, ", None),
        );
        self.with("first", &matches);
        let slack = self.parameters.push(codes.slack(code, rows, candidates), Type::FLOAT8);
        let last = self.parameters.push(rows as i32, Type::INT4);
        let last = nth(&format!("${last}"));
        // The last result among the first matches says how near the results are. There may be no other matches.
        let farthest = format!(
            "MATERIALIZED (
    SELECT more, met, score, estimate, {}{few}
    FROM (SELECT *, {} AS angle FROM (
        SELECT count(*) >= {candidates} AS more, max(score) AS met,
               CASE WHEN count(*) < {first} THEN max(score) ELSE greatest(max(score), {last} + ${slack}) END AS score,
               CASE WHEN count(*) >= {candidates} THEN {worst} END AS estimate, avg(norm) AS norm
        FROM first) f) f)",
            codes.maker.tangent_sql(weight),
            codes.maker.angle_sql(weight),
        );
        self.with("farthest", &farthest);
        // The cosine takes the most time, and nearly all codes can be left out without it. To leave one out takes less time
        // than to sort it.
        let least = codes.maker.least_sql(&self.entry.tables.extension, bits, "farthest");
        let better = Some(format!("({least} <= (SELECT estimate FROM farthest)) IS NOT FALSE"));
        // The last cell that was met may have more.
        format!(
            "SELECT f.document_key, f.chunk, f.estimate FROM first f WHERE f.score < (SELECT met FROM farthest{not_few})
     UNION ALL
     SELECT c.document_key, c.chunk, {estimate} AS estimate
     {}AND n.score BETWEEN (SELECT met FROM farthest{not_few}) AND (SELECT score FROM farthest) {}",
            near("coded", better.clone()),
            all("coded AND (SELECT few FROM farthest)", "", better),
        )
    }
}

/// SQL of what is read.
struct Read<'s> {
    /// The list of the values of the filter.
    wanted: &'s str,
    /// The code of the query, and its weight.
    bits: &'s str,
    weight: &'s str,
    estimate: &'s str,
    /// The worst estimate of a candidate, of the estimates of the first matches.
    worst: &'s str,
}

/// The estimate at a position, from the smallest on.
fn nth(position: &str) -> String {
    format!("(array_agg(estimate ORDER BY estimate))[{position}]")
}
