//! The vector search by codes: it reads the codes of the matches from an index, and compares the best by their vectors.

use tokio_postgres::types::Type;

use super::{Writer, all_of, scan};
use crate::store::{
    search::statement::{Coded, UseOfCodes},
    tables::Tables,
    wire::Bits,
};

/// Up to this number times the square root of the rows, a search by codes is faster than one along the vector index. The
/// first takes longer if more rows match, the second if fewer match. Both take equally long at a slightly smaller number, but
/// the vector index takes much longer if the matches are far from the query.
const FEW: i32 = 150;

impl<'a> Writer<'_, 'a> {
    /// `coded` and `candidates`: whether codes are read, and the best of them. Returns the comparison of their vectors.
    pub(super) fn compare_coded(
        &mut self,
        coded: &'a Coded<'a>,
        usage: UseOfCodes,
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
        let is_coded = if usage == UseOfCodes::Always {
            "(SELECT true AS coded)".to_owned()
        } else {
            let unlisted = declared.unlisted();
            let unlisted = unlisted.map(|unlisted| format!(" UNION ALL SELECT 1 FROM {all} c WHERE {unlisted}"));
            let query = format!("SELECT 1 FROM {table} c WHERE {}{}", declared.sql("$1"), unlisted.unwrap_or_default());
            let query = self.parameters.push(query, Type::TEXT);
            format!(
                "MATERIALIZED (
    SELECT {internal}.expected_rows(${query}, {wanted}) <= {FEW} * sqrt(greatest(reltuples, 0)) AS coded
    FROM pg_class WHERE oid = '{all}'::regclass)"
            )
        };
        self.with("coded", &is_coded);

        let norm = self.parameters.push(f64::from(code.norm), Type::FLOAT8);
        let code = self.parameters.push(Bits(&code.bits[..]), Type::BIT);
        let estimate = codes.maker.sql(extension, &format!("${code}"), &format!("${norm}"));
        let is_coded = || Some("(SELECT coded FROM coded)".to_owned());
        let conditions = [is_coded(), Some(declared.sql(&wanted)), self.not_excluded("c.document_key")];
        let mut read = format!(
            "SELECT {distinct}c.document_key, c.chunk, {estimate} AS estimate
     FROM {table} c
     {}",
            all_of(&conditions),
            distinct = if declared.is_repeated { "DISTINCT " } else { "" },
        );
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
        let limit = self.parameters.push(candidates as i64, Type::INT8);
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
        self.with("candidates", &format!("MATERIALIZED (\n    {candidates} LIMIT ${limit})"));

        let from = format!("candidates k JOIN {embeddings} e ON e.document_key = k.document_key AND e.chunk = k.chunk");
        scan(every, &from, &[self.without_words()], &self.limit)
    }
}
